package wire_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

func genesisVectors() (out []genesisVector) {
	add := func(f wire.GenesisFile, reason string) {
		v := genesisVector{File: hx(f.Encode()), Valid: reason == "", Reason: reason}
		if _, _, id, err := f.Open(); err == nil {
			v.Ledger, v.Valid = hx(id[:]), true
		}
		out = append(out, v)
	}
	add(signGenesis(goodGenesis(), 0, 1), "")
	add(signGenesis(goodGenesis(), 0, 1, 2), "")
	add(signGenesis(goodGenesis(), 1), "one administrator of two")
	bad := signGenesis(goodGenesis(), 0, 1)
	bad.Signatures[1].Signature[5] ^= 1
	add(bad, "signature changed")
	bad = signGenesis(goodGenesis(), 0, 1)
	bad.Signatures[1].Index = 2
	add(bad, "another administrator's signature")
	edit := func(f func(*wire.Genesis), reason string) {
		g := goodGenesis()
		f(&g)
		add(signGenesis(g, 0, 1), reason)
	}
	edit(func(g *wire.Genesis) { g.Applications = nil }, "no application")
	edit(func(g *wire.Genesis) { g.Applications = append(g.Applications, g.Applications[0]) }, "an application twice")
	edit(func(g *wire.Genesis) { g.EntryMax = 4095 }, "entry_max below 4 KiB")
	edit(func(g *wire.Genesis) { g.AnchorAge = 0 }, "A is 0")
	edit(func(g *wire.Genesis) { p := goodPolicy(); p.Version = 1; g.PolicyBytes = p.Encode() }, "first policy of version 1")
	edit(func(g *wire.Genesis) { p := goodPolicy(); p.Slots = p.Slots[3:]; g.PolicyBytes = p.Encode() }, "no executor")
	return out
}

func epochVectors() (out []epochVector) {
	var init [32]byte
	for n := uint64(1); n <= 2; n++ {
		fresh, t, root := filled(byte(50+n)), filled(byte(70+n)), filled(byte(80+n))
		s := keys.NextSecret(init, fresh)
		e, cm := keys.FromSecret(s, n), keys.Commitment(t, s)
		d, b, seed := keys.StateDigest(e.Digest, 10, root), keys.Blind(e.Digest, 10, 1), keys.Seed(e.Random, 10)
		out = append(out, epochVector{
			PreviousInit: hx(init[:]), Fresh: hx(fresh[:]), Number: n, T: hx(t[:]), Secret: hx(s[:]), Commitment: hx(cm[:]),
			Init: hx(e.Init[:]), Log: hx(e.Log[:]), Digest: hx(e.Digest[:]), Snap: hx(e.Snap[:]), Random: hx(e.Random[:]),
			Position: 10, Index: 1, Root: hx(root[:]), StateDigest: hx(d[:]), Blind: hx(b[:]), Seed: hx(seed[:]),
		})
		init = e.Init
	}
	return out
}

func dataVectors(t testing.TB) (out []dataVector) {
	h := header()
	h.Type = wire.TypeData
	log, batch := filled(90), [][]byte{signedOf("transfer", "{}", 5, 900), signedCommands(t)["p256"].Encode()}
	add := func(log [32]byte, h wire.Header, d wire.Data, reason string) {
		v := dataVector{Log: hx(log[:]), Header: hx(h.Encode()), Body: hx(d.Encode()), Opens: reason == "", Reason: reason}
		got, err := keys.OpenData(log, h, d)
		if (err == nil) != v.Opens {
			t.Fatalf("DATA, %s: %v", reason, err)
		}
		v.Batch = hxs(got)
		out = append(out, v)
	}
	seal := func(batch [][]byte) wire.Data {
		d, err := keys.SealData(log, h, batch, nil)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	good := seal(batch)
	add(log, h, good, "")
	add(log, h, seal([][]byte{signedOf("transfer", strings.Repeat("Z", 1500), 5, 900)}), "")
	add(log, h, seal(nil), "")
	add(filled(91), h, good, "key of another epoch")
	other := h
	other.Incarnation[0]++
	add(log, other, good, "another sender")
	other = h
	other.N++
	add(log, other, good, "another header")
	salted := good
	salted.Salt[0]++
	add(log, h, salted, "another salt")
	changed := wire.Data{Salt: good.Salt, CT: bytes.Clone(good.CT)}
	changed.CT[100] ^= 1
	add(log, h, changed, "ct changed")
	// A member that holds the key seals under a salt that is not that of its batch.
	list, err := wire.EncodeBatch(h.Ledger, batch[:1])
	if err != nil {
		t.Fatal(err)
	}
	add(log, h, sealUnder(t, log, h, seal(batch).Salt, wire.Pad(list, 1024)), "salt of another batch, sealed by a holder of the key")
	return out
}

// counting is a source of bytes for vectors: 1, 2, 3, …
type counting struct{ n byte }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

func boxVectors(t testing.TB) (out []boxVector) {
	node, err := keys.NewBoxKey(bytes.NewReader(bytes.Repeat([]byte{44}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	c := keys.BoxCommand{Account: [20]byte{1, 2, 3, 255}, Name: "transfer", Counter: 7, Arguments: []byte(`{"amount":10}`)}
	q, opener, err := keys.SealBox(node.Public(), c, &counting{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	_, sealer, err := node.Open(q)
	if err != nil {
		t.Fatal(err)
	}
	reply := keys.BoxReply{Status: "committed", Result: json.RawMessage(`{"ok":true}`)}
	sealed, err := sealer.Seal(reply, &counting{100})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opener.Open(sealed); err != nil {
		t.Fatal(err)
	}
	replyJSON, err := json.Marshal(reply)
	if err != nil {
		t.Fatal(err)
	}
	private := hx(bytes.Repeat([]byte{44}, 32))
	out = append(out, boxVector{Private: private, Request: raw, Account: hx(c.Account[:]), Name: c.Name, Counter: c.Counter, Arguments: c.Arguments, Reply: hx(sealed), ReplyJSON: replyJSON, Opens: true})
	refuse := func(reason string) {
		raw, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, boxVector{Private: private, Request: raw, Reason: reason})
	}
	q.Ciphertext = append(bytes.Clone(q.Ciphertext[1:]), 0)
	refuse("ciphertext changed")
	q.Ephemeral = make([]byte, 32)
	refuse("key of small order")
	return out
}
