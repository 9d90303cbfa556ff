package control

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
)

// ErrSequence means that an entry is not the next one.
var ErrSequence = errors.New("entry is not the next position")

// Event is what a position did.
type Event struct {
	Position uint64
	Time     uint64
	Chain    wire.Hash // C at the position
	Hash     wire.Hash // of the record's bytes
	// Skipped says why the record has no effect; empty for an effective one.
	Skipped string
	// Record is the effective record; its body is one of those below.
	Record wire.Record
	Sender *Incarnation
	Join   *wire.Join
	Commit *wire.Commit
	Core   *wire.Core
	Ack    *wire.Ack
	Data   *wire.Data
	Check  *wire.SignedCheckpoint
	Policy *wire.Policy
	Alarm  *wire.Alarm
	// Clone is the incarnation that this record proves to be running twice.
	Clone *Incarnation
	// Fork is the member that this record proves to follow another history.
	Fork *Incarnation
}

// Apply follows one more position. An error is ErrSequence: nothing can go on after it.
func (s *State) Apply(e order.Entry) (*Event, error) {
	if e.Position != s.position+1 || e.Time < s.Time() {
		return nil, fmt.Errorf("%w: position %d at time %d after position %d at time %d", ErrSequence, e.Position, e.Time, s.position, s.Time())
	}
	ev := &Event{Position: e.Position, Time: e.Time, Hash: sha256.Sum256(e.Record)}
	err := s.judge(e, ev)
	s.remember(e)
	ev.Chain = s.Chain()
	return ev, err
}

func skip(ev *Event, format string, a ...any) error {
	ev.Skipped = fmt.Sprintf(format, a...)
	return nil
}

// judge applies the rules of section 3 in their order. It sets Skipped, or takes
// the record's effect.
func (s *State) judge(e order.Entry, ev *Event) error {
	if len(e.Record) > int(s.genesis.EntryMax) {
		return skip(ev, "record of %d bytes; this ledger's have at most %d", len(e.Record), s.genesis.EntryMax)
	}
	rec, err := wire.ParseRecord(e.Record)
	if err != nil {
		return skip(ev, "%v", err)
	}
	h := rec.Header
	if h.Ledger != s.ledger {
		return skip(ev, "record of ledger %x", h.Ledger[:8])
	}
	if h.Anchor >= e.Position || h.Anchor+s.genesis.AnchorAge < e.Position {
		return skip(ev, "anchor %d is not within %d positions before %d", h.Anchor, s.genesis.AnchorAge, e.Position)
	}
	mark, ok := s.At(h.Anchor)
	if !ok {
		return skip(ev, "anchor %d is forgotten", h.Anchor)
	}
	var join wire.Join
	sender := s.incarnations[h.Incarnation]
	var key [32]byte
	switch {
	case h.Type == wire.TypeJoin:
		if join, err = wire.ParseJoin(rec.Body); err != nil {
			return skip(ev, "%v", err)
		}
		key = join.Key
		if wire.IncarnationID(key) != h.Incarnation {
			return skip(ev, "JOIN: incarnation id is not that of its key")
		}
	case sender == nil:
		return skip(ev, "incarnation %x has not joined", h.Incarnation[:8])
	default:
		key = sender.Key
	}
	if !rec.Verify(key) {
		return skip(ev, "signature does not hold")
	}
	ev.Record, ev.Sender = rec, sender
	member := s.member(sender)
	if mark.Chain != h.AnchorChain {
		if member && sender.Forked == 0 {
			sender.Forked, ev.Fork = e.Position, sender
		}
		return skip(ev, "chain value at anchor %d is another", h.Anchor)
	}
	if sender != nil {
		if sender.Forked != 0 {
			return skip(ev, "incarnation %x follows another history, as position %d shows", sender.ID[:8], sender.Forked)
		}
		if s.clone(sender, h.N, ev) {
			return skip(ev, "incarnation %x runs twice: two records with number %d", sender.ID[:8], h.N)
		}
		if sender.Expelled != 0 {
			return skip(ev, "incarnation %x was expelled at position %d", sender.ID[:8], sender.Expelled)
		}
		if sender.Effective && h.N <= sender.LastN {
			return skip(ev, "record number %d is not above %d", h.N, sender.LastN)
		}
	}
	prev := wire.Hash{}
	if sender != nil {
		prev = sender.LastHash
	}
	if h.PrevOwn != prev {
		return skip(ev, "record %d does not follow the sender's last effective one", h.N)
	}
	if h.Type == wire.TypeJoin {
		return s.join(ev, join, mark)
	}
	if !member && (h.Type != wire.TypeCommit || s.Epoch().Number != 0) {
		return skip(ev, "incarnation %x is no member of epoch %d", h.Incarnation[:8], s.Epoch().Number)
	}
	switch h.Type {
	case wire.TypeCommit:
		err = s.commit(ev, mark)
	case wire.TypeAck:
		err = s.ack(ev)
	case wire.TypeData:
		err = s.data(ev)
	case wire.TypeCheckpoint:
		err = s.checkpoint(ev)
	case wire.TypePolicy:
		err = s.policy(ev)
	case wire.TypeAlarm:
		err = s.alarm(ev)
	default:
		return skip(ev, "record of type %d", h.Type)
	}
	if err == nil && ev.Skipped == "" {
		sender.effective(h, ev.Hash)
	}
	return err
}

func (in *Incarnation) effective(h wire.Header, hash wire.Hash) {
	in.LastN, in.LastHash, in.Agreed, in.Effective = h.N, hash, h.Anchor, true
}

// member says whether an incarnation belongs to the epoch in force.
func (s *State) member(in *Incarnation) bool {
	if in == nil {
		return false
	}
	_, ok := s.Epoch().Member(in.ID)
	return ok
}

// clone notes a signed record number, and expels the incarnation when it signed
// another record with the same one.
func (s *State) clone(in *Incarnation, n uint64, ev *Event) bool {
	for _, r := range in.Recent {
		if r.N == n {
			if r.Hash != ev.Hash && in.Expelled == 0 {
				in.Expelled, ev.Clone = ev.Position, in
				if s.pending[in.Slot] == in.ID { // not its successor
					delete(s.pending, in.Slot)
					s.drop(in.JoinPosition)
				}
			}
			return r.Hash != ev.Hash
		}
	}
	in.Recent = append(in.Recent, Signed{n, ev.Hash})
	if len(in.Recent) > recentRecords {
		in.Recent = slices.Delete(in.Recent, 0, len(in.Recent)-recentRecords)
	}
	return false
}

func (s *State) ack(ev *Event) error {
	a, err := wire.ParseAck(ev.Record.Body)
	if err != nil {
		return skip(ev, "%v", err)
	}
	if a.Epoch != s.Epoch().Number || ev.Sender.AckEpoch >= a.Epoch {
		return skip(ev, "ACK of epoch %d in epoch %d", a.Epoch, s.Epoch().Number)
	}
	if err := s.genesis.Suite.CheckPublic(a.HPKE); err != nil {
		return skip(ev, "ACK: %v", err)
	}
	ev.Ack, ev.Sender.AckEpoch = &a, a.Epoch
	ev.Sender.HPKE = HPKEKey{ev.Position, a.HPKE}
	return nil
}

func (s *State) data(ev *Event) error {
	if ev.Sender.Kind != wire.KindExecutor {
		return skip(ev, "DATA from a vault")
	}
	if !s.open(ev.Record.Header.Epoch, ev.Position) {
		return skip(ev, "DATA of epoch %d in epoch %d", ev.Record.Header.Epoch, s.Epoch().Number)
	}
	d, err := wire.ParseData(ev.Record.Body)
	if err != nil {
		return skip(ev, "%v", err)
	}
	ev.Data = &d
	return nil
}

// open says whether DATA of an epoch is taken at a position.
func (s *State) open(epoch, position uint64) bool {
	now := s.Epoch()
	if epoch == now.Number {
		return true
	}
	return epoch+1 == now.Number && epoch > 0 && !now.Removal && position <= now.Position+s.genesis.Window
}

func (s *State) checkpoint(ev *Event) error {
	c, err := wire.ParseSignedCheckpoint(ev.Record.Body)
	if err != nil {
		return skip(ev, "%v", err)
	}
	if ev.Sender.Kind != wire.KindExecutor {
		return skip(ev, "CHECKPOINT from a vault")
	}
	if !c.Verify(s.ledger, ev.Sender.Key) {
		return skip(ev, "CHECKPOINT: signature does not hold")
	}
	ev.Check = &c
	return nil
}

func (s *State) alarm(ev *Event) error {
	a, err := wire.ParseAlarm(ev.Record.Body)
	if err != nil {
		return skip(ev, "%v", err)
	}
	if a.Epoch != s.Epoch().Number || a.Slot != ev.Sender.Slot {
		return skip(ev, "ALARM of epoch %d, slot %d", a.Epoch, a.Slot)
	}
	ev.Alarm, ev.Sender.Alarm = &a, ev.Position
	return nil
}

func (s *State) policy(ev *Event) error {
	u, err := wire.ParsePolicyUpdate(ev.Record.Body)
	if err != nil {
		return skip(ev, "%v", err)
	}
	p, err := wire.ParsePolicy(u.Policy)
	if err != nil {
		return skip(ev, "%v", err)
	}
	if err := CheckPolicy(s, p, u.Signatures, ev.Position); err != nil {
		return skip(ev, "%v", err)
	}
	s.policies = append(s.policies, PolicyEntry{p, p.Hash()})
	s.keep(ev)
	ev.Policy = &p
	return nil
}

// CheckPolicy says what keeps a policy from being taken at a position.
func CheckPolicy(s *State, p wire.Policy, signatures []wire.AdminSignature, position uint64) error {
	last := s.NewestPolicy()
	switch {
	case p.Ledger != s.ledger:
		return fmt.Errorf("policy of ledger %x, wanted %x", p.Ledger[:8], s.ledger[:8])
	case p.Version != last.Policy.Version+1:
		return fmt.Errorf("policy version %d, wanted %d", p.Version, last.Policy.Version+1)
	case p.Previous != last.Hash:
		return fmt.Errorf("policy %d does not follow version %d as it stands here", p.Version, last.Policy.Version)
	case p.ActiveFrom < position+s.genesis.PolicyDelay || p.ActiveFrom < last.Policy.ActiveFrom:
		return fmt.Errorf("policy %d is active from position %d, wanted at least %d", p.Version, p.ActiveFrom, position+s.genesis.PolicyDelay)
	}
	return wire.VerifyAdmins(last.Policy, p.Message(), signatures)
}

// drop takes a JOIN that no COMMIT has added by, and none will, out of the control records: else whoever has
// the key of one slot's operator could make them grow without end.
func (s *State) drop(position uint64) {
	i, ok := slices.BinarySearchFunc(s.records, position, func(r wire.ControlRecord, p uint64) int { return cmp.Compare(r.Position, p) })
	if !ok {
		return
	}
	s.records = append(slices.Clone(s.records[:i]), s.records[i+1:]...) // others read the old ones
	delete(s.joins, position)
}

// keep adds an effective record to the control records.
func (s *State) keep(ev *Event) {
	s.records = append(s.records, wire.ControlRecord{Position: ev.Position, Time: ev.Time, Record: ev.Record.Encode()})
}
