package receipt_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"hitoku.dev/internal/ledger/clienttest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/order/ethereum/fakechain"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger/receipt"
)

// chained is a ledger on a chain with validators, whose keys are returned.
func chained(t *testing.T, endpoints uint8, validators int) (*world, []*secp256k1.PrivateKey) {
	t.Helper()
	var keys []*secp256k1.PrivateKey
	var addresses [][20]byte
	for i := range validators {
		k, err := ethereum.ParseKey(strings.Repeat(hex.EncodeToString([]byte{byte(i + 1)}), 32))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, secp256k1.PrivKeyFromBytes(bytes.Repeat([]byte{byte(i + 1)}, 32)))
		addresses = append(addresses, k.Address())
	}
	slices.SortFunc(addresses, func(a, b [20]byte) int { return bytes.Compare(a[:], b[:]) })
	return newWorld(t, clienttest.Options{Executors: 1, Genesis: func(g *wire.Genesis) {
		g.Order = wire.Order{
			Driver: wire.DriverEthereum, ChainID: 1337, Contract: [20]byte{0xc0}, Finality: wire.FinalityImmediate, Endpoints: endpoints, Validators: addresses,
		}
	}}), keys
}

// proof is what the chain's driver gives for a position, with the chain value there.
func proof(t *testing.T, w *world, validators []*secp256k1.PrivateKey, position uint64) ([]byte, wire.Hash) {
	t.Helper()
	chain := fakechain.New(fakechain.Options{ChainID: 1337, Contract: [20]byte{0xc0}, Ledger: w.ID, AtOnce: true, Validators: validators})
	server := httptest.NewServer(fakechain.NewEndpoint(chain))
	t.Cleanup(server.Close)
	key, err := ethereum.NewKey(bytes.NewReader(bytes.Repeat([]byte{9}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	var addresses []ethereum.Address
	for _, a := range w.Genesis.Order.Validators {
		addresses = append(addresses, a)
	}
	l, err := ethereum.Open(ethereum.Config{
		Endpoints: []string{server.URL}, ChainID: 1337, Contract: [20]byte{0xc0}, Ledger: w.ID, Finality: ethereum.Immediate, Validators: addresses,
		Key: key, Store: ethereum.FolderStore(t.TempDir()), Now: time.Now, Poll: time.Millisecond, HTTP: http.DefaultClient,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // all was read
	for n := range position {
		if err := l.Submit(t.Context(), order.Submission{Record: []byte{byte(n)}, Sender: [32]byte{1}, N: n}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Wait(t.Context(), position-1); err != nil {
		t.Fatal(err)
	}
	p, err := l.Proof(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ethereum.VerifyProof(p, [20]byte{0xc0}, addresses)
	if err != nil || s.Position != position {
		t.Fatalf("%+v, %v", s, err)
	}
	return p, wire.Hash(s.Chain)
}

// resign has the executor sign a checkpoint with another chain value.
func resign(t *testing.T, w *world, r *wire.Receipt, chain wire.Hash) {
	t.Helper()
	c, err := wire.ParseCheckpoint(r.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	c.Chain = chain
	r.Checkpoint, r.Signatures = c.Encode(), []wire.ReceiptSignature{w.SignCheckpoint(w.Members[0], c)}
}

func TestOrderProof(t *testing.T) {
	t.Parallel()
	w, validators := chained(t, 1, 4)
	good := w.Receipt(1, 1, 2)
	good.OrderAssurance = "validators"
	check, err := wire.ParseCheckpoint(good.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	p, chain := proof(t, w, validators, check.Position)
	later, _ := proof(t, w, validators, check.Position+1)
	for name, c := range map[string]struct {
		edit       func(*wire.Receipt)
		ok         bool
		notChecked string
	}{
		"of the checkpoint's position":  {func(r *wire.Receipt) { resign(t, w, r, chain); r.OrderProof = p }, true, ""},
		"of a later one":                {func(r *wire.Receipt) { resign(t, w, r, chain); r.OrderProof = later }, true, "order_proof: it is about position"},
		"none":                          {func(r *wire.Receipt) { resign(t, w, r, chain) }, true, "order_proof: that the validators sealed"},
		"another history than the TEEs": {func(r *wire.Receipt) { r.OrderProof = p }, false, ""},
		"junk":                          {func(r *wire.Receipt) { r.OrderProof = []byte("junk") }, false, ""},
		"changed": {func(r *wire.Receipt) {
			resign(t, w, r, chain)
			r.OrderProof = slices.Clone(p)
			r.OrderProof[len(p)/2] ^= 1
		}, false, ""},
	} {
		r := good
		c.edit(&r)
		report, err := receipt.Verify(encode(t, r), w.options())
		if (err == nil) != c.ok || !c.ok && !failed(report, "order_proof") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := slices.ContainsFunc(report.NotChecked, func(s string) bool { return strings.HasPrefix(s, "order_proof: ") })
		if c.ok && (found != (c.notChecked != "") || !strings.Contains(strings.Join(report.NotChecked, "\n"), c.notChecked)) {
			t.Errorf("%s: not checked: %q", name, report.NotChecked)
		}
	}
}

// TestOrderAssurance: the word is that of the genesis, whatever the receipt says.
func TestOrderAssurance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		endpoints  uint8
		validators int
		want       string
	}{{1, 0, "operator"}, {2, 0, "endpoints"}, {2, 4, "validators"}} {
		w, _ := chained(t, c.endpoints, c.validators)
		for _, word := range []string{"operator", "endpoints", "validators", ""} {
			r := w.Receipt(1, 1, 2)
			r.OrderAssurance = word
			report, err := receipt.Verify(encode(t, r), w.options())
			if (err == nil) != (word == c.want) || err != nil && !failed(report, "order_assurance") {
				t.Errorf("%q, wanted %q: %v", word, c.want, err)
			}
		}
	}
}
