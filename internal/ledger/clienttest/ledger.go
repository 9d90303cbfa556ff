// Package clienttest makes ledgers for the tests of those who read them: clients, and
// verifiers of receipts. Genesis, policies, evidence, records, checkpoints and seals are
// genuine, under a simulated root; what stands behind them is not a ledger but a list.
// So a test can be anybody: an honest node, a host that changes what passes it, or a
// node that lies with genuine keys.
//
// Nothing outside tests imports it. Methods fail the test instead of returning errors.
package clienttest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/binary"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/member/membertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
)

// Now is the time of these ledgers.
var Now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// Options say what ledger is made. Zero values mean what is said at each member.
type Options struct {
	Executors int // 3
	Vaults    int // their slots come after the executors'
	Spare     int // further executor slots, in which nobody is
	Seed      byte
	Suite     wire.Suite // X25519
	// Genesis and Policy change them before they are signed.
	Genesis func(*wire.Genesis)
	Policy  func(*wire.Policy)
}

// Incarnation is a run of a node that has joined.
type Incarnation struct {
	Slot     uint16
	Kind     uint8
	Key      ed25519.PrivateKey
	ID       wire.Hash
	Position uint64 // of its JOIN

	n    uint64
	prev wire.Hash
}

// PublicKey is the incarnation's Ed25519 key.
func (in *Incarnation) PublicKey() [32]byte { return public(in.Key) }

// Ledger is a ledger up to its newest position.
type Ledger struct {
	World     *membertest.World
	Genesis   wire.Genesis
	File      wire.GenesisFile
	ID        wire.Hash
	Admins    []ed25519.PrivateKey // in the policy's order; two of three must sign
	Operators []ed25519.PrivateKey // by slot
	// Members are those of the epoch in force, by slot.
	Members []*Incarnation

	tb       testing.TB
	random   *mathrand.ChaCha8
	policies []wire.Policy

	mu       sync.Mutex
	control  []wire.ControlRecord
	chains   []wire.Hash // from position 0
	time     uint64
	epoch    uint64
	t        wire.Hash
	blocks   []*block
	executed map[wire.Hash]place
	counters map[[32]byte]uint64
}

// New makes a ledger whose members are in epoch 1.
func New(tb testing.TB, o Options) *Ledger {
	tb.Helper()
	if o.Executors == 0 {
		o.Executors = 3
	}
	if o.Suite == 0 {
		o.Suite = wire.SuiteX25519
	}
	l := &Ledger{
		tb: tb, World: membertest.New(tb, 1, Now), random: mathrand.NewChaCha8([32]byte{77, o.Seed}), time: uint64(Now.Unix()),
		executed: map[wire.Hash]place{}, counters: map[[32]byte]uint64{},
	}
	p := wire.Policy{Threshold: 2}
	l.World.Approve(&p)
	for range 3 {
		l.Admins = append(l.Admins, l.NewKey())
	}
	slices.SortFunc(l.Admins, func(a, b ed25519.PrivateKey) int { return bytes.Compare(a[32:], b[32:]) })
	for _, a := range l.Admins {
		p.Admins = append(p.Admins, public(a))
	}
	for i := range o.Executors + o.Vaults + o.Spare {
		kind := wire.KindExecutor
		if i >= o.Executors && i < o.Executors+o.Vaults {
			kind = wire.KindVault
		}
		l.Operators = append(l.Operators, l.NewKey())
		p.Slots = append(p.Slots, wire.Slot{Slot: uint16(i), Kind: kind, Operator: public(l.Operators[i])})
	}
	if o.Policy != nil {
		o.Policy(&p)
	}
	l.policies = []wire.Policy{p}
	l.Genesis = wire.Genesis{
		Suite: o.Suite, Name: "fake", Applications: []wire.Application{{Name: "echo", Version: "1"}}, Window: 16, AnchorAge: 1000, PolicyDelay: 2,
		EntryMax: 64 << 10, CheckpointEvery: 64, PolicyBytes: p.Encode(),
		Order: wire.Order{Driver: wire.DriverEmbedded, Finality: wire.FinalityImmediate, Endpoints: 1},
	}
	if o.Genesis != nil {
		o.Genesis(&l.Genesis)
	}
	l.ID = l.Genesis.ID()
	l.File = wire.GenesisFile{Genesis: l.Genesis.Encode(), Signatures: l.SignAdmins(l.Genesis.Message())}
	l.chains, l.t = []wire.Hash{l.ID}, l.ID
	var first []*Incarnation
	for i := range o.Executors + o.Vaults {
		first = append(first, l.Join(uint16(i)))
	}
	l.Change(first[0], first, nil)
	return l
}

// NewKey makes an Ed25519 key.
func (l *Ledger) NewKey() ed25519.PrivateKey {
	seed := make([]byte, 32)
	l.read(seed)
	return ed25519.NewKeyFromSeed(seed)
}

func (l *Ledger) read(b []byte) {
	if _, err := l.random.Read(b); err != nil {
		l.tb.Fatal(err)
	}
}

func public(sk ed25519.PrivateKey) [32]byte { return [32]byte(sk[32:]) }

// Root is the simulated root that the evidence leads to.
func (l *Ledger) Root() *x509.Certificate { return l.World.Authority.Root() }

// SignAdmins has two administrators sign.
func (l *Ledger) SignAdmins(message []byte) []wire.AdminSignature {
	var out []wire.AdminSignature
	for i, a := range l.Admins[:2] {
		out = append(out, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(a, message))})
	}
	return out
}

// Position is the newest one.
func (l *Ledger) Position() uint64 { return uint64(len(l.chains) - 1) }

// Policy is the newest policy.
func (l *Ledger) Policy() wire.Policy { return l.policies[len(l.policies)-1] }

// append makes one more position.
func (l *Ledger) append(record []byte) uint64 {
	l.time++
	p := uint64(len(l.chains))
	l.chains = append(l.chains, order.Chain(l.chains[p-1], p, l.time, record))
	return p
}

// put signs a record and gives it a position among the control records.
func (l *Ledger) put(in *Incarnation, kind wire.RecordType, body []byte) uint64 {
	head := wire.Header{
		Type: kind, Ledger: l.ID, Epoch: l.epoch, Incarnation: in.ID, N: in.n, PrevOwn: in.prev, Anchor: l.Position(), AnchorChain: l.chains[l.Position()],
	}
	rec := wire.SignRecord(head, body, in.Key)
	in.n, in.prev = in.n+1, rec.Hash()
	p := l.append(rec.Encode())
	l.control = append(l.control, wire.ControlRecord{Position: p, Time: l.time, Record: rec.Encode()})
	return p
}

// Join starts a node in a slot, whose evidence is genuine.
func (l *Ledger) Join(slot uint16) *Incarnation {
	l.tb.Helper()
	in := &Incarnation{Slot: slot, Kind: wire.KindExecutor, Key: l.NewKey()}
	if s, ok := l.Policy().Slot(slot); ok {
		in.Kind = s.Kind
	}
	in.ID = wire.IncarnationID(in.PublicKey())
	l.Rejoin(in)
	return in
}

// Rejoin gives an incarnation new evidence.
func (l *Ledger) Rejoin(in *Incarnation) {
	l.tb.Helper()
	hpke, err := keys.NewHPKE(l.Genesis.Suite, l.random)
	if err != nil {
		l.tb.Fatal(err)
	}
	j := wire.Join{Slot: in.Slot, Key: in.PublicKey(), HPKE: hpke.Public()}
	chain := l.chains[l.Position()]
	subject := wire.ReportSubject(l.ID, in.Slot, j.Key, j.HPKE, 0, l.Position(), chain)
	proof := l.World.Attester(byte(in.Slot), l.World.Identity).Prove(&attest.Binding{Purpose: attest.PurposeApp, Subject: subject, Nonce: chain[:]})
	j.Evidence, j.Binding, j.Collateral = proof.Evidence, proof.Binding, proof.Collateral
	j.OperatorSig = [64]byte(ed25519.Sign(l.Operators[in.Slot], wire.OperatorMessage(l.ID, in.Slot, j.Key, j.HPKE)))
	in.Position = l.put(in, wire.TypeJoin, j.Encode())
}

// Change makes a new epoch: a sender adds and removes members, with the administrators' approval where it
// is needed.
func (l *Ledger) Change(sender *Incarnation, adds []*Incarnation, removes []wire.Remove, edit ...func(*wire.Core, *wire.Commit)) {
	l.tb.Helper()
	core := wire.Core{Epoch: l.epoch + 1, Previous: l.t, PolicyVersion: l.inForce(l.Position() + 1), Time: l.time, Removes: removes}
	members := slices.DeleteFunc(slices.Clone(l.Members), func(m *Incarnation) bool {
		return slices.ContainsFunc(removes, func(r wire.Remove) bool { return r.Incarnation == m.ID })
	})
	approve := l.epoch == 0 || slices.ContainsFunc(removes, func(r wire.Remove) bool { return r.Reason == wire.RemoveByAdmins })
	for _, in := range adds {
		core.Adds = append(core.Adds, wire.Add{Slot: in.Slot, Incarnation: in.ID, JoinPosition: in.Position})
		members = append(members, in)
		approve = approve || sender.Kind == wire.KindVault && in.Kind == wire.KindExecutor
	}
	slices.SortFunc(members, func(a, b *Incarnation) int { return int(a.Slot) - int(b.Slot) })
	var c wire.Commit
	for _, m := range members {
		core.Keys = append(core.Keys, wire.MemberKey{Slot: m.Slot, Position: m.Position})
		c.Wraps = append(c.Wraps, wire.Wrap{Slot: m.Slot, Enc: []byte("enc"), CT: []byte("ct")})
	}
	if approve {
		c.Approvals = l.SignAdmins(wire.ApproveMessage(l.ID, core.Previous, core.Epoch, core.Adds, core.Removes))
	}
	for _, e := range edit {
		e(&core, &c)
	}
	c.CoreBytes = core.Encode()
	l.put(sender, wire.TypeCommit, c.Encode())
	l.Members, l.epoch, l.t = members, core.Epoch, wire.NextT(core.Previous, c.CoreBytes)
}

func (l *Ledger) inForce(position uint64) (version uint64) {
	for _, p := range l.policies {
		if p.ActiveFrom <= position {
			version = p.Version
		}
	}
	return version
}

// SetPolicy puts a policy after the newest one, active after the delay.
func (l *Ledger) SetPolicy(sender *Incarnation, edit func(*wire.Policy)) {
	l.tb.Helper()
	last := l.Policy()
	p := last
	p.Ledger, p.Version, p.Previous, p.ActiveFrom = l.ID, last.Version+1, last.Hash(), l.Position()+1+l.Genesis.PolicyDelay
	edit(&p)
	l.put(sender, wire.TypePolicy, wire.PolicyUpdate{Policy: p.Encode(), Signatures: l.SignAdmins(p.Message())}.Encode())
	l.policies = append(l.policies, p)
}

// Skip adds positions that hold nothing.
func (l *Ledger) Skip(n int) {
	for range n {
		l.append(binary.BigEndian.AppendUint64(nil, l.random.Uint64()))
	}
}

// Control returns the control records.
func (l *Ledger) Control() wire.Control {
	return wire.Control{Genesis: l.File.Encode(), Records: slices.Clone(l.control)}
}
