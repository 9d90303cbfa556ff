package replica

import (
	"fmt"
	"runtime"
	"sync"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/merkle"
	"hitoku.dev/internal/ledger/state"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// done is what became of one command.
type done struct {
	position uint64
	index    uint32
	outcome  wire.Outcome
	blind    wire.Hash
	events   []ledger.Event
	app      string
	account  ledger.AccountID
	earlier  *done // the same command was executed before
}

// block is a checkpoint position.
type block struct {
	check      wire.Checkpoint
	tree       *state.Tree
	before     wire.Hash // Q before
	root       wire.Hash
	leaves     *merkle.Tree
	hashes     []wire.Hash // of the signed commands, in order
	done       []done
	signatures map[wire.Hash][64]byte
	since      int
	posted     bool
	partial    bool // from a snapshot: its commands are not known
}

// bytes is what the outcomes take.
func (b *block) bytes() int {
	n := 0
	for i := range b.done {
		n += len(b.done[i].outcome.Message) + len(b.done[i].outcome.Result)
	}
	return n
}

// executor is the executed and the committed state.
type executor struct {
	kind          uint8
	ready         bool // has state up to position
	stalled       bool // has state up to the COMMIT of an epoch that did not open, whose record is the first of backlog
	position      uint64
	committed     uint64
	tree          *state.Tree
	committedTree *state.Tree
	outcomesRoot  wire.Hash // Q
	blocks        []*block  // rising
	kept          int       // commands in them
	keptBytes     int       // of their outcomes
	outcomes      map[wire.Hash]*done
	early         map[uint64]map[wire.Hash]wire.SignedCheckpoint // of positions not executed yet
	backlog       []*control.Event
	backlogBytes  int
	backlogFrom   uint64 // events after this position are in backlog
	resumed       uint64 // position of the state that was last taken from elsewhere; what is before it was not executed here
	backlogMark   control.Mark
	markAt        uint64
	hasMark       bool
	released      *Released
	wanting       int // tick since which state is wanted, 0 while it is not
	persist       func(*Persist)
	lastPosted    uint64
}

// Released is what a COMMIT gave to this incarnation: the key of its sealed files, and the keys of
// the epochs from theirs on, with which the log's tail is executed.
type Released struct {
	Epoch uint64
	Snap  [32]byte
	Tail  []keys.Epoch
}

// release erases what a COMMIT gave for the own files.
func (x *executor) release() {
	if x.released == nil {
		return
	}
	keys.Erase(x.released.Snap[:])
	for i := range x.released.Tail {
		x.released.Tail[i].Erase()
	}
	x.released = nil
}

// Persist is a step of the executed state that may be written, sealed, to disk.
type Persist struct {
	Position uint64
	Chain    wire.Hash
	Before   *state.Tree
	After    *state.Tree
	Outcomes wire.Hash
}

func (x *executor) init(filePosition uint64) {
	x.tree, x.committedTree = &state.Tree{}, &state.Tree{}
	x.outcomes = map[wire.Hash]*done{}
	x.early = map[uint64]map[wire.Hash]wire.SignedCheckpoint{}
	x.backlogFrom, x.markAt = filePosition, filePosition
}

// followed remembers the chain value at the position of the state that is awaited.
func (x *executor) followed(ctl *control.State) {
	if !x.ready && !x.hasMark && ctl.Position() == x.markAt {
		x.backlogMark, _ = ctl.At(x.markAt)
		x.hasMark = true
	}
	if x.ready {
		x.position = ctl.Position()
	}
}

// behind says whether positions up to p still have to be executed.
func (x *executor) behind(p uint64) bool {
	return x.kind == wire.KindExecutor && (!x.ready || x.position < p)
}

// execute handles an effective DATA or COMMIT of a position that was just followed.
func (r *Replica) execute(ev *control.Event) error {
	x := &r.exec
	if x.kind != wire.KindExecutor {
		return nil
	}
	if ev.Commit != nil {
		if err := r.unstall(ev); err != nil {
			return err
		}
	}
	if !x.ready {
		e := r.ctl.Epoch()
		if ev.Commit != nil && e.Number == 1 && r.epochs[1] != nil {
			x.ready, x.position = true, ev.Position-1 // the first members start from nothing
		} else {
			if ev.Commit != nil && e.Number == 1 && r.alarm == 1 {
				x.stalled = true // so they do, once there are keys
			}
			if ev.Position <= x.backlogFrom {
				return nil
			}
			if n := x.backlogBytes + size(ev); len(x.backlog) >= r.o.Limits.Backlog || n > r.o.Limits.BacklogBytes {
				x.keep(nil, ev.Position) // a state of this position or a later one is needed
				x.stalled = false
			} else {
				x.backlog, x.backlogBytes = append(x.backlog, ev), n
			}
			return nil
		}
	}
	return r.run(ev)
}

// lose gives the executed state up at a record that cannot be opened here. What comes after it is
// kept, and the state at it or later must come from others.
func (x *executor) lose(ev *control.Event) {
	x.ready, x.stalled = false, false
	x.keep(nil, ev.Position)
}

// keep makes events the whole of what is kept of the log after a position.
func (x *executor) keep(events []*control.Event, from uint64) {
	x.backlog, x.backlogFrom, x.backlogBytes = events, from, 0
	for _, ev := range events {
		x.backlogBytes += size(ev)
	}
}

// size is what an event of the backlog takes, in bytes.
func size(ev *control.Event) int { return len(ev.Record.Body) }

// run executes one event on the executed state.
func (r *Replica) run(ev *control.Event) error {
	x := &r.exec
	now := r.ctl.EpochAt(ev.Position)
	k := r.epochs[r.useful(now).Number]
	if k == nil && ev.Commit != nil && r.alarm == now.Number && now.Number == r.ctl.Epoch().Number {
		x.stall(ev)
		return nil
	}
	if k == nil { // removed, or an ALARM was raised, or own files that end before an epoch of others
		x.lose(ev)
		return nil
	}
	if h := ev.Record.Header; ev.Data != nil && !r.void(h.Epoch) && (r.epochs[h.Epoch] == nil || !r.epochs[h.Epoch].HasLog()) && h.Epoch < r.firstEpoch().Number {
		x.lose(ev) // sealed in the epoch before the own first one, and effective within the window
		return nil
	}
	b := &block{before: x.outcomesRoot, signatures: map[wire.Hash][64]byte{}, since: r.ticks}
	tree := x.tree
	if ev.Data != nil {
		var err error
		if tree, err = r.batch(ev, k, b); err != nil {
			return err
		}
	}
	if b.leaves == nil {
		b.leaves = merkle.NewTree(nil)
	}
	b.root = b.leaves.Root()
	b.tree = tree
	b.check = wire.Checkpoint{
		Position: ev.Position, Chain: ev.Chain, Epoch: now.T,
		Digest:   keys.StateDigest(k.Digest, ev.Position, tree.Root()),
		Outcomes: wire.NextOutcomes(b.before, b.root),
	}
	if r.exec.persist != nil {
		r.exec.persist(&Persist{Position: ev.Position, Chain: ev.Chain, Before: x.tree, After: tree, Outcomes: b.check.Outcomes})
	}
	x.tree, x.outcomesRoot = tree, b.check.Outcomes
	x.blocks = append(x.blocks, b)
	x.kept += len(b.done)
	x.keptBytes += b.bytes()
	for j := range b.done {
		if _, ok := x.outcomes[b.hashes[j]]; !ok {
			x.outcomes[b.hashes[j]] = &b.done[j]
		}
	}
	r.vow(b)
	early := x.early[ev.Position]
	delete(x.early, ev.Position)
	for iid, c := range early {
		if err := r.compare(b, iid, c); err != nil {
			return err
		}
	}
	r.advance()
	return nil
}

// batch opens a DATA record and executes its commands.
func (r *Replica) batch(ev *control.Event, now *epochKeys, b *block) (*state.Tree, error) {
	x := &r.exec
	h := ev.Record.Header
	if r.void(h.Epoch) { // most have no key for it
		return x.tree, nil
	}
	k := r.epochs[h.Epoch]
	if k == nil || !k.HasLog() {
		return nil, fmt.Errorf("position %d: the key of epoch %d is not there", ev.Position, h.Epoch)
	}
	t0 := r.o.Now()
	items, err := keys.OpenData(k.Log, h, *ev.Data)
	if err != nil { // a member sealed something else than it should; the same for all
		r.o.Log.Error("a record does not open", "position", ev.Position, "slot", ev.Sender.Slot, "reason", err)
		return x.tree, nil
	}
	t1 := r.o.Now()
	commands, hashes, faults := r.verifyAll(items)
	t2 := r.o.Now()
	tx := x.tree.Begin()
	block := ledger.Block{Ledger: r.ctl.Ledger(), Position: ev.Position, Time: ev.Time, Random: keys.Seed(now.Random, ev.Position)}
	leaves := make([][]byte, len(items))
	b.done, b.hashes = make([]done, len(items)), hashes
	for j, hash := range hashes {
		out := r.one(block, uint32(j), tx, commands[j], faults[j])
		d := done{
			position: ev.Position, index: uint32(j), events: out.Events, app: commands[j].Application, account: ledger.AccountID(wire.AccountID(commands[j].Scheme, commands[j].Key)),
			outcome: wire.Outcome{Code: out.Code, Message: out.Message, Result: out.Result},
			blind:   keys.Blind(now.Digest, ev.Position, uint32(j)),
		}
		r.remember(tx, commands[j], hash, &d)
		leaves[j] = wire.Leaf(r.ctl.Ledger(), ev.Position, uint32(j), hash, d.outcome, d.blind)
		b.done[j] = d
	}
	b.leaves = merkle.NewTree(leaves)
	tree := tx.Commit()
	r.stats.Open += int64(t1.Sub(t0))
	r.stats.Verify += int64(t2.Sub(t1))
	r.stats.Execute += int64(r.o.Now().Sub(t2))
	r.stats.Commands += uint64(len(items))
	r.stats.Batches++
	return tree, nil
}

// one executes one command whose signature was checked.
func (r *Replica) one(b ledger.Block, j uint32, tx *state.Tx, c wire.Command, fault error) ledger.Outcome {
	if fault != nil { // what a batch gives is a command of this ledger in its form: no other fault is left
		return ledger.Outcome{Code: ledger.CodeBadSignature}
	}
	return r.o.Machine.Execute(b, j, tx, ledger.CommandCall{
		App: c.Application, Scheme: c.Scheme, Account: ledger.AccountID(wire.AccountID(c.Scheme, c.Key)),
		Nonce: c.Nonce, ExpiresAt: c.ExpiresAt, Name: c.Name, Args: c.Arguments,
	})
}

// verifyAll reads the commands of a batch and checks their signatures on all processors. Those
// that this node took from clients itself, and checked then, are not checked again.
func (r *Replica) verifyAll(items [][]byte) ([]wire.Command, []wire.Hash, []error) {
	commands, hashes, faults := make([]wire.Command, len(items)), make([]wire.Hash, len(items)), make([]error, len(items))
	workers := min(runtime.GOMAXPROCS(0), (len(items)+3)/4)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for j := w; j < len(items); j += workers {
				hashes[j] = wire.SignedHash(items[j])
				s, err := wire.ParseSigned(items[j])
				switch {
				case err != nil:
				case r.queued[hashes[j]]:
					commands[j], err = wire.ParseCommand(s.Body)
				default:
					commands[j], err = s.VerifyCommand()
				}
				faults[j] = err
			}
		})
	}
	group.Wait()
	return commands, hashes, faults
}
