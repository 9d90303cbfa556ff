package node

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// Options say who the node is and where its surroundings are. Members are required
// unless said otherwise.
type Options struct {
	Genesis  wire.GenesisFile
	Slot     uint16
	Operator ed25519.PrivateKey
	Attester member.Attester
	// Sealer keeps a vault's identity and the public control state; only a vault needs it.
	// An executor without one follows the log from its start.
	Sealer member.Sealer
	// Appraise judges evidence; nil is member.Appraise.
	Appraise control.AppraiseFunc
	Machine  *ledger.Machine // nil for a vault
	Log      order.Log       // stays open
	FS       disk.FS         // the folder of sealed files
	// Listener is where clients and other nodes call; Run closes it.
	Listener net.Listener
	// Peers are the URLs of the other nodes, by slot; SetPeer changes them.
	Peers  map[uint16]string
	Random io.Reader
	Now    func() time.Time
	Logger *slog.Logger // nil: none
	// Tick is the time between two looks at what there is to do; 0 is 20 ms for the embedded
	// log and 200 ms for a chain.
	Tick      time.Duration
	Timing    replica.Timing
	Limits    replica.Limits
	Retention uint64 // epochs whose keys a vault keeps; 0 is 16
	// StateLimit bounds snapshots and backups that are taken, in bytes; 0 is 64 GiB.
	StateLimit int64
	// Compact is disk.Options.Compact.
	Compact int64
	// Requests, Admin and DetailedMetrics are those of api.Options.
	Requests, Admin api.Rate
	DetailedMetrics bool
	Version         string
	// Serve, when set, wraps the REST layer inside TLS; for tests.
	Serve func(http.Handler) http.Handler
	// Recorder, when set, sees every AES-GCM encryption; for tests.
	Recorder keys.Recorder
}

// Node is one running node.
type Node struct {
	o     Options
	r     *replica.Replica
	kind  uint8
	cert  tls.Certificate
	api   *api.Server
	dir   *disk.Dir
	files *files
	vault *vault // nil for an executor
	peers *peers
	out   outbox

	caughtUp  atomic.Bool // the log's end was seen
	acquiring sync.Mutex  // held while state is looked for
}

// New opens the node's files and makes its incarnation. Run must follow; without it, Close.
func New(ctx context.Context, o Options) (*Node, error) {
	if o.Appraise == nil {
		o.Appraise = member.Appraise
	}
	o.Appraise = remembered(o.Appraise)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StateLimit == 0 {
		o.StateLimit = 64 << 30
	}
	g, policy, id, err := o.Genesis.Open()
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	if o.Tick == 0 {
		o.Tick = 20 * time.Millisecond
		if g.Order.Driver != wire.DriverEmbedded {
			o.Tick = 200 * time.Millisecond
		}
	}
	if got, want := o.Log.MaxRecord(), int(g.EntryMax); got < want {
		return nil, fmt.Errorf("the log takes records of %d bytes, the genesis wants %d", got, want)
	}
	dir, err := disk.Open(disk.Options{FS: o.FS, Ledger: id, Random: o.Random, Recorder: o.Recorder, Compact: o.Compact})
	if err != nil {
		return nil, err
	}
	n := &Node{o: o, dir: dir, out: outbox{wake: make(chan struct{}, 1)}}
	n.kind = wire.KindExecutor
	if o.Machine == nil {
		n.kind = wire.KindVault
	}
	if err := n.start(ctx, id, policy); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return n, nil
}

// start reads what was kept and makes the replica.
func (n *Node) start(ctx context.Context, id wire.Hash, policy wire.Policy) error {
	o := n.o
	ro := replica.Options{
		Genesis: o.Genesis, Slot: o.Slot, Operator: o.Operator, Attester: o.Attester, Appraise: o.Appraise, Machine: o.Machine,
		Random: o.Random, Now: o.Now, Log: o.Logger, Recorder: o.Recorder, Timing: o.Timing, Limits: o.Limits, Retention: o.Retention,
	}
	sealing, err := newSealing(ctx, o.Sealer, id, o.Slot)
	if err != nil {
		return err
	}
	switch n.kind {
	case wire.KindVault:
		if o.Sealer == nil {
			return errors.New("a vault needs a TEE that gives sealing keys, to keep its identity")
		}
		n.vault = &vault{n: n, key: sealing}
		if ro.Identity, err = n.vault.load(id); err != nil {
			return err
		}
	default:
		ro.FileEpoch, ro.FilePosition = n.dir.FileEpoch(), n.dir.FilePosition()
	}
	ro.Control = n.loadControl(sealing, &ro)
	if n.r, err = replica.New(ro); err != nil {
		return err
	}
	if n.cert, err = member.Certificate(n.r.Key(), o.Now()); err != nil {
		return err
	}
	n.files = newFiles(n, sealing)
	n.peers = newPeers(n, o.Peers)
	n.api, err = api.New(api.Options{
		Replica: n.r, Operator: n, Peer: n.peerHandler(), Random: o.Random, Now: o.Now, Log: o.Logger,
		Requests: o.Requests, Admin: o.Admin, DetailedMetrics: o.DetailedMetrics, Version: o.Version,
	})
	return err
}

// Replica is the node's state machine; for tests and measurements in the same process.
func (n *Node) Replica() *replica.Replica { return n.r }

// SetPeer names another node's URL. An empty one forgets it.
func (n *Node) SetPeer(slot uint16, url string) { n.peers.set(slot, url) }

// Close gives the folder back. Run does so itself.
func (n *Node) Close() error { return n.dir.Close() }
