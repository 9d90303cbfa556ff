package replica

import (
	"errors"
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/state"
	"hitoku.dev/internal/ledger/wire"
)

// Snapshot is executed state at a checkpoint position, with what proves it.
type Snapshot struct {
	Checkpoint wire.Checkpoint
	Signatures []OwnSignature
	Tree       *state.Tree
}

// Snapshot returns the newest committed state, for a member that has none. Where nothing of the
// epoch in force is committed, since too few have state to form a quorum, it is the newest
// executed state, which this node alone has signed.
func (r *Replica) Snapshot() (Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.blockAt(r.exec.committed)
	if n := len(r.exec.blocks); n > 0 && (b == nil || b.check.Position < r.ctl.Epoch().Position) {
		b = r.exec.blocks[n-1]
	}
	if !r.running() || b == nil {
		return Snapshot{}, ErrNotRunning
	}
	s := Snapshot{Checkpoint: b.check, Tree: b.tree}
	for _, m := range r.ctl.EpochAt(b.check.Position).Members {
		if sig, ok := b.signatures[m.Incarnation]; ok {
			s.Signatures = append(s.Signatures, OwnSignature{m.Incarnation, sig})
		}
	}
	return s, nil
}

// Wants says what this executor needs before it can run: nothing, or state at or after a
// position. Files of its own, whose key a COMMIT released, come first.
func (r *Replica) Wants() (snapshot bool, from uint64, released *Released) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted != nil || r.exec.kind != wire.KindExecutor || r.exec.ready || !r.memberNow() {
		return false, 0, nil
	}
	if r.exec.wanting == 0 {
		r.exec.wanting = max(r.ticks, 1)
	}
	return true, max(r.firstEpoch().Position, r.exec.backlogFrom), r.exec.released
}

// firstEpoch is this incarnation's first one: from there on it has keys.
func (r *Replica) firstEpoch() *control.Epoch {
	for n := uint64(1); ; n++ {
		e := r.ctl.EpochNumber(n)
		if e == nil {
			return r.ctl.Epoch()
		}
		if _, ok := e.Member(r.iid); ok {
			return e
		}
	}
}

// Install takes a snapshot that a peer gave, checks it against the digest that a quorum of
// executors signed, and runs what came after it. When no quorum has state, which is so after
// several restarts at once, the node takes after a while (Timing.Lonely) the word of one attested
// executor: together they can then form the quorum that commits it.
func (r *Replica) Install(s Snapshot) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := s.Checkpoint
	if r.exec.ready {
		return nil
	}
	if c.Position < r.exec.backlogFrom {
		return fmt.Errorf("snapshot of position %d: %w", c.Position, ErrTooOld)
	}
	if c.Position > r.ctl.Position() {
		return fmt.Errorf("snapshot of position %d; this node has followed to %d, ask again later", c.Position, r.ctl.Position())
	}
	e := r.ctl.EpochAt(c.Position)
	k := r.epochs[e.Number]
	if k == nil {
		return fmt.Errorf("snapshot of position %d is of epoch %d, before this node joined", c.Position, e.Number)
	}
	if e.Void {
		return fmt.Errorf("snapshot of position %d is of epoch %d, which is void", c.Position, e.Number)
	}
	if e.T != c.Epoch {
		return errors.New("snapshot: its checkpoint names another membership")
	}
	good := map[wire.Hash]bool{}
	for _, sig := range s.Signatures {
		m, ok := e.Member(sig.Incarnation)
		if !ok || m.Kind != wire.KindExecutor {
			continue
		}
		check := wire.SignedCheckpoint{Checkpoint: c, Signature: sig.Signature}
		if check.Verify(r.ctl.Ledger(), r.ctl.Incarnation(sig.Incarnation).Key) {
			good[sig.Incarnation] = true
		}
	}
	lonely := r.ticks-r.exec.wanting >= r.o.Timing.Lonely && len(good) > 0
	if len(good) < e.Quorum() && !lonely {
		return fmt.Errorf("snapshot of position %d: %d valid signatures, wanted %d of %d executors", c.Position, len(good), e.Quorum(), e.Executors())
	}
	if mark, ok := r.ctl.At(c.Position); ok && mark.Chain != c.Chain {
		if len(good) >= e.Quorum() {
			return r.halt(fmt.Errorf("a quorum of executors has signed another history at position %d: the log has been forked", c.Position))
		}
		for id := range good {
			if err := r.foreign(r.ctl.Incarnation(id), c.Position, true); err != nil {
				return r.halt(err)
			}
		}
		return fmt.Errorf("snapshot of position %d: it is of another history", c.Position)
	}
	if keys.StateDigest(k.Digest, c.Position, s.Tree.Root()) != c.Digest {
		return fmt.Errorf("snapshot of position %d: its cells do not have the digest that was signed", c.Position)
	}
	var signatures []OwnSignature
	for _, sig := range s.Signatures {
		if good[sig.Incarnation] {
			signatures = append(signatures, sig)
		}
	}
	if err := r.adopt(c, s.Tree, signatures); err != nil {
		return r.halt(err)
	}
	if r.exec.persist != nil {
		r.exec.persist(&Persist{Position: c.Position, Chain: c.Chain, Before: &state.Tree{}, After: s.Tree, Outcomes: c.Outcomes})
	}
	return r.resume(c.Position, s.Tree, c.Outcomes)
}

// Saved is executed state from this node's own sealed files.
type Saved struct {
	Position uint64
	Chain    wire.Hash
	Outcomes wire.Hash
	Tree     *state.Tree
	Epochs   []keys.Epoch
}

// Restore takes the state of the node's own files, which were opened with the released key, and
// runs the log's tail.
func (r *Replica) Restore(s Saved) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := &r.exec
	if x.ready {
		return nil
	}
	if s.Position < x.backlogFrom {
		return fmt.Errorf("saved state of position %d: %w", s.Position, ErrTooOld)
	}
	if s.Position == x.markAt && x.hasMark && x.backlogMark.Chain != s.Chain {
		return r.halt(otherHistory(s.Position))
	}
	if s.Position > r.ctl.Position() {
		return r.halt(fmt.Errorf("the log ends at position %d; this node has saved state of position %d: the log was rolled back", r.ctl.Position(), s.Position))
	}
	if e := r.ctl.EpochAt(s.Position); e.Void {
		return fmt.Errorf("saved state of position %d is of epoch %d, which is void: %w", s.Position, e.Number, ErrTooOld)
	}
	epochs := s.Epochs
	if x.released != nil {
		epochs = append(slices.Clone(x.released.Tail), epochs...)
	}
	for _, e := range epochs {
		if r.epochs[e.Number] == nil {
			k := &epochKeys{Epoch: e}
			if next := r.ctl.EpochNumber(e.Number + 1); next != nil {
				k.endsAt = next.Position + r.ctl.Genesis().Window
				if next.Removal {
					k.endsAt = next.Position
				}
			}
			r.epochs[e.Number] = k
		}
	}
	if m, ok := r.ctl.At(s.Position); ok && m.Chain != s.Chain {
		return r.halt(otherHistory(s.Position))
	}
	x.forget(s.Position)
	if err := r.vouch(s); err != nil {
		return r.halt(err)
	}
	return r.resume(s.Position, s.Tree, s.Outcomes)
}

// otherHistory is why a node halts that has executed another log than it is shown now: to go on
// without that state would undo commands that were acknowledged.
func otherHistory(position uint64) error {
	return fmt.Errorf("saved state of position %d belongs to another history than the log now has: the log was rolled back or forked; "+
		"bring the log back, or empty the node's folder to give up what it had executed", position)
}

// vouch signs the checkpoint of a restored state when this incarnation was a member there, so
// that the others can commit it with this node, or this node with them.
func (r *Replica) vouch(s Saved) error {
	e := r.ctl.EpochAt(s.Position)
	k := r.epochs[e.Number]
	if _, ok := e.Member(r.iid); !ok || k == nil || r.blockAt(s.Position) != nil {
		return nil
	}
	c := wire.Checkpoint{Position: s.Position, Chain: s.Chain, Digest: keys.StateDigest(k.Digest, s.Position, s.Tree.Root()), Outcomes: s.Outcomes, Epoch: e.T}
	return r.adopt(c, s.Tree, nil)
}

// adopt makes a block of a state that was not executed here, and signs it where this incarnation
// was a member. Nothing is known of its position's commands.
func (r *Replica) adopt(c wire.Checkpoint, tree *state.Tree, signatures []OwnSignature) error {
	b := &block{check: c, tree: tree, signatures: map[wire.Hash][64]byte{}, since: r.ticks, partial: true}
	for _, sig := range signatures {
		b.signatures[sig.Incarnation] = sig.Signature
	}
	r.vow(b)
	r.exec.blocks = append(r.exec.blocks, b)
	early := r.exec.early[c.Position]
	delete(r.exec.early, c.Position)
	for iid, other := range early {
		if err := r.compare(b, iid, other); err != nil {
			return err
		}
	}
	r.advance()
	return nil
}

// forget drops what was executed after a position, which is executed again.
func (x *executor) forget(position uint64) {
	for len(x.blocks) > 0 {
		last := x.blocks[len(x.blocks)-1]
		if last.check.Position <= position {
			return
		}
		for j, h := range last.hashes {
			if x.outcomes[h] == &last.done[j] {
				delete(x.outcomes, h)
			}
		}
		x.kept -= len(last.done)
		x.keptBytes -= last.bytes()
		x.blocks = x.blocks[:len(x.blocks)-1]
	}
}

// resume runs what was kept of the log after a position.
func (r *Replica) resume(position uint64, tree *state.Tree, outcomes wire.Hash) error {
	x := &r.exec
	x.forget(position)
	x.ready, x.position, x.resumed, x.tree, x.outcomesRoot = true, position, position, tree, outcomes
	backlog := x.backlog
	x.keep(nil, x.backlogFrom)
	x.release()
	for i, ev := range backlog {
		if ev.Position <= position {
			continue
		}
		if err := r.run(ev); err != nil {
			return r.halt(err)
		}
		if !x.ready {
			x.keep(append(x.backlog, backlog[i+1:]...), x.backlogFrom)
			return fmt.Errorf("state of position %d: the record at %d cannot be opened here", position, ev.Position)
		}
		x.position = ev.Position
	}
	if x.ready {
		x.position = r.ctl.Position()
	}
	r.erase()
	r.wake()
	return nil
}

// OnPersist sets what is called, under the lock, with each step of the executed state.
func (r *Replica) OnPersist(f func(*Persist)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exec.persist = f
}

// EpochKeys returns copies of the keys that the node holds, by epoch; for its sealed files.
func (r *Replica) EpochKeys() map[uint64]keys.Epoch {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[uint64]keys.Epoch{}
	for n, e := range r.epochs {
		out[n] = e.Epoch
	}
	return out
}

// PastWindow says whether the keys of the epoch in force suffice for the log after a position:
// then sealed files may go over to them.
func (r *Replica) PastWindow(position uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.ctl.Epoch()
	if e.Removal || e.Number <= 1 {
		return position >= e.Position
	}
	return position >= e.Position+r.ctl.Genesis().Window
}
