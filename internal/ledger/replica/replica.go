package replica

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

var (
	// ErrHalted means that the node has stopped for good; the text says why.
	ErrHalted = errors.New("the ledger node has halted")
	// ErrNotRunning means that the node has no state yet: it is no member, or waits for a snapshot.
	ErrNotRunning = errors.New("the ledger node is not running yet")
	// ErrFloor means that the client has seen a history that this node does not have.
	ErrFloor = errors.New("the client's floor does not fit this node's history")
)

// Options say who the node is. All members are required unless said otherwise.
type Options struct {
	Genesis  wire.GenesisFile
	Slot     uint16
	Operator ed25519.PrivateKey
	Attester member.Attester
	Appraise control.AppraiseFunc
	// Machine executes commands; nil for a vault.
	Machine *ledger.Machine
	Random  io.Reader
	// Now is the host's clock. It bounds the lives of request keys, nothing else.
	Now func() time.Time
	// Log gets what the operator should know; never a secret. Nil means none.
	Log *slog.Logger
	// Recorder, when set, sees every AES-GCM encryption; for tests.
	Recorder keys.Recorder
	// Timing counts ticks; zero values mean the defaults.
	Timing Timing
	// Limits bounds what clients can make the node hold; zero values mean the defaults.
	Limits Limits
	// Retention is how many epochs' keys a vault keeps; 0 means 16.
	Retention uint64
	// FileEpoch is the epoch of the sealed files that the node holds, 0 for none, and
	// FilePosition the position of their state.
	FileEpoch    uint64
	FilePosition uint64
	// Identity is a vault's kept incarnation; nil makes a new one.
	Identity *Identity
	// Control is the public state that was saved before; nil follows from position 0.
	Control *control.State
}

// Timing is in ticks.
type Timing struct {
	Stagger    int // how long each further member waits before it commits in another's stead; default 10
	Resubmit   int // after how long a record that is not final is handed over again; default 100
	Checkpoint int // how long a peer's checkpoint may be missing until the own one goes to the log; default 50
	Lonely     int // how long a node without state looks for one that a quorum signed; default 100
	VaultWait  int // how long a vault waits for executors to commit; default 100
}

// Limits are counts, and bytes where the name says so.
type Limits struct {
	Queue        int // commands that wait for the log; default 65536
	QueueBytes   int // of them; default 64 MiB
	Tickets      int // tickets held; default 131072
	TicketBytes  int // that their replies take, or will; default 512 MiB
	InFlight     int // own DATA records that are not final; default 16
	Blocks       int // checkpoint positions whose outcomes are kept; default 8192
	Outcomes     int // commands whose outcomes are kept; default 262144
	OutcomeBytes int // of their outcomes; default 256 MiB
	Backlog      int // records kept while the state is awaited; default 65536
	BacklogBytes int // of them; default 256 MiB
}

func orDefault(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// Replica is one node. Its methods may be called from several goroutines.
type Replica struct {
	o   Options
	ctl *control.State
	id  Identity
	iid wire.Hash

	mu      sync.Mutex
	halted  error
	changed chan struct{} // closed when something a caller may wait for has happened
	ticks   int

	// Records of its own.
	joined     uint64 // position of the own newest JOIN, 0 for none
	joining    bool   // a JOIN is in flight
	prevOwn    wire.Hash
	flights    []*flight
	out        []order.Submission
	hpke       []privateKey
	acking     uint64 // epoch of the ACK in flight
	kept       bool   // the incarnation is one from before
	keptTo     uint64 // newest epoch whose keys came with it
	alarm      uint64 // newest epoch whose wrap did not open
	alarming   bool   // an ALARM is in flight
	committing commitState

	// Epochs and who proposes.
	epochs          map[uint64]*epochKeys
	proposal        proposalState
	policy          policyState
	rotateNow       bool
	proposalRemoves map[uint16]bool
	refused         map[uint16]uint64  // JOINs whose refusal was told, by slot
	late            map[wire.Hash]late // members whose evidence is too old
	forks           map[wire.Hash]*fork

	// Execution.
	exec    executor
	windows map[string]uint64 // of nonces, by application
	// What waits for the log, and who waits for outcomes.
	queue      []queued
	queueBytes int // of queue
	queued     map[wire.Hash]bool
	requests   requestState
	box        boxState
	notes      notifications
	stats      Stats
}

// New makes a node. It joins once Apply has reached the log's end and Tick is called.
func New(o Options) (*Replica, error) {
	orDefault(&o.Timing.Stagger, 10)
	orDefault(&o.Timing.Resubmit, 100)
	orDefault(&o.Timing.Checkpoint, 50)
	orDefault(&o.Timing.VaultWait, 100)
	orDefault(&o.Timing.Lonely, 100)
	orDefault(&o.Limits.Queue, 1<<16)
	orDefault(&o.Limits.Tickets, 1<<17)
	orDefault(&o.Limits.InFlight, 16)
	orDefault(&o.Limits.Blocks, 1<<13)
	orDefault(&o.Limits.Backlog, 1<<16)
	orDefault(&o.Limits.Outcomes, 1<<18)
	orDefault(&o.Limits.QueueBytes, 64<<20)
	orDefault(&o.Limits.TicketBytes, 512<<20)
	orDefault(&o.Limits.OutcomeBytes, 256<<20)
	orDefault(&o.Limits.BacklogBytes, 256<<20)
	if o.Retention == 0 {
		o.Retention = 16
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctl := o.Control
	if ctl == nil {
		var err error
		if ctl, err = control.New(o.Genesis, o.Appraise); err != nil {
			return nil, err
		}
	}
	slot, ok := ctl.NewestPolicy().Policy.Slot(o.Slot)
	if !ok {
		return nil, fmt.Errorf("slot %d is not in the ledger's policy %d", o.Slot, ctl.NewestPolicy().Policy.Version)
	}
	if [32]byte(o.Operator.Public().(ed25519.PublicKey)) != slot.Operator {
		return nil, fmt.Errorf("slot %d: the operator's key is not the one in the policy", o.Slot)
	}
	if (slot.Kind == wire.KindExecutor) != (o.Machine != nil) {
		return nil, fmt.Errorf("slot %d is of kind %d, which this program is not", o.Slot, slot.Kind)
	}
	r := &Replica{
		o: o, ctl: ctl, changed: make(chan struct{}),
		epochs: map[uint64]*epochKeys{}, queued: map[wire.Hash]bool{}, refused: map[uint16]uint64{}, late: map[wire.Hash]late{}, forks: map[wire.Hash]*fork{},
	}
	for _, in := range ctl.Forked() {
		r.forks[in.ID] = &fork{in: in, agreed: in.Agreed}
	}
	r.exec.kind = slot.Kind
	r.exec.init(o.FilePosition)
	r.windows = map[string]uint64{}
	if o.Machine != nil {
		for _, a := range o.Machine.Apps() {
			r.windows[a.Name] = a.Window
		}
	}
	r.requests.init()
	r.notes.init()
	if err := r.identify(); err != nil {
		return nil, err
	}
	return r, r.makeBox()
}

// halt stops the node for good.
func (r *Replica) halt(err error) error {
	if r.halted == nil {
		r.halted = fmt.Errorf("%w: %w", ErrHalted, err)
		r.o.Log.Error("halted", "reason", err)
		for _, e := range r.epochs {
			e.Erase()
		}
		for _, k := range r.hpke {
			k.key.Erase()
		}
		r.requests.erase()
		if r.box.key != nil {
			r.box.key.Erase()
		}
		r.exec.release()
		r.exec.backlog = nil
		r.wake()
	}
	return r.halted
}

// Halt stops the node for good, for a reason outside: the log has taken back what was final.
func (r *Replica) Halt(reason error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.halt(reason)
}

// wake tells whoever waits that something has changed.
func (r *Replica) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (r *Replica) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Err returns why the node has halted, nil while it has not.
func (r *Replica) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.halted
}

// Status is what an operator sees.
type Status struct {
	Ledger    wire.Hash
	Slot      uint16
	Kind      uint8
	ID        wire.Hash
	Position  uint64
	Chain     wire.Hash
	Time      uint64
	Epoch     uint64
	T         wire.Hash
	Member    bool
	Running   bool // it is a member, and an executor has state
	Executed  uint64
	Committed uint64
	Cells     int
	Queue     int
	Halted    error
	// Forked are the slots whose members follow another history, as their signatures show.
	Forked []uint16
	// Cut is why the node serves nothing until administrators have said which history counts; nil while it serves.
	Cut error
}

// Status returns the node's.
func (r *Replica) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.ctl.Epoch()
	return Status{
		Ledger: r.ctl.Ledger(), Slot: r.o.Slot, Kind: r.exec.kind, ID: r.iid,
		Position: r.ctl.Position(), Chain: r.ctl.Chain(), Time: r.ctl.Time(), Epoch: e.Number, T: e.T,
		Member: r.memberNow(), Running: r.running(), Executed: r.exec.position, Committed: r.exec.committed,
		Cells: r.exec.committedTree.Len(), Queue: len(r.queue), Halted: r.halted, Forked: r.forkedSlots(), Cut: r.cut(),
	}
}

// memberNow says whether this incarnation belongs to the epoch in force and has its keys.
func (r *Replica) memberNow() bool {
	_, ok := r.ctl.Epoch().Member(r.iid)
	return ok && r.epochs[r.ctl.Epoch().Number] != nil
}

// present says whether this is a member with state.
func (r *Replica) present() bool {
	return r.halted == nil && r.memberNow() && (r.exec.kind == wire.KindVault || r.exec.ready)
}

// running says whether requests can be served.
func (r *Replica) running() bool { return r.present() && r.cut() == nil }

// Control returns the public records of membership.
func (r *Replica) Control() wire.Control {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctl.Control()
}

// View calls f with the public state, which f must only read and not keep.
func (r *Replica) View(f func(*control.State)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.ctl)
}

// await calls ready, under the lock, after each change until it says true or ctx ends.
func (r *Replica) await(ctx context.Context, ready func() bool) error {
	for {
		r.mu.Lock()
		done, changed, err := ready(), r.changed, r.halted
		r.mu.Unlock()
		switch {
		case done:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
