package ledgertest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/member/membertest"
	"hitoku.dev/internal/ledger/node"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// Node is a slot, and the process that runs in it, if any.
type Node struct {
	Slot     uint16
	Kind     uint8
	URL      string
	Dir      string
	Operator ed25519.PrivateKey
	// Attester is the TEE; a test may replace it before the node starts.
	Attester *membertest.Attester

	c       *Cluster
	address string

	mu      sync.Mutex
	running *node.Node
	stop    context.CancelFunc
	done    chan struct{}
	err     error
}

// Node returns the running node, nil when there is none.
func (n *Node) Node() *node.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

// Replica returns the running node's state machine.
func (n *Node) Replica() *replica.Replica {
	n.c.tb.Helper()
	r := n.Node()
	if r == nil {
		n.c.tb.Fatalf("slot %d does not run", n.Slot)
	}
	return r.Replica()
}

// Kill ends the process and waits until it is gone. Nothing is written any more.
func (n *Node) Kill() {
	n.mu.Lock()
	stop, done := n.stop, n.done
	n.running, n.stop = nil, nil
	n.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
}

// Err is why the last process ended, nil for none.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Start starts a process in the slot.
func (n *Node) Start() {
	n.c.tb.Helper()
	if err := n.TryStart(); err != nil {
		n.c.tb.Fatalf("slot %d: %v", n.Slot, err)
	}
}

// TryStart is Start where the test expects that the process may refuse to.
func (n *Node) TryStart() error {
	o := n.c.o
	folder, err := disk.Folder(n.Dir)
	if err != nil {
		return err
	}
	if o.FS != nil {
		folder = o.FS(int(n.Slot), folder)
	}
	listener, err := net.Listen("tcp", n.address)
	if err != nil {
		return err
	}
	log := n.c.log
	if o.Log != nil {
		log = o.Log(n.c.tb, int(n.Slot))
	}
	no := node.Options{
		Genesis: n.c.Genesis, Slot: n.Slot, Operator: n.Operator, Attester: n.Attester, Sealer: n.Attester, Log: log, FS: folder,
		Listener: listener, Peers: map[uint16]string{}, Random: rand.Reader, Now: o.Now, Logger: n.logger(), Tick: o.Tick,
		Timing: o.Timing, Limits: o.Limits, Retention: o.Retention, Compact: o.Compact, Requests: o.Requests, Admin: o.Admin,
		DetailedMetrics: true, Version: "test", Recorder: o.Recorder,
	}
	if o.Clock != nil {
		no.Now = o.Clock(int(n.Slot))
	}
	if o.Serve != nil {
		no.Serve = func(h http.Handler) http.Handler { return o.Serve(int(n.Slot), h) }
	}
	if n.Kind == wire.KindExecutor {
		apps := o.Apps
		if o.AppsOf != nil {
			apps = o.AppsOf(int(n.Slot))
		}
		if no.Machine, err = ledger.NewMachine(apps...); err != nil {
			return err
		}
	}
	for _, p := range n.c.Nodes {
		if p != n {
			no.Peers[p.Slot] = p.URL
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	running, err := node.New(ctx, no)
	if err != nil {
		stop()
		_ = listener.Close() // nothing was served
		return err
	}
	done := make(chan struct{})
	n.mu.Lock()
	n.running, n.stop, n.done = running, stop, done
	n.mu.Unlock()
	go func() {
		defer close(done)
		err := running.Run(ctx)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.err = err
	}()
	return nil
}

// logger writes to the test's log under -v.
func (n *Node) logger() *slog.Logger {
	switch {
	case n.c.o.Logger != nil:
		return n.c.o.Logger.With("slot", n.Slot)
	case testing.Verbose():
		return slog.New(slog.NewTextHandler(testLog{n.c.tb}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.Slot)
	}
	return nil
}

type testLog struct{ tb testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.tb.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}
