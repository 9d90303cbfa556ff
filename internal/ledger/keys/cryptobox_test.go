package keys_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/nacl/box"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

func boxKey(t testing.TB) *keys.BoxKey {
	t.Helper()
	k, err := keys.NewBoxKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// anonify seals as Anonify's JavaScript client does: any JSON to the node's key.
func anonify(t testing.TB, node [32]byte, plain string) []byte {
	t.Helper()
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nonce := [24]byte{1, 2, 3}
	return fmt.Appendf(nil, `{"ephemeral_public_key":"%x","nonce":"%x","ciphertext":"%x"}`, *public, nonce, box.Seal(nil, []byte(plain), &nonce, &node, private))
}

const boxPlain = `{"access_policy":{"account_id":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,255]},"runtime_params":{"amount":10,"recipient":[1]},"cmd_name":"transfer","counter":7}`

func TestBox(t *testing.T) {
	t.Parallel()
	k := boxKey(t)
	q, err := keys.ParseBoxRequest(anonify(t, k.Public(), boxPlain))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := k.Open(q)
	if err != nil {
		t.Fatal(err)
	}
	want := keys.BoxCommand{Arguments: []byte(`{"amount":10,"recipient":[1]}`), Name: "transfer", Counter: 7}
	for i := range byte(19) {
		want.Account[i] = i
	}
	want.Account[19] = 255
	if d := cmp.Diff(want, c); d != "" {
		t.Fatal(d)
	}
	command, err := c.Signed(repeat(1), "erc20", 99).VerifyCommand()
	if err != nil || command.Nonce != 7 || command.ExpiresAt != 99 || command.Scheme != wire.SchemeNone || !bytes.Equal(command.Key, want.Account[:]) {
		t.Errorf("command %+v: %v", command, err)
	}

	q, opener, err := keys.SealBox(k.Public(), want, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	if q, err = keys.ParseBoxRequest(b); err != nil {
		t.Fatal(err)
	}
	c, sealer, err := k.Open(q)
	if err != nil || !cmp.Equal(c, want) {
		t.Fatalf("own client: %v", err)
	}
	sent := keys.BoxReply{Status: "committed", Code: 11, Message: "refused", Result: json.RawMessage(`{"x":1}`)}
	lengths := map[int]bool{}
	for _, r := range []keys.BoxReply{sent, {Status: "rejected", Code: 3}} {
		sealed, err := sealer.Seal(r, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		lengths[len(sealed)] = true
		got, err := opener.Open(sealed)
		if err != nil || !cmp.Equal(got, r) {
			t.Fatalf("reply %+v: %v", got, err)
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			if _, err := opener.Open(changed); !errors.Is(err, keys.ErrOpen) {
				t.Fatalf("byte %d of the reply changed: %v", i, err)
			}
		}
		if _, err := opener.Open(sealed[1:]); !errors.Is(err, keys.ErrOpen) {
			t.Errorf("short reply: %v", err)
		}
	}
	if len(lengths) != 1 {
		t.Errorf("replies have %d lengths", len(lengths))
	}
	if _, err := sealer.Seal(keys.BoxReply{Message: strings.Repeat("x", 1100)}, rand.Reader); !errors.Is(err, keys.ErrTooLarge) {
		t.Errorf("reply of 1100 bytes: %v", err)
	}
	if _, err := sealer.Seal(keys.BoxReply{Result: json.RawMessage("{")}, rand.Reader); err == nil {
		t.Error("a result that is no JSON is sealed")
	}
	if _, err := sealer.Seal(sent, iotest.ErrReader(errors.New("no entropy"))); err == nil {
		t.Error("sealed without randomness")
	}
	sealer.Erase()
	if late, err := sealer.Seal(sent, rand.Reader); err == nil {
		if _, err := opener.Open(late); !errors.Is(err, keys.ErrOpen) {
			t.Errorf("an erased sealer's reply opens: %v", err)
		}
	}
	k.Erase()
	if _, _, err := k.Open(q); !errors.Is(err, keys.ErrOpen) {
		t.Errorf("an erased key opens: %v", err)
	}
}

func TestBoxRefused(t *testing.T) {
	t.Parallel()
	k := boxKey(t)
	good := string(anonify(t, k.Public(), boxPlain))
	for name, b := range map[string]string{
		"nothing":          "",
		"no object":        "[]",
		"unknown member":   strings.Replace(good, "{", `{"x":1,`, 1),
		"missing member":   strings.Replace(good, `"nonce"`, `"once"`, 1),
		"short key":        strings.Replace(good, `key":"`, `key":"00`, 1),
		"odd digits":       strings.Replace(good, `nonce":"`, `nonce":"0`, 1),
		"no digits":        strings.Replace(good, `nonce":"01`, `nonce":"zz`, 1),
		"short ciphertext": good[:strings.Index(good, `ciphertext":"`)+13] + `00"}`,
		"too long":         `{"x":"` + strings.Repeat("0", keys.MaxBoxRequest) + `"}`,
	} {
		if _, err := keys.ParseBoxRequest([]byte(b)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v, wanted ErrMalformed", name, err)
		}
	}
	for name, plain := range map[string]string{
		"no JSON":              "hello",
		"query":                `{"access_policy":{"account_id":[]},"runtime_params":{},"state_name":"balanceOf"}`,
		"19 numbers":           strings.Replace(boxPlain, "[0,", "[", 1),
		"21 numbers":           strings.Replace(boxPlain, "[0,", "[0,0,", 1),
		"number of 256":        strings.Replace(boxPlain, "255", "256", 1),
		"negative number":      strings.Replace(boxPlain, "255", "-1", 1),
		"account as string":    strings.Replace(boxPlain, "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,255]", `"AAECAw=="`, 1),
		"counter of 2^32":      strings.Replace(boxPlain, "7}", "4294967296}", 1),
		"counter as string":    strings.Replace(boxPlain, "7}", `"7"}`, 1),
		"another member":       strings.Replace(boxPlain, "7}", `7,"x":1}`, 1),
		"member twice":         strings.Replace(boxPlain, "7}", `7,"counter":8}`, 1),
		"long name":            strings.Replace(boxPlain, "transfer", strings.Repeat("x", 65), 1),
		"long arguments":       strings.Replace(boxPlain, "10,", "10,\"x\":\""+strings.Repeat("x", 33000)+"\",", 1),
		"bytes after the end":  boxPlain + "{}",
		"other policy members": strings.Replace(boxPlain, `"account_id"`, `"pubkey":[],"account_id"`, 1),
	} {
		q, err := keys.ParseBoxRequest(anonify(t, k.Public(), plain))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, s, err := k.Open(q); !errors.Is(err, wire.ErrMalformed) || s != nil {
			t.Errorf("%s: %v, wanted ErrMalformed", name, err)
		}
	}
	q, err := keys.ParseBoxRequest([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*keys.BoxRequest){
		"key of small order":  func(q *keys.BoxRequest) { q.Ephemeral = make([]byte, 32) },
		"another key":         func(q *keys.BoxRequest) { q.Ephemeral = repeatSlice(9) },
		"another nonce":       func(q *keys.BoxRequest) { q.Nonce = make([]byte, 24) },
		"another ciphertext":  func(q *keys.BoxRequest) { q.Ciphertext = make([]byte, 100) },
		"an empty ciphertext": func(q *keys.BoxRequest) { q.Ciphertext = make([]byte, 16) },
	} {
		changed := q
		edit(&changed)
		if _, _, err := k.Open(changed); !errors.Is(err, keys.ErrOpen) {
			t.Errorf("%s: %v, wanted ErrOpen", name, err)
		}
	}
	for n := range 2 {
		short := bytes.NewReader(make([]byte, 16+32*n))
		if _, _, err := keys.SealBox(k.Public(), keys.BoxCommand{Arguments: []byte("{}")}, short); err == nil {
			t.Errorf("sealed with %d bytes of randomness", 16+32*n)
		}
	}
	if _, _, err := keys.SealBox([32]byte{}, keys.BoxCommand{Arguments: []byte("{}")}, rand.Reader); !errors.Is(err, keys.ErrOpen) {
		t.Errorf("sealed to a key of small order: %v", err)
	}
	if _, _, err := keys.SealBox(k.Public(), keys.BoxCommand{Arguments: []byte("{")}, rand.Reader); err == nil {
		t.Error("arguments that are no JSON are sealed")
	}
}

func repeatSlice(n byte) []byte { b := repeat(n); return b[:] }

// FuzzBox opens any plaintext that a client could have sealed: what is taken makes a command that
// parses, and the outer form is read without harm.
func FuzzBox(f *testing.F) {
	f.Add([]byte(boxPlain))
	f.Add([]byte(`{"access_policy":{"account_id":[]},"runtime_params":{},"state_name":"x"}`))
	f.Add([]byte(`{"ephemeral_public_key":"00","nonce":"","ciphertext":""}`))
	k := boxKey(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := keys.ParseBoxRequest(b); err == nil {
			_, _, _ = k.Open(q)
		}
		if len(b) > 60000 {
			return
		}
		q, err := keys.ParseBoxRequest(anonify(t, k.Public(), string(b)))
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := k.Open(q)
		if err != nil {
			return
		}
		s := c.Signed(repeat(1), "app", 9)
		if back, err := wire.ParseSigned(s.Encode()); err != nil {
			t.Fatal(err)
		} else if _, err := back.VerifyCommand(); err != nil {
			t.Fatal(err)
		}
	})
}
