package wire_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/merkle"
	"hitoku.dev/internal/ledger/wire"
)

// receiptWorld is a short ledger: joins at positions 1 to 4, the first COMMIT at 5, three commands at
// 10, a new incarnation of slot 2 at 11 and 12, a policy at 13, commands at 14. Its evidence is no
// evidence, and its DATA records are not sealed: a receipt does not open them.
type receiptWorld struct {
	file       wire.GenesisFile
	ledger     wire.Hash
	records    [][]byte // by position
	chain      []wire.Hash
	joins      map[uint64]wire.Join
	commits    []wire.Commit
	update     wire.PolicyUpdate
	commands   [][]byte
	outcomes   []wire.Outcome
	checkpoint wire.Checkpoint
	before     wire.Hash
	after      []wire.Hash
	proofs     [][]wire.Hash
	n          map[byte]uint64
	prev       map[byte]wire.Hash
}

// The incarnations' key seeds, by slot; the second one in slot 2 is 35.
var incarnations = map[uint16]byte{1: 31, 2: 32, 3: 33, 4: 34}

func (w *receiptWorld) time(p uint64) uint64 { return 1_800_000_000 + 2*p }

func iidOf(seed byte) wire.Hash { return wire.IncarnationID(public(seeded(seed))) }

func newReceiptWorld(t testing.TB) *receiptWorld {
	w := &receiptWorld{joins: map[uint64]wire.Join{}, n: map[byte]uint64{}, prev: map[byte]wire.Hash{}}
	w.file = signGenesis(goodGenesis(), 0, 1)
	_, p, id, err := w.file.Open()
	if err != nil {
		t.Fatal(err)
	}
	w.ledger = id
	w.records, w.chain = [][]byte{nil}, []wire.Hash{id}
	for slot := uint16(1); slot <= 4; slot++ {
		w.join(t, slot, incarnations[slot], 0)
	}
	core := wire.Core{Epoch: 1, Previous: w.ledger, Time: w.time(4)}
	for slot := uint16(1); slot <= 4; slot++ {
		core.Adds = append(core.Adds, wire.Add{Slot: slot, Incarnation: iidOf(incarnations[slot]), JoinPosition: uint64(slot)})
		core.Keys = append(core.Keys, wire.MemberKey{Slot: slot, Position: uint64(slot)})
	}
	w.commit(core, 0, 0, 1)
	for slot := uint16(1); slot <= 4; slot++ { // positions 6 to 9
		w.post(wire.TypeAck, 1, incarnations[slot], wire.Ack{Epoch: 1, HPKE: fixed(50 + byte(slot)).Public()}.Encode())
	}
	for j := range 3 {
		pk := public(seeded(byte(3 + j)))
		c := wire.Command{Ledger: w.ledger, Application: "erc20", Scheme: wire.SchemeEd25519, Key: pk[:], Nonce: uint64(j), ExpiresAt: 100, Name: "transfer", Arguments: fmt.Appendf(nil, `{"amount":"%d"}`, j)}
		w.commands = append(w.commands, wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(seeded(byte(3+j)), c.Message())}.Encode())
	}
	w.outcomes = []wire.Outcome{{Result: []byte(`{"ok":true}`)}, {Code: 11, Message: "insufficient_balance"}, {Result: []byte(`{}`)}}
	w.post(wire.TypeData, 1, 31, wire.Data{Salt: filled(1), CT: make([]byte, 1040)}.Encode()) // 10
	w.join(t, 2, 35, 1)                                                                       // 11
	t1 := wire.NextT(w.ledger, w.commits[0].CoreBytes)
	core = wire.Core{
		Epoch: 2, Previous: t1, Time: w.time(11), Adds: []wire.Add{{Slot: 2, Incarnation: iidOf(35), JoinPosition: 11, Released: 1}},
		Removes: []wire.Remove{{Slot: 2, Incarnation: iidOf(32), Reason: wire.RemoveReplaced}},
		Keys:    []wire.MemberKey{{Slot: 1, Position: 6}, {Slot: 2, Position: 11}, {Slot: 3, Position: 8}, {Slot: 4, Position: 9}},
	}
	w.commit(core, 1) // 12, by slot 1, without approvals
	next := goodPolicy()
	next.Ledger, next.Version, next.Previous, next.ActiveFrom, next.MinEvaluation = w.ledger, 1, p.Hash(), 13+100, 18
	w.update = wire.PolicyUpdate{Policy: next.Encode()}
	for _, i := range []int{1, 2} {
		w.update.Signatures = append(w.update.Signatures, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(adminKeys()[i], next.Message()))})
	}
	w.post(wire.TypePolicy, 2, 33, w.update.Encode())                                         // 13
	w.post(wire.TypeData, 2, 31, wire.Data{Salt: filled(2), CT: make([]byte, 1040)}.Encode()) // 14
	w.outcomesAndCheckpoint(wire.NextT(t1, w.commits[1].CoreBytes))
	return w
}

// outcomesAndCheckpoint makes the checkpoint of position 14; checkpoint positions are 5, 10, 12, 14.
func (w *receiptWorld) outcomesAndCheckpoint(t wire.Hash) {
	var leaves [][]byte
	for j, c := range w.commands {
		leaves = append(leaves, wire.Leaf(w.ledger, 10, uint32(j), wire.SignedHash(c), w.outcomes[j], filled(byte(60+j))))
	}
	for j := range leaves {
		w.proofs = append(w.proofs, merkle.Proof(leaves, j))
	}
	w.before = wire.NextOutcomes(wire.Hash{}, merkle.Root(nil))
	w.after = []wire.Hash{merkle.Root(nil), filled(77)}
	q := wire.NextOutcomes(w.before, merkle.Root(leaves))
	for _, root := range w.after {
		q = wire.NextOutcomes(q, root)
	}
	w.checkpoint = wire.Checkpoint{Position: 14, Chain: w.chain[14], Digest: filled(78), Outcomes: q, Epoch: t}
}

func (w *receiptWorld) post(t wire.RecordType, epoch uint64, seed byte, body []byte) {
	p := uint64(len(w.records))
	h := wire.Header{Type: t, Ledger: w.ledger, Epoch: epoch, Incarnation: iidOf(seed), N: w.n[seed], PrevOwn: w.prev[seed], Anchor: p - 1, AnchorChain: w.chain[p-1]}
	rec := wire.SignRecord(h, body, seeded(seed))
	w.n[seed]++
	w.prev[seed] = rec.Hash()
	hash := rec.Hash()
	w.records = append(w.records, rec.Encode())
	w.chain = append(w.chain, wire.Sum("CHAIN", w.chain[p-1][:], wire.U64(p), wire.U64(w.time(p)), hash[:]))
}

func (w *receiptWorld) join(t testing.TB, slot uint16, seed byte, epoch uint64) {
	p := uint64(len(w.records))
	j := wire.Join{Slot: slot, Key: public(seeded(seed)), HPKE: fixed(seed).Public(), FileEpoch: epoch, Evidence: []byte("no evidence"), Collateral: []byte("{}")}
	copy(j.OperatorSig[:], ed25519.Sign(seeded(20+byte(slot)), wire.OperatorMessage(w.ledger, slot, j.Key, j.HPKE)))
	b := attest.Binding{Purpose: attest.PurposeApp, Subject: wire.ReportSubject(w.ledger, slot, j.Key, j.HPKE, 0, p-1, w.chain[p-1]), Nonce: w.chain[p-1][:]}
	der, err := b.MarshalDER()
	if err != nil {
		t.Fatal(err)
	}
	j.Binding = der
	w.joins[p] = j
	w.post(wire.TypeJoin, epoch, seed, j.Encode())
}

// commit posts a COMMIT of slot 1 with wraps that nobody can open.
func (w *receiptWorld) commit(core wire.Core, epoch uint64, admins ...int) {
	c := wire.Commit{CoreBytes: core.Encode(), Commitment: filled(byte(40 + epoch))}
	for _, k := range core.Keys {
		c.Wraps = append(c.Wraps, wire.Wrap{Slot: k.Slot, Enc: filledSlice(byte(k.Slot)), CT: make([]byte, 88)})
	}
	message := wire.ApproveMessage(w.ledger, core.Previous, core.Epoch, core.Adds, core.Removes)
	for _, i := range admins {
		c.Approvals = append(c.Approvals, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(adminKeys()[i], message))})
	}
	w.commits = append(w.commits, c)
	w.post(wire.TypeCommit, epoch, 31, c.Encode())
}

// sign is an incarnation's signature over the checkpoint.
func (w *receiptWorld) sign(seed byte) [64]byte {
	return [64]byte(ed25519.Sign(seeded(seed), wire.CheckpointMessage(w.ledger, iidOf(seed), w.checkpoint)))
}

func (w *receiptWorld) control(positions ...uint64) wire.Control {
	c := wire.Control{Genesis: w.file.Encode()}
	for _, p := range positions {
		c.Records = append(c.Records, wire.ControlRecord{Position: p, Time: w.time(p), Record: w.records[p]})
	}
	return c
}

func (w *receiptWorld) receipt(j uint32, seeds ...byte) wire.Receipt {
	r := wire.Receipt{
		Format: wire.ReceiptFormat, Ledger: wire.HexHash(w.ledger), Control: w.control(1, 2, 3, 4, 5, 11, 12, 13),
		Command: w.commands[j], Outcome: w.outcomes[j].Encode(), Position: 10, Index: j, Blind: wire.Base64Hash(filled(60 + byte(j))), Count: 3,
		Before: wire.Base64Hash(w.before), Checkpoint: w.checkpoint.Encode(), OrderAssurance: "validators",
	}
	for _, h := range w.proofs[j] {
		r.Proof = append(r.Proof, wire.Base64Hash(h))
	}
	for _, h := range w.after {
		r.After = append(r.After, wire.Base64Hash(h))
	}
	r.Signatures = w.signatures(seeds...)
	return r
}

func (w *receiptWorld) signatures(seeds ...byte) (out []wire.ReceiptSignature) {
	for _, s := range seeds {
		out = append(out, wire.ReceiptSignature{Incarnation: wire.HexHash(iidOf(s)), Signature: w.sign(s)})
	}
	return out
}

func (w *receiptWorld) vectors(t testing.TB) receiptVectors {
	marshal := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := w.receipt(1, 31, 35)
	if _, err := wire.ParseReceipt(marshal(good)); err != nil {
		t.Fatal(err)
	}
	v := receiptVectors{Ledger: hx(w.ledger[:]), Receipt: marshal(good)}
	refuse := func(reason string, patch map[string]any) {
		out := map[string]any{}
		for k, x := range patch {
			out[k] = marshal(x)
		}
		v.Refused = append(v.Refused, receiptPatch{reason, out})
	}
	b64 := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	set := func(name string, x any) map[string]any { return map[string]any{name: x} }
	other := w.outcomes[1]
	other.Code = 0
	stale := w.checkpoint
	stale.Epoch = wire.NextT(w.ledger, w.commits[0].CoreBytes)
	moved := *w
	moved.checkpoint = stale
	ledger := w.ledger
	ledger[0]++
	strange := w.signatures(31, 36)
	wrong := w.signatures(31, 35)
	wrong[1].Signature[3] ^= 1

	refuse("another order assurance", set("order_assurance", "operator"))
	refuse("another format", set("format", "hitoku-ledger-receipt/2"))
	refuse("another ledger", set("ledger", hex.EncodeToString(ledger[:])))
	refuse("another outcome", set("outcome", b64(other.Encode())))
	refuse("another command", set("command", b64(w.commands[0])))
	refuse("another index", set("index", 0))
	refuse("index is not below count", set("index", 3))
	refuse("a count for which the proof is too short", set("count", 5))
	refuse("another position", set("position", 9))
	refuse("position after the checkpoint", set("position", 15))
	refuse("another blind", set("blind", b64(filledSlice(1))))
	refuse("proof is shorter", set("proof", good.Proof[:1]))
	refuse("proof is longer", set("proof", append(good.Proof[:2:2], good.Before)))
	refuse("another before", set("before", b64(filledSlice(1))))
	refuse("a later root is missing", set("after", good.After[:1]))
	refuse("later roots exchanged", set("after", []wire.Base64Hash{good.After[1], good.After[0]}))
	refuse("one executor of three", set("signatures", w.signatures(31)))
	refuse("one executor twice", set("signatures", w.signatures(31, 31)))
	refuse("one executor and the vault", set("signatures", w.signatures(31, 34)))
	refuse("one executor and one that was removed", set("signatures", w.signatures(31, 32)))
	refuse("one executor and a stranger", set("signatures", strange))
	refuse("a signature changed", set("signatures", wrong))
	refuse("checkpoint changed", set("checkpoint", b64(stale.Encode())))
	refuse("checkpoint of an earlier epoch, signed", map[string]any{"checkpoint": b64(stale.Encode()), "signatures": moved.signatures(31, 33)})
	refuse("no COMMIT", set("control", w.control(1, 2, 3, 4)))
	refuse("the first COMMIT is missing", set("control", w.control(1, 2, 3, 4, 11, 12, 13)))
	refuse("the second COMMIT is missing", set("control", w.control(1, 2, 3, 4, 5, 11, 13)))
	refuse("a JOIN is missing", set("control", w.control(1, 2, 4, 5, 11, 12, 13)))
	refuse("records do not rise", set("control", w.control(2, 1, 3, 4, 5, 11, 12, 13)))

	forged := func(edit func(*receiptWorld)) wire.Control {
		f := newReceiptWorld(t)
		edit(f)
		return f.control(1, 2, 3, 4, 5, 11, 12, 13)
	}
	resign := func(f *receiptWorld, p uint64, seed byte, edit func(*wire.Record)) {
		rec, err := wire.ParseRecord(f.records[p])
		if err != nil {
			t.Fatal(err)
		}
		edit(&rec)
		f.records[p] = wire.SignRecord(rec.Header, rec.Body, seeded(seed)).Encode()
	}
	refuse("COMMIT of epoch 1 with one approval", set("control", forged(func(f *receiptWorld) {
		resign(f, 5, 31, func(r *wire.Record) {
			c := f.commits[0]
			c.Approvals = c.Approvals[:1]
			r.Body = c.Encode()
		})
	})))
	refuse("JOIN without the operator", set("control", forged(func(f *receiptWorld) {
		resign(f, 2, 32, func(r *wire.Record) {
			j := f.joins[2]
			j.OperatorSig[0] ^= 1
			r.Body = j.Encode()
		})
	})))
	refuse("COMMIT signed by another key", set("control", forged(func(f *receiptWorld) { resign(f, 12, 32, func(*wire.Record) {}) })))
	refuse("COMMIT of the vault's incarnation adds an executor without approvals", set("control", forged(func(f *receiptWorld) {
		resign(f, 12, 34, func(r *wire.Record) { r.Header.Incarnation = iidOf(34) })
	})))
	refuse("policy with one signature", set("control", forged(func(f *receiptWorld) {
		resign(f, 13, 33, func(r *wire.Record) {
			u := f.update
			u.Signatures = u.Signatures[:1]
			r.Body = u.Encode()
		})
	})))
	refuse("genesis with one signature", set("control", forged(func(f *receiptWorld) { f.file.Signatures = f.file.Signatures[:1] })))
	return v
}
