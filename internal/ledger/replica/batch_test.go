package replica_test

import (
	"crypto/ed25519"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger/erc20"
)

// TestDishonestBatch: a member whose TEE was broken seals what an honest one never does. A command that
// its account signed for another ledger stays one whose signature does not hold, since receivers put
// their own ledger's id back; what is no batch counts as an empty one. All nodes agree, and go on.
func TestDishonestBatch(t *testing.T) {
	t.Parallel()
	w, alice, o, k := broken(t)
	pub := public(alice.key)
	to := w.user().account()
	elsewhere := wire.Command{Ledger: wire.Hash{9}, Application: erc20.App.Name, Scheme: wire.SchemeEd25519, Key: pub[:], Nonce: alice.nonce + 1, ExpiresAt: 1 << 40, Name: "transfer", Arguments: []byte(`{"recipient":"` + to + `","amount":40}`)}
	here := elsewhere
	here.Ledger = w.ledger
	stolen := wire.Signed{Body: here.Encode(), Signature: ed25519.Sign(alice.key, elsewhere.Message())}.Encode()

	for name, c := range map[string]struct {
		spoil func(*wire.Data)
		count uint32
	}{
		"signed for another ledger": {func(*wire.Data) {}, 1},
		"not opened":                {func(d *wire.Data) { d.CT[0] ^= 1 }, 0},
	} {
		r := o.record(wire.TypeData, k.Number, nil)
		d, err := keys.SealData(k.Log, r.Header, [][]byte{stolen}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.spoil(&d)
		o.post(wire.SignRecord(r.Header, d.Encode(), o.key))
		at := uint64(len(w.log))
		w.settle(name, func() bool {
			for _, n := range w.nodes[:3] {
				if n.r.Status().Committed < at {
					return false
				}
			}
			return true
		})
		for _, n := range w.nodes[:3] {
			if x, ok := n.r.Certificate(at); !ok || x.Count != c.count {
				t.Errorf("%s: slot %d has %d commands at position %d (%v), wanted %d", name, n.slot, x.Count, at, ok, c.count)
			}
		}
	}
	if got := alice.balance(w.nodes[1]); got != "100" {
		t.Fatalf("balance %s, wanted 100", got)
	}
	if x := alice.do(w.nodes[1], "transfer", `{"recipient":"`+to+`","amount":40}`); x.Outcome.Code != 0 {
		t.Fatalf("the number of the stolen command is used up: %+v", x)
	}
	w.running(t, w.nodes[:3]...)
	w.check()
}
