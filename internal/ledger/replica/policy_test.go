package replica_test

import (
	"crypto/ed25519"
	"testing"

	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// policy is the next policy, in force some positions after the log's end, signed by two administrators.
func (w *world) policy(margin uint64, change func(*wire.Policy)) wire.PolicyUpdate {
	w.t.Helper()
	old := w.state().NewestPolicy()
	p := old.Policy
	p.Ledger, p.Version, p.Previous = w.ledger, p.Version+1, old.Hash
	p.ActiveFrom = uint64(len(w.log)) + 2 + margin
	change(&p)
	u := wire.PolicyUpdate{Policy: p.Encode()}
	for i, a := range w.admins[:2] {
		u.Signatures = append(u.Signatures, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(a, p.Message()))})
	}
	return u
}

func fate(n *node) replica.PolicyFate {
	if f := n.r.Policies().Last; f != nil {
		return *f
	}
	return replica.PolicyFate{}
}

// TestPolicyIsSealedAnew: the record of a policy is lost behind one that was skipped; the node signs it
// again, and says when it is taken.
func TestPolicyIsSealedAnew(t *testing.T) {
	t.Parallel()
	w, _ := three(t, worldOptions{})
	n := w.nodes[0]
	u := w.policy(100, func(p *wire.Policy) { p.EvidenceAge-- })
	if err := n.r.UpdatePolicy(u); err != nil {
		t.Fatal(err)
	}
	if err := n.r.UpdatePolicy(u); err != nil {
		t.Fatalf("the same again: %v", err)
	}
	if err := n.r.UpdatePolicy(w.policy(100, func(p *wire.Policy) { p.EvidenceAge -= 2 })); err == nil {
		t.Fatal("another one is taken while one waits")
	}
	if f := fate(n); f.Status != replica.PolicyWaiting || f.Version != 1 {
		t.Fatalf("%+v", f)
	}
	n.r.Outgoing() // the host loses it
	if err := n.r.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.settle("it is taken", func() bool { return fate(n).Status == replica.PolicyTaken })
	s := n.r.Policies()
	if s.Newest != 1 || s.Last.Position == 0 || s.Last.Reason != "" {
		t.Fatalf("%+v %+v", s, s.Last)
	}
	for uint64(len(w.log)) < s.ActiveFrom {
		w.append([]byte("junk"))
	}
	w.settle("it is in force", func() bool { return n.r.Policies().InForce == 1 })
	if w.nodes[1].r.Policies().Last != nil {
		t.Fatal("a node tells the fate of what it was not given")
	}
}

// TestPolicyThatIsSkipped: who has handed a policy over learns why the log did not take it.
func TestPolicyThatIsSkipped(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*world){
		"too late": func(w *world) {
			for range 5 {
				w.append([]byte("junk"))
			}
		},
		"another one was first": func(w *world) {
			if err := w.nodes[1].r.UpdatePolicy(w.policy(50, func(p *wire.Policy) { p.EvidenceAge -= 2 })); err != nil {
				w.t.Fatal(err)
			}
			w.nodes[1].tick()
			w.nodes[1].submit(1 << 20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, alice := three(t, worldOptions{})
			n := w.nodes[0]
			if err := n.r.UpdatePolicy(w.policy(1, func(p *wire.Policy) { p.EvidenceAge-- })); err != nil {
				t.Fatal(err)
			}
			spoil(w)
			w.settle("its fate is known", func() bool { return fate(n).Status != replica.PolicyWaiting })
			if f := fate(n); f.Status != replica.PolicyRefused || f.Reason == "" || f.Position != 0 {
				t.Fatalf("%+v", f)
			}
			if x := alice.do(n, "transfer", `{"recipient":"`+alice.account()+`","amount":1}`); x.Outcome.Code != 0 {
				t.Fatalf("%+v", x)
			}
			next := w.policy(60, func(p *wire.Policy) { p.EvidenceAge -= 3 })
			if err := n.r.UpdatePolicy(next); err != nil {
				t.Fatalf("the next one: %v", err)
			}
			w.settle("the next one is taken", func() bool { return fate(n).Status == replica.PolicyTaken })
		})
	}
}
