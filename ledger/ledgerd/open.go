package ledgerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/nodeconfig"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/embedded"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

const (
	maxGenesis = 1 << 20
	logRetry   = time.Second
)

// opened is a ledger as its genesis file describes it.
type opened struct {
	file    wire.GenesisFile
	genesis wire.Genesis
	policy  wire.Policy
	id      wire.Hash
}

func openGenesis(path string) (*opened, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxGenesis {
		return nil, fmt.Errorf("%s: %d bytes, at most %d wanted", path, info.Size(), maxGenesis)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	o := new(opened)
	if o.file, err = wire.ParseGenesisFile(raw); err == nil {
		o.genesis, o.policy, o.id, err = o.file.Open()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// choose returns the applications that the genesis names, in its order, and refuses a
// ledger that this program cannot run.
func choose(apps []*ledger.App, genesis wire.Genesis) ([]*ledger.App, error) {
	var out []*ledger.App
	var errs []error
	for _, want := range genesis.Applications {
		i := slices.IndexFunc(apps, func(a *ledger.App) bool { return a.Name == want.Name && a.Version == want.Version })
		if i < 0 {
			errs = append(errs, fmt.Errorf("the ledger has the application %s in version %s, which this program does not have", want.Name, want.Version))
			continue
		}
		out = append(out, apps[i])
	}
	return out, errors.Join(errs...)
}

// tee is the side of the TEE that a node needs.
type tee struct {
	attester member.Attester
	sealer   member.Sealer
	close    func() error
}

func openTEE(ctx context.Context, c *nodeconfig.Config) (*tee, error) {
	kind, path, err := c.SplitTEE()
	if err != nil {
		return nil, err
	}
	if kind == nodeconfig.TEEApp {
		var collateral member.CollateralFunc
		if c.Collateral != "" {
			collateral = member.CollateralFile(c.Collateral, time.Now)
		}
		t := member.FromApp(path, collateral)
		return &tee{attester: t, sealer: t, close: func() error { return nil }}, nil
	}
	s, err := member.OpenSimulated(ctx, path)
	if err != nil {
		return nil, err
	}
	t := member.FromSimulated(s, time.Now)
	return &tee{attester: t, sealer: t, close: s.Close}, nil
}

// openOrder reaches what puts the records in order. An embedded log that does not answer yet is waited for.
func openOrder(ctx context.Context, c *nodeconfig.Config, o *opened, log *slog.Logger) (order.Log, error) {
	if err := c.Fits(o.genesis.Order); err != nil {
		return nil, err
	}
	if c.Chain != nil {
		return openChain(c, o, log)
	}
	network, address, err := nodeconfig.SplitAddress(c.Log)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(logRetry)
	defer tick.Stop()
	for told := false; ; told = true {
		l, err := embedded.Dial(ctx, &net.Dialer{}, network, address)
		if err == nil {
			return l, nil
		}
		if !told {
			log.Warn("the log does not answer; waiting for it", "address", c.Log, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

func openChain(c *nodeconfig.Config, o *opened, log *slog.Logger) (order.Log, error) {
	raw, err := keyfile.ReadSecret(c.Chain.Key)
	if err != nil {
		return nil, err
	}
	key, err := ethereum.ParseKey(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Chain.Key, err)
	}
	g := o.genesis.Order
	config := ethereum.Config{
		Endpoints: c.Chain.Endpoints, Agree: int(g.Endpoints), ChainID: g.ChainID, Contract: g.Contract, Ledger: o.id,
		Finality: ethereum.Finality(g.Finality), Confirmations: uint64(g.Confirmations), FirstBlock: c.Chain.FirstBlock, MaxRecord: int(o.genesis.EntryMax),
		Key: key, Store: ethereum.FolderStore(filepath.Join(c.Dir, "transactions")),
		Fees: ethereum.Fees{Legacy: c.Chain.LegacyFees, Price: c.Chain.GasPrice, Tip: c.Chain.Tip, Max: c.Chain.MaxFee},
		HTTP: &http.Client{}, Now: time.Now, Poll: time.Duration(c.Chain.PollMilliseconds) * time.Millisecond,
		Report: func(problem string) { log.Warn("the chain", "problem", problem) },
	}
	for _, v := range g.Validators {
		config.Validators = append(config.Validators, v)
	}
	return ethereum.Open(config)
}
