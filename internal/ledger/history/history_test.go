package history_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/clienttest"
	"hitoku.dev/internal/ledger/history"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

func trust(l *clienttest.Ledger) history.Trust {
	return history.TrustCertificates(nil, []*x509.Certificate{l.Root()})
}

func follow(t *testing.T, l *clienttest.Ledger) *history.History {
	t.Helper()
	h, err := history.Follow(l.ID, l.Control(), trust(l))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestFollow: a ledger's life, from its founding over a restart, a removal, a policy and a vault that lets
// executors in.
func TestFollow(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{Executors: 3, Vaults: 1, Spare: 1})
	vault := l.Members[3]
	l.Skip(3)
	restarted := l.Join(1)
	l.Change(l.Members[0], []*clienttest.Incarnation{restarted}, []wire.Remove{{Slot: 1, Incarnation: l.Members[1].ID, Reason: wire.RemoveReplaced}})
	l.Change(l.Members[0], nil, []wire.Remove{{Slot: 2, Incarnation: l.Members[2].ID, Reason: wire.RemoveByAdmins}})
	l.SetPolicy(l.Members[0], func(p *wire.Policy) { p.EvidenceAge++ })
	l.Skip(3)
	spare := l.Join(4)
	l.Change(vault, []*clienttest.Incarnation{spare}, nil)
	l.Rejoin(spare)
	l.Change(spare, nil, nil)
	h := follow(t, l)
	e := h.Newest()
	if e.Number != 5 || len(e.Members) != 4 || len(e.Executors()) != 3 || e.Quorum() != 2 {
		t.Errorf("%+v", e)
	}
	for i, m := range e.Members {
		if want := l.Members[i]; m.Incarnation != want.ID || m.Key != want.PublicKey() || m.Slot != want.Slot {
			t.Errorf("member %d is %+v", i, m)
		}
	}
	if again, next := h.Epoch(h.Number(2).T); again.Number != 2 || next.Number != 3 {
		t.Errorf("epoch 2 by its T: %+v, %+v", again, next)
	}
	if epoch, _ := h.Epoch(wire.Hash{1}); epoch != nil || h.Number(6) != nil {
		t.Error("an epoch that is none")
	}
	if h.Policy(1).Version != 0 || h.Policy(l.Position()).Version != 1 || h.Records() != len(l.Control().Records) || h.Genesis().Name != "fake" || h.Ledger() != l.ID {
		t.Error("policies, records or genesis are others")
	}
	if j := h.Join(spare.ID); j == nil || j.Position != spare.Position {
		t.Errorf("newest JOIN: %+v", j)
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{})
	for name, tr := range map[string]history.Trust{
		"Intel":                       history.TrustCertificates(nil, nil),
		"nobody":                      {},
		"a simulated root as a maker": history.TrustCertificates([]*x509.Certificate{l.Root()}, nil),
		"another simulated root":      {Simulated: []wire.Hash{{1}}},
	} {
		if _, err := history.Follow(l.ID, l.Control(), tr); !errors.Is(err, history.ErrUntrusted) || !errors.Is(err, history.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A policy can list several roots; evidence counts under those that are trusted.
	other := clienttest.New(t, clienttest.Options{Policy: func(p *wire.Policy) { p.Roots = append([]wire.Hash{{}}, p.Roots...) }})
	follow(t, other)
	if _, err := history.Follow(other.ID, other.Control(), history.Trust{Simulated: []wire.Hash{{}}}); !errors.As(err, new(*attest.RefusedError)) {
		t.Errorf("evidence under the other root: %v", err)
	}
}

// TestEntryMax: a control record longer than the ledger's records may be was not on its log.
func TestEntryMax(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{})
	c := l.Control()
	c.Records = slices.Clone(c.Records)
	last := &c.Records[len(c.Records)-1]
	last.Record = append(slices.Clone(last.Record), make([]byte, wire.MaxRecord)...)
	_, err := history.Follow(l.ID, c, trust(l))
	if !errors.Is(err, history.ErrRecord) || !strings.Contains(err.Error(), "at most") {
		t.Errorf("%v", err)
	}
}

// TestRefused are ledgers that are signed as they should be, and do not hold.
func TestRefused(t *testing.T) {
	t.Parallel()
	replaced := func(l *clienttest.Ledger, slot int) []wire.Remove {
		return []wire.Remove{{Slot: uint16(slot), Incarnation: l.Members[slot].ID, Reason: wire.RemoveReplaced}}
	}
	for name, c := range map[string]struct {
		do   func(l *clienttest.Ledger)
		want string
	}{
		"COMMIT of somebody who is no member": {func(l *clienttest.Ledger) { l.Change(l.Join(3), nil, nil) }, "no member of epoch 1"},
		"COMMIT of somebody unknown": {func(l *clienttest.Ledger) {
			in := *l.Members[0]
			in.ID = wire.Hash{1}
			l.Change(&in, nil, nil)
		}, "has not joined"},
		"COMMIT under another key": {func(l *clienttest.Ledger) {
			in := *l.Members[0]
			in.Key = l.NewKey()
			l.Change(&in, nil, nil)
		}, "signature does not hold"},
		"an epoch left out": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], nil, nil, func(c *wire.Core, _ *wire.Commit) { c.Epoch++ })
		}, "COMMIT for epoch 3"},
		"another T": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], nil, nil, func(c *wire.Core, _ *wire.Commit) { c.Previous[0]++ })
		}, "COMMIT for epoch 2"},
		"another policy": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], nil, nil, func(c *wire.Core, _ *wire.Commit) { c.PolicyVersion++ })
		}, "under policy 1"},
		"time goes back": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], nil, nil, func(c *wire.Core, _ *wire.Commit) { c.Time = 1 })
		}, "COMMIT of time 1"},
		"a key too few": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], nil, nil, func(c *wire.Core, _ *wire.Commit) { c.Keys = c.Keys[1:] })
		}, "keys of 2 members"},
		"a key of nobody": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], nil, nil, func(c *wire.Core, _ *wire.Commit) { c.Keys[2].Slot = 9 })
		}, "key for slot 9"},
		"no wait": {func(l *clienttest.Ledger) {
			in := l.Join(3)
			l.Change(l.Members[0], []*clienttest.Incarnation{in}, nil, func(c *wire.Core, _ *wire.Commit) { c.Adds[0].JoinPosition-- })
		}, "does not wait there"},
		"an earlier one of the slot": {func(l *clienttest.Ledger) {
			in := l.Join(3)
			l.Join(3)
			l.Change(l.Members[0], []*clienttest.Incarnation{in}, nil)
		}, "does not wait there"},
		"two in a slot": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], []*clienttest.Incarnation{l.Join(1)}, nil, func(x *wire.Core, c *wire.Commit) {
				x.Keys, c.Wraps = slices.Delete(x.Keys, 1, 2), slices.Delete(c.Wraps, 1, 2)
			})
		}, "is a member there"},
		"removes nobody": {func(l *clienttest.Ledger) {
			r := replaced(l, 1)
			r[0].Incarnation[0]++
			l.Change(l.Members[0], nil, r)
		}, "where it is not"},
		"removal by administrators who do not approve": {func(l *clienttest.Ledger) {
			r := replaced(l, 1)
			r[0].Reason = wire.RemoveByAdmins
			l.Change(l.Members[0], nil, r, func(_ *wire.Core, c *wire.Commit) { c.Approvals = c.Approvals[:1] })
		}, "1 signatures of administrators, wanted 2"},
		"false approvals where none is needed": {func(l *clienttest.Ledger) {
			l.Change(l.Members[0], nil, nil, func(_ *wire.Core, c *wire.Commit) { c.Approvals = l.SignAdmins(nil) })
		}, "administrator 0"},
		"another program": {func(l *clienttest.Ledger) {
			l.World.Identity.Measurement[0]++
			l.Change(l.Members[0], []*clienttest.Incarnation{l.Join(1)}, replaced(l, 1))
		}, "measurement"},
		"a slot that is not there": {func(l *clienttest.Ledger) {
			l.Operators = append(l.Operators, l.NewKey())
			l.Join(4)
		}, "slot 4 is not in policy"},
		"another operator": {func(l *clienttest.Ledger) {
			l.Operators[1] = l.NewKey()
			l.Join(1)
		}, "operator's signature"},
		"an incarnation in two slots": {func(l *clienttest.Ledger) {
			in := l.Join(3)
			in.Slot = 1
			l.Rejoin(in)
		}, "was in slot 3"},
		"policy without its delay":         {func(l *clienttest.Ledger) { l.SetPolicy(l.Members[0], func(p *wire.Policy) { p.ActiveFrom-- }) }, "wanted 2 positions of delay"},
		"policy of another ledger":         {func(l *clienttest.Ledger) { l.SetPolicy(l.Members[0], func(p *wire.Policy) { p.Ledger[0]++ }) }, "policy of ledger"},
		"policy that skips one":            {func(l *clienttest.Ledger) { l.SetPolicy(l.Members[0], func(p *wire.Policy) { p.Version++ }) }, "does not follow policy 0"},
		"policy after another":             {func(l *clienttest.Ledger) { l.SetPolicy(l.Members[0], func(p *wire.Policy) { p.Previous[0]++ }) }, "does not follow policy 0"},
		"policy of other administrators":   {func(l *clienttest.Ledger) { l.Admins[0] = l.NewKey(); l.SetPolicy(l.Members[0], func(*wire.Policy) {}) }, "administrator 0"},
		"policy from one who is no member": {func(l *clienttest.Ledger) { l.SetPolicy(l.Join(3), func(*wire.Policy) {}) }, "no member of epoch 1"},
		"JOIN under a policy not in force": {func(l *clienttest.Ledger) {
			l.SetPolicy(l.Members[0], func(p *wire.Policy) { p.Slots = p.Slots[:3] })
			l.Skip(2)
			l.Join(3)
		}, "slot 3 is not in policy 1"},
		"COMMIT under a policy that is old": {func(l *clienttest.Ledger) {
			l.SetPolicy(l.Members[0], func(*wire.Policy) {})
			l.Skip(2)
			l.Change(l.Members[0], nil, nil, func(c *wire.Core, _ *wire.Commit) { c.PolicyVersion = 0 })
		}, "under policy 0; in force is 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := clienttest.New(t, clienttest.Options{Spare: 1})
			c.do(l)
			_, err := history.Follow(l.ID, l.Control(), trust(l))
			if !errors.Is(err, history.ErrRecord) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
		})
	}
}

// TestFirstEpoch: who founds a ledger has administrators behind it, and adds itself.
func TestFirstEpoch(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{})
	c := l.Control()
	commit := c.Records[len(c.Records)-1]
	rec, err := wire.ParseRecord(commit.Record)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]struct {
		edit func(*wire.Core, *wire.Commit)
		want string
	}{
		"no approvals":      {func(_ *wire.Core, c *wire.Commit) { c.Approvals = nil }, "0 signatures of administrators"},
		"not itself":        {func(x *wire.Core, c *wire.Commit) { x.Adds, x.Keys = x.Adds[1:], x.Keys[1:] }, "does not add its sender"},
		"nobody":            {func(x *wire.Core, c *wire.Commit) { x.Adds, x.Keys = nil, nil }, "does not add its sender"},
		"others' approvals": {func(x *wire.Core, c *wire.Commit) { x.Adds[2].Released = 7 }, "administrator 0"},
	} {
		body, err := wire.ParseCommit(rec.Body)
		if err != nil {
			t.Fatal(err)
		}
		core, err := wire.ParseCore(body.CoreBytes)
		if err != nil {
			t.Fatal(err)
		}
		change.edit(&core, &body)
		body.CoreBytes = core.Encode()
		bad := l.Control()
		bad.Records[len(bad.Records)-1].Record = wire.SignRecord(rec.Header, body.Encode(), l.Members[0].Key).Encode()
		if _, err := history.Follow(l.ID, bad, trust(l)); !errors.Is(err, history.ErrRecord) || !strings.Contains(err.Error(), change.want) {
			t.Errorf("%s: %v, wanted %q", name, err, change.want)
		}
	}
}

// TestChangedRecords: a host that drops, repeats, moves or changes records is found out, unless it only
// leaves the newest away.
func TestChangedRecords(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{})
	l.Change(l.Members[0], nil, nil)
	l.Change(l.Members[1], nil, nil)
	good := l.Control()
	check := func(name string, c wire.Control) {
		t.Helper()
		if _, err := history.Follow(l.ID, c, trust(l)); !errors.Is(err, history.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range good.Records {
		c := l.Control()
		c.Records = slices.Delete(c.Records, i, i+1)
		if i < len(good.Records)-1 {
			check("a record left out", c)
		} else if h, err := history.Follow(l.ID, c, trust(l)); err != nil || h.Newest().Number != 2 {
			t.Errorf("an old history: %v", err)
		}
		c = l.Control()
		c.Records = slices.Insert(c.Records, i, c.Records[i])
		check("a record twice", c)
		if i > 0 {
			c = l.Control()
			c.Records[i-1].Record, c.Records[i].Record = c.Records[i].Record, c.Records[i-1].Record
			check("two records swapped", c)
		}
		c = l.Control()
		c.Records[i].Position += 5000
		check("a record at another position", c)
	}
	other := clienttest.New(t, clienttest.Options{Seed: 1})
	check("another ledger's records", other.Control())
	if _, err := history.Follow(other.ID, good, trust(l)); !errors.Is(err, history.ErrRecord) {
		t.Errorf("another ledger id: %v", err)
	}
	c := l.Control()
	c.Genesis = nil
	check("no genesis", c)
}

// TestEveryByteOfRecords changes each byte of every record but those of a JOIN's collateral, of which a
// sample is enough.
func TestEveryByteOfRecords(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{Executors: 1})
	good := l.Control()
	for n, r := range good.Records {
		step := 1 + len(r.Record)/400
		for i := 0; i < len(r.Record); i += step {
			c := l.Control()
			c.Records[n].Record = slices.Clone(r.Record)
			c.Records[n].Record[i] ^= 1
			if _, err := history.Follow(l.ID, c, trust(l)); err == nil {
				t.Fatalf("record %d, byte %d of %d: a change passes", n, i, len(r.Record))
			}
		}
	}
	for i := range good.Genesis {
		c := l.Control()
		c.Genesis = slices.Clone(good.Genesis)
		c.Genesis[i] ^= 1
		if _, err := history.Follow(l.ID, c, trust(l)); err == nil {
			t.Fatalf("genesis, byte %d: a change passes", i)
		}
	}
}

// TestForeignRecord: only what makes members may stand among control records.
func TestForeignRecord(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{})
	c := l.Control()
	last := c.Records[len(c.Records)-1]
	rec, err := wire.ParseRecord(last.Record)
	if err != nil {
		t.Fatal(err)
	}
	h := rec.Header
	h.Type = wire.TypeAlarm
	for name, r := range map[string]wire.ControlRecord{
		"ALARM":      {Position: last.Position + 1, Time: last.Time, Record: wire.SignRecord(h, wire.Alarm{}.Encode(), l.Members[0].Key).Encode()},
		"junk":       {Position: last.Position + 1, Time: last.Time, Record: []byte("junk")},
		"old anchor": {Position: last.Position + 2000, Time: last.Time, Record: wire.SignRecord(h, nil, l.Members[0].Key).Encode()},
		"anchor not past": {Position: last.Position + 1, Time: last.Time, Record: func() []byte {
			x := h
			x.Anchor = last.Position + 1
			return wire.SignRecord(x, nil, l.Members[0].Key).Encode()
		}()},
		"another ledger": {Position: last.Position + 1, Time: last.Time, Record: func() []byte { x := h; x.Ledger[0]++; return wire.SignRecord(x, nil, l.Members[0].Key).Encode() }()},
	} {
		bad := l.Control()
		bad.Records = append(bad.Records, r)
		if _, err := history.Follow(l.ID, bad, trust(l)); !errors.Is(err, history.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJudgeNow(t *testing.T) {
	t.Parallel()
	l := clienttest.New(t, clienttest.Options{})
	h := follow(t, l)
	id := l.Members[0].ID
	if v, err := h.JudgeNow(id, l.Position(), clienttest.Now); err != nil || !v.Accepted || !v.Simulated {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := h.JudgeNow(id, l.Position(), clienttest.Now.Add(8*24*time.Hour)); !errors.As(err, new(*attest.RefusedError)) {
		t.Errorf("old evidence: %v", err)
	}
	if _, err := h.JudgeNow(id, l.Position(), clienttest.Now.Add(-time.Hour)); !errors.Is(err, member.ErrLogTime) {
		t.Errorf("evidence of the future: %v", err)
	}
	if _, err := h.JudgeNow(wire.IncarnationID([32]byte(l.NewKey().Public().(ed25519.PublicKey))), l.Position(), clienttest.Now); !errors.Is(err, history.ErrRecord) {
		t.Errorf("nobody: %v", err)
	}
}

func FuzzFollow(f *testing.F) {
	l := clienttest.New(f, clienttest.Options{Executors: 1})
	l.Change(l.Members[0], nil, nil)
	c := l.Control()
	f.Add([]byte(c.Genesis), []byte(c.Records[0].Record), []byte(c.Records[1].Record), []byte(c.Records[2].Record))
	f.Add([]byte(c.Genesis), []byte(c.Records[0].Record), []byte(c.Records[1].Record), []byte{})
	f.Fuzz(func(t *testing.T, genesis, a, b, last []byte) {
		bad := wire.Control{Genesis: genesis}
		for i, r := range [][]byte{a, b, last} {
			bad.Records = append(bad.Records, wire.ControlRecord{Position: uint64(i) + 1, Time: c.Records[i].Time, Record: r})
		}
		h, err := history.Follow(l.ID, bad, trust(l))
		if err == nil && h.Newest().Number != 2 && h.Newest().Number != 1 {
			t.Errorf("epoch %d", h.Newest().Number)
		}
	})
}
