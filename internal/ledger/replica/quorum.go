package replica

import (
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/wire"
)

// maxEarly bounds the checkpoints kept of positions that this node has not executed.
const maxEarly = 4096

// OwnCheckpoint is a checkpoint on its way to peers.
type OwnCheckpoint struct {
	Incarnation wire.Hash
	wire.SignedCheckpoint
}

// Checkpoints returns the own signed checkpoints after a position, rising, at most limit.
func (r *Replica) Checkpoints(after uint64, limit int) []OwnCheckpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.exec.blocks, after+1, func(b *block, p uint64) int { return compareU64(b.check.Position, p) })
	var out []OwnCheckpoint
	for _, b := range r.exec.blocks[i:] {
		sig, ok := b.signatures[r.iid]
		if !ok {
			continue
		}
		if len(out) == limit {
			break
		}
		out = append(out, OwnCheckpoint{r.iid, wire.SignedCheckpoint{Checkpoint: b.check, Signature: sig}})
	}
	return out
}

func compareU64(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Receive takes checkpoints that a peer sent. An error that is ErrHalted means that this node
// has stopped; another one that the checkpoint is not to be believed.
func (r *Replica) Receive(from wire.Hash, checks ...wire.SignedCheckpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range checks {
		if r.halted != nil {
			return r.halted
		}
		in := r.ctl.Incarnation(from)
		if in == nil || in.Kind != wire.KindExecutor {
			return fmt.Errorf("checkpoint of incarnation %x, which is no executor here", from[:8])
		}
		if !c.Verify(r.ctl.Ledger(), in.Key) {
			return fmt.Errorf("slot %d: the signature of its checkpoint of position %d does not hold", in.Slot, c.Checkpoint.Position)
		}
		if p := c.Checkpoint.Position; p > r.ctl.Position() && !r.executorAt(p, from) {
			// Its epoch may begin in what is not followed yet: the peer must bring it again.
			return fmt.Errorf("checkpoint of position %d by slot %d, which is no executor at position %d yet", p, in.Slot, r.ctl.Position())
		}
		if err := r.witness(from, c); err != nil {
			return r.halt(err)
		}
	}
	return nil
}

// witness notes a peer's checkpoint whose signature holds. An error is a divergence, or that most follow
// another history.
func (r *Replica) witness(from wire.Hash, c wire.SignedCheckpoint) error {
	x := &r.exec
	p := c.Checkpoint.Position
	if x.kind != wire.KindExecutor || from == r.iid {
		return nil
	}
	mark, known := r.ctl.At(p)
	if known && mark.Chain != c.Checkpoint.Chain {
		return r.foreign(r.ctl.Incarnation(from), p, true)
	}
	if !r.executorAt(p, from) {
		return nil
	}
	if b := r.blockAt(p); b != nil {
		if err := r.compare(b, from, c); err != nil {
			return err
		}
		r.advance()
		return nil
	}
	if x.ready && p <= x.position {
		if p < x.firstKept() || p <= x.resumed {
			return nil // long past, or not executed here
		}
		if !known { // it is of this history or of another
			return nil
		}
		return fmt.Errorf("incarnation %x signed a checkpoint of position %d, which is none here", from[:8], p)
	}
	if len(x.early) < maxEarly || x.early[p] != nil {
		if x.early[p] == nil {
			x.early[p] = map[wire.Hash]wire.SignedCheckpoint{}
		}
		x.early[p][from] = c
	}
	return nil
}

// executorAt says whether an incarnation is an executor of the epoch of a position: of the one in
// force where the position is not followed yet. What others sign is no checkpoint: anybody with a
// slot operator's key is a pending incarnation, and must not be able to make this node halt.
func (r *Replica) executorAt(p uint64, id wire.Hash) bool {
	e := r.ctl.EpochAt(p)
	m, ok := e.Member(id)
	return ok && m.Kind == wire.KindExecutor && !e.Void
}

// tidy drops the checkpoints of positions that turned out to be none.
func (x *executor) tidy(ticks int) {
	for p := range x.early {
		if ticks%64 == 0 && x.ready && p <= x.position {
			delete(x.early, p)
		}
	}
}

func (x *executor) firstKept() uint64 {
	if len(x.blocks) == 0 {
		return x.position + 1
	}
	return x.blocks[0].check.Position
}

func (r *Replica) blockAt(p uint64) *block {
	i, ok := slices.BinarySearchFunc(r.exec.blocks, p, func(b *block, p uint64) int { return compareU64(b.check.Position, p) })
	if !ok {
		return nil
	}
	return r.exec.blocks[i]
}

// compare holds a peer's checkpoint against the own one of the same position.
func (r *Replica) compare(b *block, from wire.Hash, c wire.SignedCheckpoint) error {
	own, other := b.check, c.Checkpoint
	if !r.executorAt(own.Position, from) { // it was one when it was noted, before this position was followed
		return nil
	}
	if own == other {
		b.signatures[from] = c.Signature
		return nil
	}
	if own.Chain != other.Chain {
		return r.foreign(r.ctl.Incarnation(from), own.Position, true)
	}
	what := "state digest"
	switch {
	case own.Epoch != other.Epoch:
		what = "membership"
	case own.Outcomes != other.Outcomes:
		what = "outcomes"
	}
	return fmt.Errorf("diverged at position %d: the %s of incarnation %x is not this node's", own.Position, what, from[:8])
}

// advance moves the committed position to the highest that a quorum has signed.
func (r *Replica) advance() {
	x := &r.exec
	for i := len(x.blocks) - 1; i >= 0; i-- {
		b := x.blocks[i]
		if b.check.Position <= x.committed {
			return
		}
		if !r.quorum(b) || !r.fromBefore(b) {
			continue
		}
		first := i
		for first > 0 && x.blocks[first-1].check.Position > x.committed {
			first--
		}
		x.committed, x.committedTree = b.check.Position, b.tree
		for _, c := range x.blocks[first : i+1] {
			r.release(c)
		}
		for ; i > 0 && x.blocks[i-1].tree != nil; i-- { // states that nobody asks for any more
			x.blocks[i-1].tree = nil
		}
		r.trim()
		r.wake()
		return
	}
}

func (r *Replica) quorum(b *block) bool {
	e := r.ctl.EpochAt(b.check.Position)
	n := 0
	for _, m := range e.Members {
		if _, ok := b.signatures[m.Incarnation]; ok && m.Kind == wire.KindExecutor {
			n++
		}
	}
	return n >= e.Quorum()
}

// trim forgets the outcomes of old committed positions.
func (r *Replica) trim() {
	x := &r.exec
	n := 0
	for n < len(x.blocks) && x.blocks[n].check.Position < x.committed && (len(x.blocks)-n > r.o.Limits.Blocks || x.kept > r.o.Limits.Outcomes || x.keptBytes > r.o.Limits.OutcomeBytes) {
		x.kept -= len(x.blocks[n].done)
		x.keptBytes -= x.blocks[n].bytes()
		n++
	}
	if n == 0 {
		return
	}
	for _, b := range x.blocks[:n] {
		for j, h := range b.hashes {
			if x.outcomes[h] == &b.done[j] {
				delete(x.outcomes, h)
			}
		}
	}
	x.blocks = slices.Clone(x.blocks[n:])
}

// testify puts the own checkpoint on the log: of the newest position whose peers are missing
// for a while, and after every checkpoint_every checkpoint positions.
func (r *Replica) testify() {
	x := &r.exec
	if !r.running() || len(x.blocks) == 0 || r.joining {
		return
	}
	b := x.blocks[len(x.blocks)-1]
	every := int(r.ctl.Genesis().CheckpointEvery)
	late := b.check.Position > x.committed && r.ticks-b.since >= r.o.Timing.Checkpoint
	often := every > 0 && len(x.blocks) > 0 && b.check.Position >= x.lastPosted+uint64(every)
	if b.posted || !late && !often {
		return
	}
	sig, ok := b.signatures[r.iid]
	if !ok {
		return
	}
	b.posted, x.lastPosted = true, b.check.Position
	f := r.sign(wire.TypeCheckpoint, r.ctl.Epoch().Number, wire.SignedCheckpoint{Checkpoint: b.check, Signature: sig}.Encode())
	f.check = b
}

// Certificate is what makes a position committed, for receipts.
type Certificate struct {
	Checkpoint wire.Checkpoint
	Signatures []OwnSignature
	Count      uint32      // commands of the position asked for
	Before     wire.Hash   // Q before it
	After      []wire.Hash // roots of the later positions up to the checkpoint's
}

// OwnSignature is an executor's over a checkpoint.
type OwnSignature struct {
	Incarnation wire.Hash
	Signature   [64]byte
}

// Certificate returns the first checkpoint at or after a position that a quorum has signed.
// ok is false when the position is none, is not committed, or is forgotten.
func (r *Replica) Certificate(position uint64) (c Certificate, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.blockAt(position)
	if first == nil || first.partial {
		return c, false
	}
	c.Before, c.Count = first.before, uint32(len(first.done))
	for _, b := range r.exec.blocks {
		if b.check.Position < position {
			continue
		}
		if b != first && b.partial {
			return c, false // what lies between is not known here
		}
		if b != first {
			c.After = append(c.After, b.root)
		}
		if !r.quorum(b) || b.check.Position > r.exec.committed {
			continue
		}
		c.Checkpoint = b.check
		for _, m := range r.ctl.EpochAt(b.check.Position).Members {
			if sig, ok := b.signatures[m.Incarnation]; ok {
				c.Signatures = append(c.Signatures, OwnSignature{m.Incarnation, sig})
			}
		}
		return c, true
	}
	return c, false
}
