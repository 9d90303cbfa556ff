package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

// ErrRecord means that control records are not those of the ledger.
var ErrRecord = errors.New("control records do not hold")

// RecordError says which record does not hold, and why.
type RecordError struct {
	Position uint64 // 0 for the genesis
	Err      error
}

func (e *RecordError) Error() string {
	if e.Position == 0 {
		return fmt.Sprintf("%v: genesis: %v", ErrRecord, e.Err)
	}
	return fmt.Sprintf("%v: position %d: %v", ErrRecord, e.Position, e.Err)
}

// Unwrap gives ErrRecord and the reason.
func (e *RecordError) Unwrap() []error { return []error{ErrRecord, e.Err} }

// Member is an incarnation in an epoch.
type Member struct {
	Slot        uint16
	Kind        uint8 // wire.KindExecutor or wire.KindVault
	Incarnation wire.Hash
	Key         [32]byte // Ed25519
}

// Epoch is the members between two changes. Epoch 0 has none.
type Epoch struct {
	Number   uint64
	T        wire.Hash
	Position uint64 // of its COMMIT, as claimed
	Time     uint64 // as its COMMIT says, in seconds
	Members  []Member
}

// Executors are the members that execute.
func (e *Epoch) Executors() []Member {
	return slices.DeleteFunc(slices.Clone(e.Members), func(m Member) bool { return m.Kind != wire.KindExecutor })
}

// Quorum is more than half of the executors.
func (e *Epoch) Quorum() int { return len(e.Executors())/2 + 1 }

// Member returns the member with an incarnation id.
func (e *Epoch) Member(id wire.Hash) (Member, bool) {
	i := slices.IndexFunc(e.Members, func(m Member) bool { return m.Incarnation == id })
	if i < 0 {
		return Member{}, false
	}
	return e.Members[i], true
}

// Join is an incarnation's newest JOIN.
type Join struct {
	Position, Time uint64 // as claimed
	Kind           uint8
	Body           wire.Join
}

// History is what control records say. It is not changed after Follow.
type History struct {
	trust    Trust
	ledger   wire.Hash
	genesis  wire.Genesis
	policies []wire.Policy
	epochs   []Epoch
	joins    map[wire.Hash]*Join
	pending  map[uint16]wire.Hash
	position uint64
	records  int
}

// Follow verifies control records from a ledger id on. Errors wrap ErrRecord; where a root or evidence is
// at fault, they wrap ErrUntrusted or are an [attest.RefusedError] too.
func Follow(ledger wire.Hash, c wire.Control, trust Trust) (*History, error) {
	h := &History{trust: trust, ledger: ledger, joins: map[wire.Hash]*Join{}, pending: map[uint16]wire.Hash{}, epochs: []Epoch{{T: ledger}}}
	if err := h.open(c.Genesis); err != nil {
		return nil, &RecordError{0, err}
	}
	for _, r := range c.Records {
		err := fmt.Errorf("it stands after position %d", h.position)
		if r.Position > h.position {
			err = h.apply(r)
		}
		if err != nil {
			return nil, &RecordError{r.Position, err}
		}
		h.position = r.Position
		h.records++
	}
	return h, nil
}

func (h *History) open(file []byte) error {
	f, err := wire.ParseGenesisFile(file)
	if err != nil {
		return err
	}
	g, p, id, err := f.Open()
	if err != nil {
		return err
	}
	if id != h.ledger {
		return fmt.Errorf("it is of ledger %x, wanted %x", id, h.ledger)
	}
	h.genesis, h.policies = g, []wire.Policy{p}
	return nil
}

// apply takes one record's effect.
func (h *History) apply(r wire.ControlRecord) error {
	if len(r.Record) > int(h.genesis.EntryMax) {
		return fmt.Errorf("record of %d bytes; this ledger's have at most %d", len(r.Record), h.genesis.EntryMax)
	}
	rec, err := wire.ParseRecord(r.Record)
	if err != nil {
		return err
	}
	head := rec.Header
	if head.Ledger != h.ledger {
		return fmt.Errorf("record of ledger %x", head.Ledger)
	}
	if head.Anchor >= r.Position || head.Anchor+h.genesis.AnchorAge < r.Position {
		return fmt.Errorf("anchor %d is not within %d positions before it", head.Anchor, h.genesis.AnchorAge)
	}
	if head.Type == wire.TypeJoin {
		return h.join(r, rec)
	}
	sender := h.joins[head.Incarnation]
	if sender == nil {
		return fmt.Errorf("incarnation %x has not joined", head.Incarnation)
	}
	if !rec.Verify(sender.Body.Key) {
		return fmt.Errorf("record of incarnation %x: %w", head.Incarnation, wire.ErrSignature)
	}
	now := h.Newest()
	if _, ok := now.Member(head.Incarnation); !ok && (head.Type != wire.TypeCommit || now.Number != 0) {
		return fmt.Errorf("incarnation %x is no member of epoch %d", head.Incarnation, now.Number)
	}
	switch head.Type {
	case wire.TypeCommit:
		return h.commit(r, rec, sender)
	case wire.TypePolicy:
		return h.policy(r, rec)
	}
	return fmt.Errorf("record of type %d among control records", head.Type)
}

func (h *History) join(r wire.ControlRecord, rec wire.Record) error {
	j, err := wire.ParseJoin(rec.Body)
	if err != nil {
		return err
	}
	id := rec.Header.Incarnation
	if wire.IncarnationID(j.Key) != id {
		return errors.New("JOIN: the incarnation id is not that of its key")
	}
	if !rec.Verify(j.Key) {
		return fmt.Errorf("JOIN of slot %d: %w", j.Slot, wire.ErrSignature)
	}
	slot, err := control.CheckJoin(h.ledger, h.Policy(r.Position), h.genesis.Suite, rec.Header, j)
	if err != nil {
		return fmt.Errorf("JOIN: %w", err)
	}
	if old := h.joins[id]; old != nil && old.Body.Slot != j.Slot {
		return fmt.Errorf("JOIN: incarnation %x was in slot %d", id, old.Body.Slot)
	}
	h.joins[id] = &Join{Position: r.Position, Time: r.Time, Kind: slot.Kind, Body: j}
	if _, member := h.Newest().Member(id); !member {
		h.pending[j.Slot] = id
	}
	return nil
}

func (h *History) policy(r wire.ControlRecord, rec wire.Record) error {
	u, err := wire.ParsePolicyUpdate(rec.Body)
	if err != nil {
		return err
	}
	p, err := wire.ParsePolicy(u.Policy)
	if err != nil {
		return err
	}
	last := h.policies[len(h.policies)-1]
	switch {
	case p.Ledger != h.ledger:
		return fmt.Errorf("policy of ledger %x", p.Ledger)
	case p.Version != last.Version+1 || p.Previous != last.Hash():
		return fmt.Errorf("policy %d does not follow policy %d", p.Version, last.Version)
	case p.ActiveFrom < last.ActiveFrom || p.ActiveFrom < r.Position || p.ActiveFrom-r.Position < h.genesis.PolicyDelay:
		return fmt.Errorf("policy %d is active from position %d, wanted %d positions of delay", p.Version, p.ActiveFrom, h.genesis.PolicyDelay)
	}
	if err := wire.VerifyAdmins(last, p.Message(), u.Signatures); err != nil {
		return fmt.Errorf("policy %d: %w", p.Version, err)
	}
	h.policies = append(h.policies, p)
	return nil
}

// Ledger is the ledger id.
func (h *History) Ledger() wire.Hash { return h.ledger }

// Genesis is the ledger's genesis.
func (h *History) Genesis() wire.Genesis { return h.genesis }

// Position is that of the last record, as claimed.
func (h *History) Position() uint64 { return h.position }

// Pending are the incarnations that have joined and wait to be added, in slot order.
func (h *History) Pending() []wire.Hash {
	var out []wire.Hash
	for _, slot := range slices.Sorted(maps.Keys(h.pending)) {
		out = append(out, h.pending[slot])
	}
	return out
}

// Records is how many records were followed.
func (h *History) Records() int { return h.records }

// Newest is the last epoch.
func (h *History) Newest() *Epoch { return &h.epochs[len(h.epochs)-1] }

// Number returns an epoch by its number, nil when there is none.
func (h *History) Number(n uint64) *Epoch {
	if n >= uint64(len(h.epochs)) {
		return nil
	}
	return &h.epochs[n]
}

// Epoch returns the epoch with a T, and the one after it; nil where there is none.
func (h *History) Epoch(t wire.Hash) (epoch, next *Epoch) {
	for i := range h.epochs {
		if h.epochs[i].T == t {
			return &h.epochs[i], h.Number(uint64(i) + 1)
		}
	}
	return nil, nil
}

// Policy is the policy in force at a position.
func (h *History) Policy(position uint64) wire.Policy {
	for _, p := range slices.Backward(h.policies) {
		if p.ActiveFrom <= position {
			return p
		}
	}
	return h.policies[0]
}

// Join returns an incarnation's newest JOIN, nil when there is none.
func (h *History) Join(id wire.Hash) *Join { return h.joins[id] }

// JudgeNow judges an incarnation's newest evidence under the policy in force at a position, with the
// reader's own clock.
func (h *History) JudgeNow(id wire.Hash, position uint64, now time.Time) (attest.Verdict, error) {
	j := h.joins[id]
	if j == nil {
		return attest.Verdict{}, fmt.Errorf("%w: incarnation %x has not joined", ErrRecord, id)
	}
	p, err := h.trust.narrow(h.Policy(position))
	if err != nil {
		return attest.Verdict{}, err
	}
	v, err := member.JudgeNow(j.Body, j.Time, p, now)
	if err != nil {
		return v, err
	}
	if !v.Accepted {
		return v, &attest.RefusedError{What: fmt.Sprintf("evidence of slot %d", j.Body.Slot), Rules: v.Failed()}
	}
	return v, nil
}
