package ledgerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/node"
	"hitoku.dev/internal/ledger/nodeconfig"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// serve runs the node until ctx ends.
func serve(ctx context.Context, c *nodeconfig.Config, apps []*ledger.App, log *slog.Logger) (err error) {
	o, err := openGenesis(c.Genesis)
	if err != nil {
		return err
	}
	operator, err := keyfile.ReadPrivate(c.OperatorKey)
	if err != nil {
		return fmt.Errorf("operator's key: %w", err)
	}
	peers, err := c.PeerURLs()
	if err != nil {
		return err
	}
	options := node.Options{
		Genesis: o.file, Slot: c.Slot, Operator: operator, Peers: peers, Random: rand.Reader, Now: time.Now, Logger: log,
		Tick: time.Duration(c.TickMilliseconds) * time.Millisecond, Retention: c.VaultEpochs, DetailedMetrics: c.DetailedMetrics,
	}
	if options.Machine, err = machine(apps, o, c.Slot); err != nil {
		return err
	}
	t, err := openTEE(ctx, c)
	if err != nil {
		return fmt.Errorf("TEE: %w", err)
	}
	defer func() { err = errors.Join(err, t.close()) }()
	options.Attester, options.Sealer = t.attester, t.sealer
	if options.FS, err = folder(c.Dir); err != nil {
		return err
	}
	// The address is taken before the log is waited for, so that a wrong one shows at once.
	if options.Listener, err = net.Listen("tcp", c.Listen); err != nil {
		return err
	}
	defer options.Listener.Close()
	if options.Log, err = openOrder(ctx, c, o, log); err != nil {
		return err
	}
	defer options.Log.Close()
	n, err := node.New(ctx, options)
	if err != nil {
		return err
	}
	log.Info("the node runs", "ledger", fmt.Sprintf("%x", o.id), "slot", c.Slot, "listen", options.Listener.Addr().String())
	return n.Run(ctx)
}

// folder opens the folder of sealed files, and makes it where it is missing.
func folder(dir string) (disk.FS, error) {
	path := filepath.Join(dir, "state")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	return disk.Folder(path)
}

// machine is what executes commands; a vault has none. A slot that only a later policy
// names is an executor's: the node refuses it otherwise.
func machine(apps []*ledger.App, o *opened, slot uint16) (*ledger.Machine, error) {
	if s, ok := o.policy.Slot(slot); ok && s.Kind == wire.KindVault {
		return nil, nil
	}
	chosen, err := choose(apps, o.genesis)
	if err != nil {
		return nil, err
	}
	return ledger.NewMachine(chosen...)
}
