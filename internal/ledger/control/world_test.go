package control_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
)

// world is a log that the test writes, and a State that follows it.
type world struct {
	t      testing.TB
	random *rand.ChaCha8
	file   wire.GenesisFile
	policy wire.Policy // newest
	admins []ed25519.PrivateKey
	ops    []ed25519.PrivateKey
	s      *control.State
	log    []order.Entry
	now    uint64
}

const good = "good evidence"

func appraise(j wire.Join, joinTime uint64, p wire.Policy, t uint64) error {
	if string(j.Evidence) != good {
		return errors.New("evidence is not good")
	}
	if t > joinTime && t-joinTime > p.EvidenceAge {
		return errors.New("evidence is too old")
	}
	return nil
}

func (w *world) newKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = w.random.Read(seed) // never fails
	return ed25519.NewKeyFromSeed(seed)
}

func public(sk ed25519.PrivateKey) [32]byte { return [32]byte(sk.Public().(ed25519.PublicKey)) }

// newWorld makes a genesis for executors in slots 0, 1, 2 and 3 and a vault in slot 4. It is the same
// each time.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, random: rand.NewChaCha8([32]byte{7}), now: 1000}
	p := wire.Policy{Programs: []wire.Program{{Measurement: bytes.Repeat([]byte{7}, 32)}}, TCBStatuses: []string{"UpToDate"}, Roots: []wire.Hash{{1}}, EvidenceAge: 100, Threshold: 2}
	for range 3 {
		w.admins = append(w.admins, w.newKey())
	}
	slices.SortFunc(w.admins, func(a, b ed25519.PrivateKey) int { x, y := public(a), public(b); return bytes.Compare(x[:], y[:]) })
	for _, a := range w.admins {
		p.Admins = append(p.Admins, public(a))
	}
	for i := range 5 {
		w.ops = append(w.ops, w.newKey())
		kind := wire.KindExecutor
		if i == 4 {
			kind = wire.KindVault
		}
		p.Slots = append(p.Slots, wire.Slot{Slot: uint16(i), Kind: kind, Operator: public(w.ops[i])})
	}
	g := wire.Genesis{
		Suite: wire.SuiteX25519, Name: "test", Applications: []wire.Application{{Name: "a", Version: "1"}},
		Window: 4, AnchorAge: 100, PolicyDelay: 2, EntryMax: 1 << 16,
		Order: wire.Order{Driver: wire.DriverEmbedded, Finality: wire.FinalityImmediate, Endpoints: 1}, PolicyBytes: p.Encode(),
	}
	w.policy = p
	w.file = wire.GenesisFile{Genesis: g.Encode(), Signatures: w.signed(g.Message())}
	s, err := control.New(w.file, appraise)
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	return w
}

// signed is two administrators' signatures.
func (w *world) signed(message []byte) []wire.AdminSignature {
	return []wire.AdminSignature{
		{Index: 0, Signature: [64]byte(ed25519.Sign(w.admins[0], message))},
		{Index: 1, Signature: [64]byte(ed25519.Sign(w.admins[1], message))},
	}
}

// entry is the next position with a record.
func (w *world) entry(record []byte) order.Entry {
	return order.Entry{Position: uint64(len(w.log)) + 1, Time: w.now, Record: record}
}

// apply puts a record on the log.
func (w *world) apply(r wire.Record) *control.Event {
	w.t.Helper()
	e := w.entry(r.Encode())
	w.log = append(w.log, e)
	ev, err := w.s.Apply(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return ev
}

// take puts a record on the log that must be effective.
func (w *world) take(r wire.Record) *control.Event {
	w.t.Helper()
	ev := w.apply(r)
	if ev.Skipped != "" {
		w.t.Fatalf("position %d was skipped: %s", ev.Position, ev.Skipped)
	}
	return ev
}

// refuse puts a record on the log that must be skipped.
func (w *world) refuse(what string, r wire.Record) {
	w.t.Helper()
	if ev := w.apply(r); ev.Skipped == "" {
		w.t.Fatalf("%s: effective at position %d", what, ev.Position)
	}
}

// process is one incarnation, whose records the test signs.
type process struct {
	w    *world
	slot uint16
	key  ed25519.PrivateKey
	hpke *keys.HPKEKey
	id   wire.Hash
	n    uint64
}

func (w *world) process(slot uint16) *process {
	k, err := keys.NewHPKE(wire.SuiteX25519, w.random)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{w: w, slot: slot, key: w.newKey(), hpke: k}
	p.id = wire.IncarnationID(public(p.key))
	return p
}

// record is the next record of a process, anchored at the log's end.
func (p *process) record(t wire.RecordType, body []byte) wire.Record {
	h := wire.Header{Type: t, Ledger: p.w.s.Ledger(), Epoch: p.w.s.Epoch().Number, Incarnation: p.id, N: p.n, Anchor: p.w.s.Position(), AnchorChain: p.w.s.Chain()}
	if in := p.w.s.Incarnation(p.id); in != nil {
		h.PrevOwn = in.LastHash
	}
	p.n++
	return wire.SignRecord(h, body, p.key)
}

func (p *process) join(evidence string) wire.Record {
	anchor, chain := p.w.s.Position(), p.w.s.Chain()
	version := p.w.s.Policy(anchor + 1).Version
	b := attest.Binding{Purpose: attest.PurposeApp, Subject: wire.ReportSubject(p.w.s.Ledger(), p.slot, public(p.key), p.hpke.Public(), version, anchor, chain), Nonce: chain[:]}
	der, err := b.MarshalDER()
	if err != nil {
		p.w.t.Fatal(err)
	}
	j := wire.Join{Slot: p.slot, Key: public(p.key), HPKE: p.hpke.Public(), PolicyVersion: version, Evidence: []byte(evidence), Binding: der}
	copy(j.OperatorSig[:], ed25519.Sign(p.w.ops[p.slot], wire.OperatorMessage(p.w.s.Ledger(), j.Slot, j.Key, j.HPKE)))
	return p.record(wire.TypeJoin, j.Encode())
}

func (p *process) ack() wire.Record {
	k, err := keys.NewHPKE(wire.SuiteX25519, p.w.random)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.hpke = k
	return p.record(wire.TypeAck, wire.Ack{Epoch: p.w.s.Epoch().Number, HPKE: k.Public()}.Encode())
}

func (p *process) data() wire.Record {
	return p.record(wire.TypeData, wire.Data{Salt: wire.Hash{1}, CT: []byte("sealed")}.Encode())
}

func (p *process) checkpoint() wire.Record {
	c := wire.Checkpoint{Position: p.w.s.Position(), Chain: p.w.s.Chain(), Epoch: p.w.s.Epoch().T}
	sig := ed25519.Sign(p.key, wire.CheckpointMessage(p.w.s.Ledger(), p.id, c))
	return p.record(wire.TypeCheckpoint, wire.SignedCheckpoint{Checkpoint: c, Signature: [64]byte(sig)}.Encode())
}

// core is the right core for a change.
func (w *world) core(add []*process, removes ...wire.Remove) wire.Core {
	now := w.s.Epoch()
	c := wire.Core{Epoch: now.Number + 1, Previous: now.T, PolicyVersion: w.s.Policy(w.s.Position() + 1).Version, Time: max(w.s.Time(), now.Time), Removes: removes}
	gone := map[uint16]bool{}
	for _, r := range removes {
		gone[r.Slot] = true
	}
	for _, m := range now.Members {
		if !gone[m.Slot] {
			c.Keys = append(c.Keys, wire.MemberKey{Slot: m.Slot, Position: w.s.Incarnation(m.Incarnation).HPKE.Position})
		}
	}
	for _, p := range add {
		in := w.s.Incarnation(p.id)
		c.Adds = append(c.Adds, wire.Add{Slot: p.slot, Incarnation: p.id, JoinPosition: in.JoinPosition})
		c.Keys = append(c.Keys, wire.MemberKey{Slot: p.slot, Position: in.HPKE.Position})
	}
	slices.SortFunc(c.Keys, func(a, b wire.MemberKey) int { return cmp.Compare(a.Slot, b.Slot) })
	return c
}

// body is a COMMIT of a core, with wraps that open nothing.
func body(c wire.Core, approvals []wire.AdminSignature) wire.Commit {
	b := wire.Commit{CoreBytes: c.Encode(), Approvals: approvals, Commitment: wire.Hash{1}}
	for _, k := range c.Keys {
		b.Wraps = append(b.Wraps, wire.Wrap{Slot: k.Slot, Enc: []byte("enc"), CT: []byte("ct")})
	}
	return b
}

func (p *process) commit(c wire.Core, approvals ...wire.AdminSignature) wire.Record {
	return p.record(wire.TypeCommit, body(c, approvals).Encode())
}

func (w *world) approvals(c wire.Core) []wire.AdminSignature {
	return w.signed(wire.ApproveMessage(w.s.Ledger(), c.Previous, c.Epoch, c.Adds, c.Removes))
}

func (w *world) remove(p *process, reason uint8) wire.Remove {
	in := w.s.Incarnation(p.id)
	_, position := w.s.Reason(in, reason, w.s.Time(), w.s.Policy(w.s.Position()+1))
	return wire.Remove{Slot: p.slot, Incarnation: p.id, Reason: reason, Position: position}
}

// started is a ledger whose first epoch has the slots given.
func started(t testing.TB, slots ...uint16) (*world, []*process) {
	t.Helper()
	w := newWorld(t)
	var list []*process
	for _, slot := range slots {
		p := w.process(slot)
		w.take(p.join(good))
		list = append(list, p)
	}
	c := w.core(list)
	w.take(list[0].commit(c, w.approvals(c)...))
	return w, list
}

// update puts a changed policy on the log and waits until it is in force.
func (w *world) update(by *process, change func(*wire.Policy)) {
	w.t.Helper()
	p := w.policy
	p.Slots = slices.Clone(p.Slots)
	p.Ledger, p.Version, p.Previous, p.ActiveFrom = w.s.Ledger(), p.Version+1, w.s.NewestPolicy().Hash, w.s.Position()+3
	change(&p)
	w.take(by.record(wire.TypePolicy, wire.PolicyUpdate{Policy: p.Encode(), Signatures: w.signed(p.Message())}.Encode()))
	w.policy = p
	for w.s.Position()+1 < p.ActiveFrom {
		w.junk()
	}
}

// junk puts bytes on the log that are no record.
func (w *world) junk() {
	e := w.entry([]byte("junk"))
	w.log = append(w.log, e)
	if ev, err := w.s.Apply(e); err != nil || ev.Skipped == "" {
		w.t.Fatal("junk was taken", err)
	}
}
