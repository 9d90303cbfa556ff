package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"reflect"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/merkle"
	"hitoku.dev/internal/ledger/wire"
)

// filled is 32 bytes of n.
func filled(n byte) [32]byte { return [32]byte(bytes.Repeat([]byte{n}, 32)) }

func fixed(n byte) *keys.HPKEKey { return fixedOf(wire.SuiteX25519, n) }

func fixedOf(suite wire.Suite, n byte) *keys.HPKEKey {
	k, err := keys.ParseHPKE(suite, bytes.Repeat([]byte{n}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

func makeVectors(t testing.TB) vectors {
	w := newReceiptWorld(t)
	v := vectors{Format: "hitoku-ledger-vectors/1", Receipt: w.vectors(t)}
	v.Names = nameVectors(w)
	for p := uint64(1); p < uint64(len(w.records)); p++ {
		v.Chain = append(v.Chain, chainVector{hx(w.chain[p-1][:]), p, w.time(p), hx(w.records[p]), hx(w.chain[p][:])})
	}
	v.Structures, v.Refused = structVectors(t, w)
	v.Ed25519 = ed25519Vectors(t)
	v.Records = recordVectors(w)
	v.Signed = signedVectors(t)
	v.Genesis = genesisVectors()
	v.Epochs = epochVectors()
	for _, c := range w.commits {
		core, err := wire.ParseCore(c.CoreBytes)
		if err != nil {
			t.Fatal(err)
		}
		next := wire.NextT(core.Previous, c.CoreBytes)
		v.T = append(v.T, tVector{hx(core.Previous[:]), hx(c.CoreBytes), hx(next[:])})
	}
	v.Packed = packedVectors(t)
	v.Data = dataVectors(t)
	for _, n := range []int{0, 1, 2, 3, 5, 8} {
		var leaves [][]byte
		for i := range n {
			leaves = append(leaves, bytes.Repeat([]byte{byte(i)}, i))
		}
		tree := treeVector{Leaves: hxs(leaves), Proofs: [][]string{}}
		root := merkle.Root(leaves)
		tree.Root = hx(root[:])
		for i := range n {
			proof := []string{}
			for _, h := range merkle.Proof(leaves, i) {
				proof = append(proof, hx(h[:]))
			}
			tree.Proofs = append(tree.Proofs, proof)
		}
		v.Trees = append(v.Trees, tree)
	}
	for j, signed := range w.commands {
		o, blind := w.outcomes[j], filled(byte(60+j))
		leaf := wire.Leaf(w.ledger, 10, uint32(j), wire.SignedHash(signed), o, blind)
		v.Leaves = append(v.Leaves, leafVector{hx(w.ledger[:]), 10, uint32(j), hx(signed), hx(o.Encode()), hx(blind[:]), hx(leaf)})
	}
	v.Boxes = boxVectors(t)
	return v
}

func nameVectors(w *receiptWorld) (out []nameVector) {
	add := func(name string, items ...[]byte) {
		sum := wire.Sum(name, items...)
		out = append(out, nameVector{name, hxs(items), hx(wire.Name(name, items...)), hx(sum[:])})
	}
	l, t, pk, iid := w.ledger[:], filled(2), public(seeded(31)), wire.IncarnationID(public(seeded(31)))
	hpk, h := fixed(41).Public(), filled(9)
	add("GENESIS", w.file.Genesis)
	add("POLICY", goodPolicy().Encode())
	add("CHAIN", h[:], wire.U64(1), wire.U64(2), t[:])
	add("RECORD", header().Encode(), h[:])
	add("INCARNATION", pk[:])
	add("REPORT", l, wire.U16(1), pk[:], hpk, wire.U64(0), wire.U64(4), h[:])
	add("OPERATOR", l, wire.U16(1), pk[:], hpk)
	add("T", t[:], []byte("core"))
	add("CM", t[:], h[:])
	add("WRAP", l, wire.U64(1), t[:], wire.U16(1), hpk)
	add("APPROVE", l, t[:], wire.U64(1), h[:])
	add("KEY", []byte("init"), wire.U64(1))
	add("COMMAND", []byte("command"))
	add("QUERY", []byte("query"))
	add("ACCOUNT", wire.U8(1), pk[:])
	add("SENDER", iid[:])
	add("SALT")
	add("DATA", header().Encode(), []byte("M"))
	add("ENTRY", h[:])
	add("RANDOM", wire.U64(10))
	add("EXECUTED", []byte("erc20"), pk[:], wire.U64(5))
	add("STATE", wire.U64(10), h[:])
	add("BLIND")
	add("LEAF", l, wire.U64(10), wire.U32(1), h[:], t[:], pk[:])
	add("OUTCOMES", h[:], t[:])
	add("CHECKPOINT", l, iid[:], wire.Checkpoint{Position: 10}.Encode())
	add("KEYINFO", []byte("KeyInfo"))
	add("RK", hpk)
	add("REQ", l, iid[:], h[:])
	add("RN")
	add("REPLYKEY")
	add("REPLYNONCE")
	add("NOTIFY", l, h[:])
	add("FRESH", l, bytes.Repeat([]byte{7}, 16), wire.U64(10), h[:])
	add("CRYPTOBOX", l, iid[:], h[:])
	add("ADMIN", l, iid[:], []byte("POST"), []byte("/api/v1/key_rotation"), h[:], wire.U64(1_800_000_000), bytes.Repeat([]byte{7}, 16))
	return out
}

// parser gives the parser of a structure by its name in the vectors.
func parser(name string) func([]byte) ([]byte, error) {
	for _, c := range codecs() {
		if c.name == name {
			return c.again
		}
	}
	return nil
}

func structVectors(t testing.TB, w *receiptWorld) (good []structVector, bad []refusedVector) {
	refuse := func(name string, b []byte, reason string) {
		if _, err := parser(name)(b); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%s with %s: %v", name, reason, err)
		}
		bad = append(bad, refusedVector{name, hx(b), reason})
	}
	add := func(name string, v interface{ Encode() []byte }) {
		b := v.Encode()
		if again, err := parser(name)(b); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%s: %v", name, err)
		}
		good = append(good, structVector{name, hx(b), fields(reflect.ValueOf(v))})
		refuse(name, b[:len(b)-1], "the last byte is missing")
		refuse(name, append(bytes.Clone(b), 0), "a byte after the end")
	}
	g, p := goodGenesis(), goodPolicy()
	c, _ := signedCommands(t)["ed25519"].VerifyCommand()
	core, err := wire.ParseCore(w.commits[1].CoreBytes)
	if err != nil {
		t.Fatal(err)
	}
	pk := public(seeded(3))
	q := wire.Query{Kind: wire.KindQuery, Ledger: w.ledger, Application: "erc20", Scheme: wire.SchemeEd25519, Key: pk[:], ID: [16]byte{1, 2}, NotAfter: 1_800_000_030, Name: "balanceOf", Arguments: []byte("{}")}
	result := wire.Result{Status: wire.StatusCommitted, Outcome: w.outcomes[0], Position: 10, Index: 1, Count: 3, Blind: filled(61), Proof: []wire.Hash{filled(1), filled(2)}}
	payload := wire.Payload{FloorPosition: 9, FloorChain: filled(3), Mode: wire.ModeFresh, ReplyBucket: 4096, Items: w.commands[:2]}
	request := wire.Request{Kind: wire.RequestCommands, KeyID: filled(1), NotAfter: 1_800_000_060, Bucket: 1024, Enc: fixed(41).Public(), CT: make([]byte, 1040)}
	add("genesis", g)
	add("genesis file", w.file)
	add("policy", p)
	add("POLICY", w.update)
	add("header", header())
	add("record", wire.SignRecord(header(), []byte("body"), seeded(1)))
	add("JOIN", w.joins[1])
	add("core", core)
	add("COMMIT", w.commits[1])
	add("ACK", wire.Ack{Epoch: 1, HPKE: fixed(42).Public()})
	add("DATA", wire.Data{Salt: filled(1), CT: make([]byte, 48)})
	add("ALARM", wire.Alarm{Epoch: 3, Slot: 2})
	add("checkpoint", w.checkpoint)
	add("CHECKPOINT", wire.SignedCheckpoint{Checkpoint: w.checkpoint, Signature: w.sign(31)})
	add("command", c)
	add("query", q)
	add("signed", signedCommands(t)["p256"])
	add("outcome", w.outcomes[1])
	add("KeyInfo", wire.KeyInfo{Ledger: w.ledger, Slot: 1, Incarnation: wire.IncarnationID(public(seeded(31))), Key: public(seeded(31)), RequestKey: fixed(43).Public(), NotAfter: 1_800_003_600, Position: 14, Chain: w.chain[14]})
	add("request", request)
	add("payload", payload)
	add("reply", wire.Reply{Nonce: filled(5), CT: make([]byte, 1040)})
	add("reply body", wire.ReplyBody{Position: 14, Chain: w.chain[14], Time: w.time(14), Results: []wire.Result{result}})
	add("notification", wire.Notice{Position: 10, Index: 1, Application: "erc20", Payload: []byte(`{"from":"a"}`)})
	add("sealed notification", wire.SealedNotice{Enc: fixed(41).Public(), CT: make([]byte, 1040)})

	edited := func(f func(p *wire.Policy)) []byte {
		p := goodPolicy()
		f(&p)
		return p.Encode()
	}
	refuse("policy", edited(func(p *wire.Policy) { p.Threshold = 0 }), "m is 0")
	refuse("policy", edited(func(p *wire.Policy) { p.Threshold = 4 }), "m is above the number of administrators")
	refuse("policy", edited(func(p *wire.Policy) { p.Admins[0], p.Admins[1] = p.Admins[1], p.Admins[0] }), "administrators do not ascend")
	refuse("policy", edited(func(p *wire.Policy) { p.Slots[1].Slot = 1 }), "a slot twice")
	refuse("policy", edited(func(p *wire.Policy) { p.Slots[1].Kind = 3 }), "kind of slot not known")
	refuse("policy", edited(func(p *wire.Policy) { p.Flags = 4 }), "flag not known")
	refuse("policy", edited(func(p *wire.Policy) { p.Programs[0].Measurement = make([]byte, 31) }), "measurement of 31 bytes")
	refuse("policy", edited(func(p *wire.Policy) { p.TCBStatuses[0] = "\xff" }), "text that is not UTF-8")
	refuse("policy", edited(func(p *wire.Policy) { p.Slots[0].Operator = [32]byte{1} }), "operator key of small order")
	g.Suite = 3
	refuse("genesis", g.Encode(), "suite not known")
	h := header()
	h.Type = 8
	refuse("header", h.Encode(), "type not known")
	h.Type = 0
	refuse("header", h.Encode(), "type not known")
	two := append(wire.Core{}.Adds, wire.Add{Slot: 2}, wire.Add{Slot: 1})
	refuse("core", wire.Core{Adds: two}.Encode(), "adds do not ascend")
	refuse("core", wire.Core{Removes: []wire.Remove{{Slot: 1, Reason: 7}}}.Encode(), "reason not known")
	refuse("COMMIT", wire.Commit{Wraps: []wire.Wrap{{Slot: 1}, {Slot: 1}}}.Encode(), "a wrap twice")
	refuse("COMMIT", wire.Commit{Wraps: []wire.Wrap{{Slot: 1, CT: make([]byte, 8193)}}}.Encode(), "wrap above its limit")
	c.Key = c.Key[1:]
	refuse("command", c.Encode(), "key of 31 bytes with scheme 1")
	c.Scheme, c.Key = 3, filledSlice(1)
	refuse("command", c.Encode(), "scheme not known")
	refuse("command", wire.Command{Key: make([]byte, 20), Name: string(make([]byte, 65))}.Encode(), "name of 65 bytes")
	q.Kind = 1
	refuse("query", q.Encode(), "kind of a command")
	request.Bucket = 2048
	refuse("request", request.Encode(), "ct is not as long as the bucket")
	request.Bucket, request.CT = 1000, make([]byte, 1016)
	refuse("request", request.Encode(), "bucket is no power of two")
	payload.Items = nil
	refuse("payload", payload.Encode(), "no item")
	payload.Items, payload.ReplyBucket = [][]byte{{1}}, 2<<20
	refuse("payload", payload.Encode(), "reply bucket of 2 MiB")
	result.Status = 0
	refuse("reply body", wire.ReplyBody{Results: []wire.Result{result}}.Encode(), "status not known")
	refuse("reply", wire.Reply{CT: make([]byte, 1039)}.Encode(), "ct is not as long as a bucket")
	return good, bad
}

func filledSlice(n byte) []byte { b := filled(n); return b[:] }

func ed25519Vectors(t testing.TB) (out []ed25519Vector) {
	add := func(key [32]byte, message []byte, signature [64]byte, reason string) {
		valid := wire.VerifyEd25519(key, message, signature)
		if valid != (reason == "") {
			t.Fatalf("Ed25519, %s: %v", reason, valid)
		}
		out = append(out, ed25519Vector{hx(key[:]), hx(message), hx(signature[:]), valid, reason})
	}
	message := []byte("message")
	key, sig := public(seeded(1)), [64]byte(ed25519.Sign(seeded(1), message))
	add(key, message, sig, "")
	add(key, []byte("another"), sig, "another message")
	add(public(seeded(2)), message, sig, "another key")
	for i := range sig {
		if i%8 == 0 {
			changed := sig
			changed[i] ^= 1
			add(key, message, changed, "signature changed")
		}
	}
	// S + L is the same scalar; the order L is 2^252 + 27742317777372353535851937790883648493.
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	raised, carry := sig, 0
	for i, b := range order {
		carry += int(sig[32+i]) + int(b)
		raised[32+i] = byte(carry)
		carry >>= 8
	}
	add(key, message, raised, "S is not below the group's order")
	for _, s := range smallOrder {
		for n := range byte(16) { // the first message that a verifier without the rule takes
			if k := [32]byte(unhex(t, s)); n == 15 || ed25519.Verify(k[:], []byte{n}, append([]byte{1}, make([]byte, 63)...)) {
				add(k, []byte{n}, [64]byte{1}, "key of small order or not canonical")
				break
			}
		}
	}
	return out
}

func recordVectors(w *receiptWorld) (out []recordVector) {
	add := func(key [32]byte, b []byte, reason string) {
		h := sha256.Sum256(b)
		out = append(out, recordVector{hx(key[:]), hx(b), hx(h[:]), reason == "", reason})
	}
	good := wire.SignRecord(header(), []byte("body"), seeded(1))
	add(public(seeded(1)), good.Encode(), "")
	add(public(seeded(31)), w.records[1], "")
	add(public(seeded(2)), good.Encode(), "another key")
	changed := good
	changed.Header.N++
	add(public(seeded(1)), changed.Encode(), "header changed")
	changed = good
	changed.Body = []byte("Body")
	add(public(seeded(1)), changed.Encode(), "body changed")
	changed = good
	changed.Signature = [64]byte(ed25519.Sign(seeded(1), append(good.Header.Encode(), good.Body...)))
	add(public(seeded(1)), changed.Encode(), "signature over header and body as they are")
	return out
}

func signedVectors(t testing.TB) (out []signedVector) {
	add := func(kind string, s wire.Signed, reason string) {
		v := signedVector{Kind: kind, Signed: hx(s.Encode()), Reason: reason}
		var err error
		var scheme uint8
		var key []byte
		if kind == "command" {
			c, e := s.VerifyCommand()
			err, scheme, key = e, c.Scheme, c.Key
		} else {
			q, e := s.VerifyQuery()
			err, scheme, key = e, q.Scheme, q.Key
		}
		switch {
		case err == nil:
			id := wire.AccountID(scheme, key)
			v.Result, v.Account = "ok", hx(id[:])
		case errors.Is(err, wire.ErrSignature):
			v.Result = "signature"
		default:
			v.Result = "malformed"
		}
		if (v.Result == "ok") != (reason == "") {
			t.Fatalf("%s: %v", reason, err)
		}
		out = append(out, v)
	}
	all := signedCommands(t)
	for _, name := range []string{"ed25519", "p256", "none"} {
		add("command", all[name], "")
		add("query", all[name], "a command is no query")
	}
	for _, name := range []string{"ed25519", "p256"} {
		s := all[name]
		for i := range s.Signature {
			if i%8 == 0 {
				c := wire.Signed{Body: s.Body, Signature: bytes.Clone(s.Signature)}
				c.Signature[i] ^= 1
				add("command", c, "signature changed")
			}
		}
		add("command", wire.Signed{Body: s.Body, Signature: s.Signature[1:]}, "signature of 63 bytes")
		add("command", wire.Signed{Body: s.Body}, "no signature")
		c, _ := s.VerifyCommand()
		c.Nonce++
		add("command", wire.Signed{Body: c.Encode(), Signature: s.Signature}, "nonce changed")
	}
	c, _ := all["p256"].VerifyCommand()
	add("command", wire.Signed{Body: all["p256"].Body, Signature: signP256(t, p256(5), c.Message(), false)}, "s in the upper half")
	add("command", wire.Signed{Body: all["p256"].Body, Signature: make([]byte, 64)}, "r and s are zero")
	c.Key = append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...)
	add("command", wire.Signed{Body: c.Encode(), Signature: all["p256"].Signature}, "key is not on the curve")
	add("command", wire.Signed{Body: all["none"].Body, Signature: make([]byte, 64)}, "signature with scheme 0")
	pk := public(seeded(3))
	q := wire.Query{Kind: wire.KindOutcome, Ledger: wire.Hash{1}, Application: "erc20", Scheme: wire.SchemeEd25519, Key: pk[:], ID: [16]byte{1}, NotAfter: 9, Arguments: filledSlice(1)}
	add("query", wire.Signed{Body: q.Encode(), Signature: ed25519.Sign(seeded(3), q.Message())}, "")
	add("query", wire.Signed{Body: q.Encode(), Signature: ed25519.Sign(seeded(3), wire.Name("COMMAND", q.Encode()))}, "signed as a command")
	return out
}
