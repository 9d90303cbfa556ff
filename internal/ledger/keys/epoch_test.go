package keys_test

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// TestDerivedApart sees that no two keys of two epochs, nor what is made with them, are equal.
func TestDerivedApart(t *testing.T) {
	t.Parallel()
	s := keys.NextSecret([32]byte{}, repeat(1))
	if s == keys.NextSecret(repeat(9), repeat(1)) || s == keys.NextSecret([32]byte{}, repeat(2)) {
		t.Error("the secret does not depend on init and randomness")
	}
	seen := map[[32]byte]string{s: "s"}
	note := func(name string, k [32]byte) {
		if old, ok := seen[k]; ok || k == [32]byte{} {
			t.Errorf("%s is %s, or zero", name, old)
		}
		seen[k] = name
	}
	for _, n := range []uint64{1, 2} {
		e := keys.FromSecret(s, n)
		note("init", e.Init)
		note("log", e.Log)
		note("digest", e.Digest)
		note("snap", e.Snap)
		note("random", e.Random)
		note("seed 1", keys.Seed(e.Random, 1))
		note("seed 2", keys.Seed(e.Random, 2))
		note("blind 1 0", keys.Blind(e.Digest, 1, 0))
		note("blind 1 1", keys.Blind(e.Digest, 1, 1))
		note("blind 2 0", keys.Blind(e.Digest, 2, 0))
		note("state 1", keys.StateDigest(e.Digest, 1, repeat(1)))
		note("state 2", keys.StateDigest(e.Digest, 2, repeat(1)))
		note("other state", keys.StateDigest(e.Digest, 1, repeat(2)))
	}
	note("cm", keys.Commitment(repeat(1), s))
	note("cm of another T", keys.Commitment(repeat(2), s))
}

func TestErase(t *testing.T) {
	t.Parallel()
	e := keys.FromSecret(repeat(1), 7)
	kept := e.Clone()
	if !e.HasInit() || !e.HasLog() || !e.HasSnap() {
		t.Fatal("a part is missing")
	}
	e.EraseInit()
	e.EraseLog()
	e.EraseSnap()
	if e.HasInit() || e.HasLog() || e.HasSnap() || e.Digest != kept.Digest || e.Random != kept.Random {
		t.Error("not just the parts named are erased")
	}
	e.Erase()
	if e != (keys.Epoch{Number: 7}) {
		t.Errorf("after Erase: %+v", e)
	}
	if !kept.HasInit() || !kept.HasLog() || !kept.HasSnap() {
		t.Error("the copy was erased too")
	}
}

func TestHPKEKey(t *testing.T) {
	t.Parallel()
	for _, suite := range suites() {
		k := newKey(t, suite)
		if err := suite.CheckPublic(k.Public()); err != nil {
			t.Errorf("suite %d: %v", suite, err)
		}
		again, err := keys.ParseHPKE(suite, k.Bytes())
		if err != nil || !bytes.Equal(again.Public(), k.Public()) {
			t.Errorf("suite %d: the key that was kept is another: %v", suite, err)
		}
		w, err := keys.SealWrap(suite, k.Public(), repeat(1), 1, repeat(2), 3, keys.Commitment(repeat(2), repeat(5)), repeat(5), 0, [32]byte{})
		if err != nil {
			t.Fatal(err)
		}
		k.Erase()
		if !bytes.Equal(k.Bytes(), make([]byte, 32)) {
			t.Error("the secret is still there")
		}
		if _, _, _, _, err := keys.OpenWrap(k, repeat(1), 1, repeat(2), 3, keys.Commitment(repeat(2), repeat(5)), w); !errors.Is(err, keys.ErrOpen) {
			t.Errorf("suite %d: an erased key opens: %v", suite, err)
		}
		if _, _, _, _, err := keys.OpenWrap(again, repeat(1), 1, repeat(2), 3, keys.Commitment(repeat(2), repeat(5)), w); err != nil {
			t.Errorf("suite %d: its copy does not: %v", suite, err)
		}
		if _, err := keys.ParseHPKE(suite, make([]byte, 31)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("suite %d: key of 31 bytes: %v", suite, err)
		}
		if _, err := keys.NewHPKE(suite, iotest.ErrReader(errors.New("no entropy"))); err == nil || !strings.Contains(err.Error(), "no entropy") {
			t.Errorf("suite %d: without randomness: %v", suite, err)
		}
	}
	if _, err := keys.NewHPKE(3, rand.Reader); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("suite 3: %v", err)
	}
}

// TestWrap opens what an honest committer sealed, and nothing that a malicious one did.
func TestWrap(t *testing.T) {
	t.Parallel()
	for _, suite := range suites() {
		own, other := newKey(t, suite), newKey(t, suite)
		ledger, tt, s, snap := repeat(1), repeat(2), repeat(5), repeat(6)
		cm := keys.Commitment(tt, s)
		seal := func(hpk []byte, epoch uint64, t2 wire.Hash, slot uint16, c wire.Hash, secret [32]byte) wire.Wrap {
			w, err := keys.SealWrap(suite, hpk, ledger, epoch, t2, slot, c, secret, 3, snap)
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		good := seal(own.Public(), 4, tt, 7, cm, s)
		gotS, x, gotSnap, _, err := keys.OpenWrap(own, ledger, 4, tt, 7, cm, good)
		if err != nil || gotS != s || x != 3 || gotSnap != snap || good.Slot != 7 {
			t.Fatalf("suite %d: %v", suite, err)
		}
		for name, w := range map[string]wire.Wrap{
			"another secret than cm":      seal(own.Public(), 4, tt, 7, cm, repeat(9)),
			"another cm":                  seal(own.Public(), 4, tt, 7, keys.Commitment(tt, repeat(9)), repeat(9)),
			"another member's wrap":       seal(other.Public(), 4, tt, 8, cm, s),
			"sealed to a stale key":       seal(other.Public(), 4, tt, 7, cm, s),
			"another slot":                seal(own.Public(), 4, tt, 8, cm, s),
			"another epoch":               seal(own.Public(), 5, tt, 7, cm, s),
			"another T":                   seal(own.Public(), 4, repeat(8), 7, cm, s),
			"enc of another wrap":         {Slot: 7, Enc: seal(own.Public(), 4, tt, 7, cm, s).Enc, CT: good.CT},
			"enc cut":                     {Slot: 7, Enc: good.Enc[1:], CT: good.CT},
			"ct cut":                      {Slot: 7, Enc: good.Enc, CT: good.CT[1:]},
			"nothing":                     {Slot: 7},
			"zero enc (point of order 4)": {Slot: 7, Enc: make([]byte, len(good.Enc)), CT: good.CT},
		} {
			s, x, snap, _, err := keys.OpenWrap(own, ledger, 4, tt, 7, cm, w)
			if !errors.Is(err, keys.ErrOpen) || s != [32]byte{} || x != 0 || snap != [32]byte{} {
				t.Errorf("suite %d, %s: %v, wanted ErrOpen", suite, name, err)
			}
		}
		if _, _, _, _, err := keys.OpenWrap(own, repeat(9), 4, tt, 7, cm, good); !errors.Is(err, keys.ErrOpen) {
			t.Errorf("suite %d, another ledger: %v", suite, err)
		}
		for i := range good.CT {
			w := wire.Wrap{Slot: 7, Enc: good.Enc, CT: bytes.Clone(good.CT)}
			w.CT[i] ^= 1
			if _, _, _, _, err := keys.OpenWrap(own, ledger, 4, tt, 7, cm, w); !errors.Is(err, keys.ErrOpen) {
				t.Fatalf("suite %d: byte %d of ct changed: %v", suite, i, err)
			}
		}
		first, second := keys.FromSecret(repeat(7), 2), keys.FromSecret(repeat(8), 3)
		release := func(x uint64, tail ...keys.Epoch) wire.Wrap {
			w, err := keys.SealWrap(suite, own.Public(), ledger, 4, tt, 7, cm, s, x, snap, tail...)
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		_, _, _, tail, err := keys.OpenWrap(own, ledger, 4, tt, 7, cm, release(2, first, second))
		first.EraseInit()
		first.EraseSnap()
		second.EraseInit()
		second.EraseSnap()
		if d := cmp.Diff([]keys.Epoch{first, second}, tail); err != nil || d != "" {
			t.Errorf("suite %d: released keys: %v\n%s", suite, err, d)
		}
		for name, w := range map[string]wire.Wrap{
			"keys of epoch 0":          release(0, keys.Epoch{}),
			"keys of the epoch itself": release(4, keys.Epoch{Number: 4}),
			"keys of later epochs":     release(3, keys.Epoch{Number: 3}, keys.Epoch{Number: 4}),
		} {
			if s, _, _, tail, err := keys.OpenWrap(own, ledger, 4, tt, 7, cm, w); !errors.Is(err, keys.ErrOpen) || s != [32]byte{} || tail != nil {
				t.Errorf("suite %d, %s: %v, wanted ErrOpen", suite, name, err)
			}
		}
		kem, err := suite.KEM()
		if err != nil {
			t.Fatal(err)
		}
		to, err := kem.NewPublicKey(own.Public())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 71, 73, 72 + 95, 72 + 96*65} {
			enc, sender, err := hpke.NewSender(to, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.Name("WRAP", ledger[:], wire.U64(4), tt[:], wire.U16(7), own.Public()))
			if err != nil {
				t.Fatal(err)
			}
			ct, err := sender.Seal(cm[:], append(s[:], make([]byte, 72+96*65)...)[:n])
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, _, err := keys.OpenWrap(own, ledger, 4, tt, 7, cm, wire.Wrap{Slot: 7, Enc: enc, CT: ct}); !errors.Is(err, keys.ErrOpen) {
				t.Errorf("suite %d: wrap of %d bytes: %v, wanted ErrOpen", suite, n, err)
			}
		}
		if _, err := keys.SealWrap(suite, own.Public(), ledger, 4, tt, 7, cm, s, 2, snap, second); err == nil {
			t.Errorf("suite %d: keys of epoch 3 released as those of 2", suite)
		}
		if _, err := keys.SealWrap(suite, own.Public()[1:], ledger, 4, tt, 7, cm, s, 0, [32]byte{}); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("suite %d: sealed to a short key: %v", suite, err)
		}
		low := append(bytes.Clone(own.Public()[:len(own.Public())-32]), make([]byte, 32)...)
		if _, err := keys.SealWrap(suite, low, ledger, 4, tt, 7, cm, s, 0, [32]byte{}); err == nil {
			t.Errorf("suite %d: sealed to a key of small order", suite)
		}
	}
}
