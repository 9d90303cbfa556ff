package replica_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

// TestForkShownToOneNode: the host gives one node another end of the log. What the others write keeps it
// from serving, and a client that has seen one history is refused by the other.
func TestForkShownToOneNode(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	alone := w.nodes[2]
	p := alice.send(w.nodes[0], alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`))
	w.nodes[0].tick()
	w.nodes[0].submit(1 << 20)
	fork := order.Entry{Position: uint64(len(w.log)), Time: uint64(w.now.Unix()), Record: []byte("junk in its place")}
	if err := alone.r.Apply(append(append([]order.Entry(nil), w.log[alone.at:len(w.log)-1]...), fork)...); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes[:2] {
		n.deliver(1 << 20)
	}
	w.nodes[0].gossip(w.nodes[1])
	w.nodes[1].gossip(w.nodes[0])
	if done, _ := alice.poll(p); !done || alice.floor != fork.Position {
		t.Fatalf("floor %d, wanted %d", alice.floor, fork.Position)
	}
	if got := alice.query(alone, wire.KindQuery, "balanceOf", []byte("{}"), wire.ModeLocal, nil); got != ledger.CodeWord(ledger.CodeBehind) && got != ledger.CodeWord(ledger.CodeForked) {
		t.Fatalf("the forked node answered: %s", got)
	}
	for i, n := range w.nodes[:2] {
		rec := wire.SignRecord(wire.Header{Type: wire.TypeData, Ledger: w.ledger, Epoch: 1, Incarnation: n.r.ID(), N: 1 << 20, Anchor: uint64(len(w.log)), AnchorChain: w.chain()}, wire.Data{}.Encode(), n.r.Key())
		if err := alone.r.Apply(order.Entry{Position: fork.Position + 1 + uint64(i), Time: fork.Time, Record: rec.Encode()}); err != nil {
			t.Fatal(err)
		}
	}
	if st := alone.r.Status(); st.Cut == nil || st.Running || len(st.Forked) != 2 {
		t.Fatalf("the forked node goes on: %+v", st)
	}
	if _, _, err := alone.r.KeyInfo(); !errors.Is(err, replica.ErrNotRunning) {
		t.Fatalf("the forked node gives its key: %v", err)
	}
}

// TestCloneIsExpelled: a copy of a running node's memory signs with the same numbers. Both are expelled
// by every node, and the others go on without them.
func TestCloneIsExpelled(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	n := w.nodes[1]
	id, err := n.r.Keep()
	if err != nil {
		t.Fatal(err)
	}
	copied, err := replica.New(replica.Options{
		Genesis: w.file, Slot: 1, Operator: w.ops[1], Attester: attester{goodEvidence}, Appraise: appraise, Machine: w.machine,
		Random: rand.Reader, Now: w.clock, Recorder: w.seals.record, Identity: &id,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := copied.Apply(w.log...); err != nil {
		t.Fatal(err)
	}
	if err := copied.Join(context.Background()); err != nil {
		t.Fatal(err)
	}
	if alice.send(n, alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`)) == nil {
		t.Fatal("not taken")
	}
	n.tick()
	n.submit(1 << 20)
	for _, s := range copied.Outgoing() {
		w.append(s.Record)
	}
	w.settle("it is removed", func() bool { return len(w.state().Epoch().Members) == 2 })
	if n.r.Err() == nil || !errors.Is(copied.Apply(w.log[copied.Status().Position:]...), replica.ErrHalted) {
		t.Fatal("the clones go on")
	}
	w.running(t, w.nodes[0], w.nodes[2])
	n.kill()
	bob := w.user()
	if x := bob.do(w.nodes[0], "transfer", `{"recipient":"`+bob.account()+`","amount":0}`); x.Status != wire.StatusCommitted {
		t.Fatalf("%+v", x)
	}
	w.check()
}

// broken makes slot 3 a member whose TEE was broken, and returns its keys of the epoch.
func broken(t *testing.T) (*world, *user, *outsider, keys.Epoch) {
	t.Helper()
	w, alice := three(t, worldOptions{executors: 4})
	o := w.outsider(3)
	o.join(goodEvidence)
	w.settle("it is a member", func() bool { _, ok := w.state().Epoch().Member(o.id); return ok })
	s := w.state()
	e := s.Epoch()
	rec, err := wire.ParseRecord(w.log[e.Position-1].Record)
	if err != nil {
		t.Fatal(err)
	}
	c, err := wire.ParseCommit(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	secret, _, _, _, err := keys.OpenWrap(o.hpke, w.ledger, e.Number, e.T, 3, c.Commitment, c.Wraps[3])
	if err != nil {
		t.Fatal(err)
	}
	w.settle("all have acknowledged", func() bool {
		s := w.state()
		for _, n := range w.nodes[:3] {
			if s.Incarnation(n.r.ID()).AckEpoch < e.Number {
				return false
			}
		}
		return true
	})
	return w, alice, o, keys.FromSecret(secret, e.Number)
}

// TestDishonestWraps: one member is given another secret than the rest, or the wrap of somebody else.
// It opens nothing, says so, and neither diverges nor answers from state that it has not.
func TestDishonestWraps(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(wraps []wire.Wrap, other wire.Wrap){
		"another secret": func(wraps []wire.Wrap, other wire.Wrap) { wraps[1] = other },
		"swapped":        func(wraps []wire.Wrap, _ wire.Wrap) { wraps[1].Enc, wraps[1].CT = wraps[0].Enc, wraps[0].CT },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _, o, k := broken(t)
			s := w.state()
			core := wire.Core{Epoch: k.Number + 1, Previous: s.Epoch().T, Time: max(s.Time(), s.Epoch().Time)}
			for _, m := range s.Epoch().Members {
				core.Keys = append(core.Keys, wire.MemberKey{Slot: m.Slot, Position: s.Incarnation(m.Incarnation).HPKE.Position})
			}
			next, secret := wire.NextT(core.Previous, core.Encode()), keys.NextSecret(k.Init, [32]byte{1})
			c := wire.Commit{CoreBytes: core.Encode(), Commitment: keys.Commitment(next, secret)}
			seal := func(slot uint16, key []byte, x [32]byte) wire.Wrap {
				wrap, err := keys.SealWrap(wire.SuiteX25519, key, w.ledger, core.Epoch, next, slot, c.Commitment, x, 0, [32]byte{})
				if err != nil {
					t.Fatal(err)
				}
				return wrap
			}
			for _, m := range s.Epoch().Members {
				c.Wraps = append(c.Wraps, seal(m.Slot, s.Incarnation(m.Incarnation).HPKE.Key, secret))
			}
			spoil(c.Wraps, seal(1, s.Incarnation(w.nodes[1].r.ID()).HPKE.Key, [32]byte{2}))
			o.post(o.record(wire.TypeCommit, k.Number, c.Encode()))
			w.deliver()
			if st := w.nodes[1].r.Status(); st.Epoch != core.Epoch || st.Running {
				t.Fatalf("it goes on: %+v", st)
			}
			w.running(t, w.nodes[:3]...)
			w.settle("it is removed for its ALARM", func() bool { return w.nodes[1].r.Err() != nil })
			w.running(t, w.nodes[0], w.nodes[2])
			w.nodes[1].kill()
			w.nodes[1].start()
			w.settle("it is back", func() bool { return w.nodes[1].r.Status().Running })
			w.check()
		})
	}
}

// request seals a query that can be sent twice.
func (u *user) request(n *node) ([]byte, *keys.ReplyOpener) {
	info, _, err := n.r.KeyInfo()
	if err != nil {
		u.w.t.Fatal(err)
	}
	pub := public(u.key)
	q := wire.Query{Kind: wire.KindQuery, Ledger: u.w.ledger, Application: erc20.App.Name, Scheme: wire.SchemeEd25519, Key: pub[:], NotAfter: uint64(u.w.now.Unix()) + 50, Name: "balanceOf", Arguments: []byte("{}")}
	_, _ = io.ReadFull(rand.Reader, q.ID[:]) // never fails
	item := wire.Signed{Body: q.Encode(), Signature: ed25519.Sign(u.key, q.Message())}.Encode()
	req, opener, err := keys.SealRequest(keys.RequestOptions{
		Suite: wire.SuiteX25519, Info: info, Kind: wire.RequestQuery, NotAfter: uint64(u.w.now.Unix()) + 60,
		Payload: wire.Payload{ReplyBucket: 4096, Items: [][]byte{item}},
	})
	if err != nil {
		u.w.t.Fatal(err)
	}
	return req.Encode(), opener
}

// TestReplayedQuery: the same bytes again, after the state has changed, are refused under another key.
func TestReplayedQuery(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	raw, opener := alice.request(w.nodes[0])
	var replies []wire.Reply
	for i := range 2 {
		b, err := w.nodes[0].r.Query(t.Context(), raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := wire.ParseReply(b)
		if err != nil {
			t.Fatal(err)
		}
		body, err := opener.Open(r)
		if err != nil {
			t.Fatal(err)
		}
		if again := body.Results[0].Outcome.Code == ledger.CodeReplayed; again != (i == 1) {
			t.Fatalf("answer %d: %+v", i, body.Results[0])
		}
		replies = append(replies, r)
		alice.do(w.nodes[0], "transfer", `{"recipient":"`+w.user().account()+`","amount":5}`)
	}
	if replies[0].Nonce == replies[1].Nonce || len(replies[0].CT) != len(replies[1].CT) {
		t.Fatal("the replies share their key, or differ in length")
	}
	w.check() // no key and nonce sealed two plaintexts
}

// TestRepliesTellNothing: accepted, refused by the application, rejected before it is ordered, and from
// an account that nobody knows: tickets and replies are of one length.
func TestRepliesTellNothing(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	stranger := w.user()
	item := alice.command("transfer", `{"recipient":"`+stranger.account()+`","amount":1}`)
	bad := bytes.Clone(alice.sign(9, "transfer", `{"recipient":"`+stranger.account()+`","amount":1}`))
	bad[len(bad)-1] ^= 1
	lengths := map[int]bool{}
	for name, x := range map[string][]byte{
		"accepted": item, "rejected": bad,
		"unknown account": stranger.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`),
		"unknown command": w.user().command("no such", `{}`),
	} {
		p := alice.send(w.nodes[0], x)
		if p == nil {
			t.Fatal(name, "was not taken")
		}
		w.settle(name, func() bool { raw, _ := w.nodes[0].r.Ticket(p.ticket); return raw != nil })
		raw, _ := w.nodes[0].r.Ticket(p.ticket)
		lengths[len(raw)] = true
	}
	if len(lengths) != 1 {
		t.Fatalf("replies of %v bytes", lengths)
	}
}

// TestTicketsGiveWay: answered requests do not keep new ones out.
func TestTicketsGiveWay(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{limits: replica.Limits{Tickets: 4}})
	for i := range 20 {
		if alice.send(w.nodes[0], []byte("junk, which is rejected at once")) == nil {
			t.Fatalf("request %d was not taken", i)
		}
	}
	if x := alice.do(w.nodes[0], "transfer", `{"recipient":"`+alice.account()+`","amount":1}`); x.Outcome.Code != 0 {
		t.Fatalf("%+v", x)
	}
}

// TestLostCheckpointComesAgain: a checkpoint on the log that is skipped, since the host held it back for
// too long, is put there again: else nothing would be committed until somebody writes.
func TestLostCheckpointComesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{executors: 2, anchorAge: 30})
	w.startAll()
	alice := w.user()
	p := alice.send(w.nodes[0], alice.command("construct", `{"total_supply":100}`))
	done := false
	for i := range 200 { // nodes do not reach each other
		w.now = w.now.Add(time.Second)
		for _, n := range w.nodes {
			n.deliver(1 << 20)
			n.tick()
			if i == 20 {
				for range 40 { // what is on its way becomes too old
					w.append([]byte("junk"))
				}
			}
			if i < 12 || i > 20 {
				n.submit(1 << 20)
			}
		}
		if done, _ = alice.poll(p); done {
			break
		}
	}
	if !done {
		t.Fatal("nothing is committed")
	}
}
