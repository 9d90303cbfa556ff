package keys_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// repeat is 32 bytes of n.
func repeat(n byte) [32]byte { return [32]byte(bytes.Repeat([]byte{n}, 32)) }

func newKey(t testing.TB, suite wire.Suite) *keys.HPKEKey {
	t.Helper()
	k, err := keys.NewHPKE(suite, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func suites() []wire.Suite { return []wire.Suite{wire.SuiteX25519, wire.SuiteHybrid} }

// sealBook remembers every encryption; it is not for several goroutines.
type sealBook struct {
	seen    map[string][32]byte
	sealed  int
	repeats int
	bad     string
}

func newBook() *sealBook { return &sealBook{seen: map[string][32]byte{}} }

func (b *sealBook) record(key, nonce, aad, plaintext []byte) {
	id := fmt.Sprintf("%x/%x", key, nonce)
	what := sha256.Sum256(fmt.Appendf(nil, "%d:%x%x", len(aad), aad, plaintext))
	old, ok := b.seen[id]
	switch {
	case ok && old != what:
		b.bad = id
	case ok:
		b.repeats++
	}
	b.seen[id] = what
	b.sealed++
}

func (b *sealBook) check(t *testing.T) {
	t.Helper()
	if b.bad != "" {
		t.Errorf("key and nonce %s sealed two plaintexts", b.bad)
	}
}

// info is what a client would know of a node with the request key k.
func info(k *keys.HPKEKey) wire.KeyInfo {
	return wire.KeyInfo{Ledger: repeat(1), Incarnation: repeat(2), RequestKey: k.Public()}
}

func options(k *keys.HPKEKey) keys.RequestOptions {
	return keys.RequestOptions{
		Suite: k.Suite(), Info: info(k), Kind: wire.RequestCommands, NotAfter: 99,
		Payload: wire.Payload{FloorPosition: 5, FloorChain: repeat(3), ReplyBucket: 2048, Items: [][]byte{[]byte("one"), []byte("two")}},
	}
}
