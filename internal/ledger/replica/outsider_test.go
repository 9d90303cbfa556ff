package replica_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
)

// chain is the chain value of the log's end.
func (w *world) chain() (c wire.Hash) {
	c = w.ledger
	for _, e := range w.log {
		c = order.Chain(c, e.Position, e.Time, e.Record)
	}
	return c
}

// outsider is the operator of a slot who signs records without the program: with evidence that
// appraise accepts it stands for a member whose TEE was broken.
type outsider struct {
	w    *world
	slot uint16
	key  ed25519.PrivateKey
	hpke *keys.HPKEKey
	id   wire.Hash
	n    uint64
	prev wire.Hash // of the last effective record
	at   uint64    // position of the JOIN
}

func (w *world) outsider(slot uint16) *outsider {
	k, err := keys.NewHPKE(wire.SuiteX25519, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	o := &outsider{w: w, slot: slot, key: newKey(w.t), hpke: k}
	o.id = wire.IncarnationID(public(o.key))
	return o
}

// record signs a record that is anchored at the log's end.
func (o *outsider) record(t wire.RecordType, epoch uint64, body []byte) wire.Record {
	h := wire.Header{Type: t, Ledger: o.w.ledger, Epoch: epoch, Incarnation: o.id, N: o.n, PrevOwn: o.prev, Anchor: uint64(len(o.w.log)), AnchorChain: o.w.chain()}
	o.n++
	return wire.SignRecord(h, body, o.key)
}

// post puts a record on the log as an effective one.
func (o *outsider) post(r wire.Record) {
	o.prev = r.Hash()
	o.w.append(r.Encode())
}

// join posts a JOIN with evidence.
func (o *outsider) join(evidence string) {
	anchor, chain := uint64(len(o.w.log)), o.w.chain()
	b := attest.Binding{Purpose: attest.PurposeApp, Subject: wire.ReportSubject(o.w.ledger, o.slot, public(o.key), o.hpke.Public(), 0, anchor, chain), Nonce: chain[:]}
	der, err := b.MarshalDER()
	if err != nil {
		o.w.t.Fatal(err)
	}
	j := wire.Join{Slot: o.slot, Key: public(o.key), HPKE: o.hpke.Public(), Evidence: []byte(evidence), Binding: der}
	copy(j.OperatorSig[:], ed25519.Sign(o.w.ops[o.slot], wire.OperatorMessage(o.w.ledger, j.Slot, j.Key, j.HPKE)))
	o.post(o.record(wire.TypeJoin, 0, j.Encode()))
	o.at = uint64(len(o.w.log))
}

// sign signs a checkpoint.
func (o *outsider) sign(c wire.Checkpoint) wire.SignedCheckpoint {
	return wire.SignedCheckpoint{Checkpoint: c, Signature: [64]byte(ed25519.Sign(o.key, wire.CheckpointMessage(o.w.ledger, o.id, c)))}
}

// deliver gives all nodes the whole log.
func (w *world) deliver() {
	for _, n := range w.nodes {
		n.deliver(1 << 20)
	}
}

// running fails when a node of those given has halted.
func (w *world) running(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.r.Err(); err != nil {
			t.Fatalf("slot %d: %v", n.slot, err)
		}
	}
}

// state is what a reader of the whole log knows.
func (w *world) state() *control.State {
	s, err := control.New(w.file, appraise)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range w.log {
		if _, err := s.Apply(e); err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}
