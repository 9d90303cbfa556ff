package wire_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// sealUnder seals a padded batch under a salt of choice, as a member without rules could.
func sealUnder(t testing.TB, log [32]byte, h wire.Header, salt wire.Hash, padded []byte) wire.Data {
	t.Helper()
	k := expand(t, expand(t, log[:], wire.Name("SENDER", h.Incarnation[:])), wire.Name("ENTRY", salt[:]))
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Data{Salt: salt, CT: gcm.Seal(nil, make([]byte, 12), padded, append(h.Encode(), salt[:]...))}
}

func expand(t testing.TB, k, info []byte) []byte {
	t.Helper()
	out, err := hkdf.Expand(sha256.New, k, string(info), 32)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func suites() []wire.Suite { return []wire.Suite{wire.SuiteX25519, wire.SuiteHybrid} }

func makeSealed(t testing.TB) (v sealedVectors) {
	for _, suite := range suites() {
		v.Wraps = append(v.Wraps, makeWraps(t, suite)...)
		v.Requests = append(v.Requests, makeRequests(t, suite)...)
		v.Notices = append(v.Notices, makeNotices(t, suite)...)
	}
	return v
}

func encodeWrap(w wire.Wrap) []byte {
	b := wire.Commit{Wraps: []wire.Wrap{w}}.Encode()
	return b[4+4+32+4:]
}

func makeWraps(t testing.TB, suite wire.Suite) (out []wrapVector) {
	k, ledger, tt, s, snap := fixedOf(suite, 41), filled(1), filled(2), filled(5), filled(6)
	cm := keys.Commitment(tt, s)
	add := func(hpk []byte, epoch uint64, slot uint16, c wire.Hash, secret [32]byte, reason string, tail ...keys.Epoch) {
		w, err := keys.SealWrap(suite, hpk, ledger, epoch, tt, slot, c, secret, 3, snap, tail...)
		if err != nil {
			t.Fatal(err)
		}
		v := wrapVector{
			Suite: uint8(suite), Private: hx(k.Bytes()), Public: hx(k.Public()), Ledger: hx(ledger[:]), Epoch: 4, T: hx(tt[:]), Commitment: hx(cm[:]), Opens: reason == "", Reason: reason,
		}
		if v.Opens {
			v.Secret, v.X, v.Snap, v.Tail = hx(s[:]), 3, hx(snap[:]), tailBytes(tail)
		}
		w.Slot = 7
		v.Wrap = hx(encodeWrap(w))
		out = append(out, v)
	}
	third := keys.FromSecret(filled(7), 3)
	add(k.Public(), 4, 7, cm, s, "")
	add(k.Public(), 4, 7, cm, s, "", third)
	add(k.Public(), 4, 7, cm, s, "releases keys of its own epoch", third, keys.FromSecret(filled(7), 4))
	add(k.Public(), 4, 7, cm, filled(9), "the secret is not the one of cm")
	add(k.Public(), 4, 7, keys.Commitment(tt, filled(9)), filled(9), "sealed with another cm")
	add(k.Public(), 4, 8, cm, s, "wrap of another slot")
	add(k.Public(), 5, 7, cm, s, "wrap of another epoch")
	add(fixedOf(suite, 42).Public(), 4, 7, cm, s, "sealed to a stale key")
	return out
}

func tailBytes(tail []keys.Epoch) string {
	var b []byte
	for _, e := range tail {
		b = append(append(append(b, e.Log[:]...), e.Digest[:]...), e.Random[:]...)
	}
	return hx(b)
}

func makeRequests(t testing.TB, suite wire.Suite) (out []requestVector) {
	k, ledger, iid := fixedOf(suite, 43), filled(1), filled(2)
	o := keys.RequestOptions{
		Suite: suite, Info: wire.KeyInfo{Ledger: ledger, Incarnation: iid, RequestKey: k.Public()}, Kind: wire.RequestCommands, NotAfter: 1_800_000_060,
		Payload: wire.Payload{FloorPosition: 9, FloorChain: filled(3), ReplyBucket: 1024, Items: [][]byte{signedCommands(t)["ed25519"].Encode()}},
	}
	add := func(q wire.Request, reason string) *requestVector {
		out = append(out, requestVector{
			Suite: uint8(suite), Private: hx(k.Bytes()), Public: hx(k.Public()), Ledger: hx(ledger[:]), Incarnation: hx(iid[:]), Request: hx(q.Encode()), Opens: reason == "", Reason: reason,
		})
		return &out[len(out)-1]
	}
	seal := func(o keys.RequestOptions) (wire.Request, *keys.ReplyOpener) {
		q, opener, err := keys.SealRequest(o)
		if err != nil {
			t.Fatal(err)
		}
		return q, opener
	}
	q, opener := seal(o)
	x := opener.Secret()
	good := add(q, "")
	good.Payload, good.Exported = hx(o.Payload.Encode()), hx(x[:])
	_, sealer, err := keys.OpenRequest(k, ledger, iid, q)
	if err != nil {
		t.Fatal(err)
	}
	body := wire.ReplyBody{Position: 14, Chain: filled(4), Time: 1_800_000_001, Results: []wire.Result{{
		Status: wire.StatusCommitted, Outcome: wire.Outcome{Result: []byte("{}")}, Position: 14, Index: 0, Count: 2, Blind: filled(8), Proof: []wire.Hash{filled(9)},
	}}}
	for range 2 {
		reply, err := sealer.Seal(body, 1024, rand.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		good.Replies = append(good.Replies, replyVector{Reply: hx(reply.Encode()), Body: hx(body.Encode()), Opens: true})
		reply.Nonce[0]++
		good.Replies = append(good.Replies, replyVector{Reply: hx(reply.Encode()), Reason: "rn changed"})
		reply.Nonce[0]--
		reply.CT[9] ^= 1
		good.Replies = append(good.Replies, replyVector{Reply: hx(reply.Encode()), Reason: "ct changed"})
	}
	other, _ := seal(o)
	_, sealer, err = keys.OpenRequest(k, ledger, iid, other)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := sealer.Seal(body, 1024, rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	good.Replies = append(good.Replies, replyVector{Reply: hx(reply.Encode()), Reason: "reply to another request"})

	edit := func(f func(*wire.Request), reason string) {
		c := q
		c.CT = bytes.Clone(q.CT)
		f(&c)
		add(c, reason)
	}
	edit(func(q *wire.Request) { q.Kind = wire.RequestQuery }, "kind changed")
	edit(func(q *wire.Request) { q.NotAfter++ }, "not_after changed")
	edit(func(q *wire.Request) { q.CT[0] ^= 1 }, "ct changed")
	edit(func(q *wire.Request) { q.KeyID[0] ^= 1 }, "rk id changed")
	edit(func(q *wire.Request) { q.Enc = other.Enc }, "enc of another request")
	edit(func(q *wire.Request) { q.Enc = make([]byte, len(q.Enc)) }, "enc is zero")
	elsewhere := o
	elsewhere.Info.Incarnation = filled(9)
	q, _ = seal(elsewhere)
	add(q, "sealed for another incarnation")
	elsewhere = o
	elsewhere.Info.Ledger = filled(9)
	q, _ = seal(elsewhere)
	add(q, "sealed for another ledger")
	wrong := o
	wrong.Kind, wrong.Payload.Items = wire.RequestQuery, [][]byte{{1}, {2}}
	q, _ = seal(wrong)
	add(q, "two queries")
	wrong = o
	wrong.Payload.Mode = 2
	q, _ = seal(wrong)
	add(q, "mode not known")
	add(sealPadding(t, suite, o), "padding is not zero")
	return out
}

// sealPadding seals a payload whose last byte of padding is one.
func sealPadding(t testing.TB, suite wire.Suite, o keys.RequestOptions) wire.Request {
	t.Helper()
	kem, err := suite.KEM()
	if err != nil {
		t.Fatal(err)
	}
	public, err := kem.NewPublicKey(o.Info.RequestKey)
	if err != nil {
		t.Fatal(err)
	}
	q := wire.Request{Kind: o.Kind, KeyID: wire.RequestKeyID(o.Info.RequestKey), NotAfter: o.NotAfter, Bucket: 1024}
	enc, s, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.Name("REQ", o.Info.Ledger[:], o.Info.Incarnation[:], q.KeyID[:]))
	if err != nil {
		t.Fatal(err)
	}
	padded := wire.Pad(o.Payload.Encode(), 1024)
	padded[1023] = 1
	q.Enc = enc
	if q.CT, err = s.Seal(q.Associated(), padded); err != nil {
		t.Fatal(err)
	}
	return q
}

func makeNotices(t testing.TB, suite wire.Suite) (out []noticeVector) {
	k, ledger, account := fixedOf(suite, 45), filled(1), filled(2)
	n := wire.Notice{Position: 10, Index: 1, Application: "erc20", Payload: []byte(`{"amount":"5"}`)}
	for _, c := range []struct {
		ledger, account [32]byte
		reason          string
	}{{ledger, account, ""}, {filled(9), account, "sealed for another ledger"}, {ledger, filled(9), "sealed for another account"}} {
		sealed, err := keys.SealNotice(suite, k.Public(), c.ledger, c.account, n)
		if err != nil {
			t.Fatal(err)
		}
		v := noticeVector{Suite: uint8(suite), Private: hx(k.Bytes()), Ledger: hx(ledger[:]), Account: hx(account[:]), Sealed: hx(sealed.Encode()), Opens: c.reason == "", Reason: c.reason}
		if v.Opens {
			v.Notice = hx(n.Encode())
		}
		out = append(out, v)
	}
	return out
}

// checkSealed opens what the file holds.
func checkSealed(t testing.TB, v sealedVectors) {
	t.Helper()
	if len(v.Wraps) == 0 || len(v.Requests) == 0 || len(v.Notices) == 0 {
		t.Fatal("the file holds no sealed vectors")
	}
	private := func(suite uint8, secret string) *keys.HPKEKey {
		k, err := keys.ParseHPKE(wire.Suite(suite), unhex(t, secret))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for i, w := range v.Wraps {
		c, err := wire.ParseCommit(append(wire.Commit{}.Encode()[:40], append([]byte{0, 0, 0, 1}, unhex(t, w.Wrap)...)...))
		if err != nil {
			t.Fatal(err)
		}
		s, x, snap, tail, err := keys.OpenWrap(private(w.Suite, w.Private), unhash(t, w.Ledger), w.Epoch, unhash(t, w.T), c.Wraps[0].Slot, unhash(t, w.Commitment), c.Wraps[0])
		if (err == nil) != w.Opens || w.Opens && (hx(s[:]) != w.Secret || x != w.X || hx(snap[:]) != w.Snap || tailBytes(tail) != w.Tail) {
			t.Errorf("wrap %d (%s): %v", i, w.Reason, err)
		}
	}
	for i, r := range v.Requests {
		q, err := wire.ParseRequest(unhex(t, r.Request))
		if err != nil {
			t.Fatal(err)
		}
		k := private(r.Suite, r.Private)
		p, _, err := keys.OpenRequest(k, unhash(t, r.Ledger), unhash(t, r.Incarnation), q)
		if (err == nil) != r.Opens || r.Opens && hx(p.Encode()) != r.Payload || hx(k.Public()) != r.Public {
			t.Errorf("request %d (%s): %v", i, r.Reason, err)
		}
		if !r.Opens {
			continue
		}
		opener := keys.NewReplyOpener(q, unhash(t, r.Exported))
		for j, c := range r.Replies {
			reply, err := wire.ParseReply(unhex(t, c.Reply))
			if err != nil {
				t.Fatal(err)
			}
			body, err := opener.Open(reply)
			if (err == nil) != c.Opens || c.Opens && hx(body.Encode()) != c.Body {
				t.Errorf("request %d, reply %d (%s): %v", i, j, c.Reason, err)
			}
		}
	}
	for i, n := range v.Notices {
		sealed, err := wire.ParseSealedNotice(unhex(t, n.Sealed))
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.OpenNotice(private(n.Suite, n.Private), unhash(t, n.Ledger), unhash(t, n.Account), sealed)
		if (err == nil) != n.Opens || n.Opens && hx(got.Encode()) != n.Notice {
			t.Errorf("notification %d (%s): %v", i, n.Reason, err)
		}
	}
}
