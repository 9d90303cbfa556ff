package anonifytest_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/anonifytest"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/order/ethereum/fakechain"
	"hitoku.dev/internal/ledger/wire"
)

func TestEmbedded(t *testing.T) {
	t.Parallel()
	anonifytest.Run(t, anonifytest.Driver{})
}

// TestChain is on the Ethereum driver and a chain in memory that behaves; test/e2e does the same on a real one.
func TestChain(t *testing.T) {
	t.Parallel()
	anonifytest.Run(t, anonifytest.Driver{Prepare: fake})
}

// wires is an HTTP transport to a handler in this process.
type wires struct{ http.Handler }

func (w wires) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// fake is a chain that makes a block for every transaction; its clock begins in January 2027.
func fake(t *testing.T, o *ledgertest.Options) func(wire.Hash) {
	var handler wires
	var id wire.Hash
	begun := time.Now()
	o.Now = func() time.Time { return time.Unix(1_800_000_000, 0).Add(time.Since(begun)) }
	chain := anonifytest.Chain{
		Endpoint: "http://chain", HTTP: &http.Client{Transport: &handler}, ID: 1337, Contract: ethereum.Address{0xc0}, Poll: 10 * time.Millisecond,
	}
	for i := range byte(4) {
		k, err := ethereum.NewKey(bytes.NewReader(bytes.Repeat([]byte{i + 1}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		chain.Keys = append(chain.Keys, k)
	}
	chain.Use(t, o, func() wire.Hash { return id })
	return func(l wire.Hash) {
		id = l
		handler.Handler = fakechain.NewEndpoint(fakechain.New(fakechain.Options{
			ChainID: chain.ID, Contract: chain.Contract, Ledger: l, MaxRecord: 64 << 10, AtOnce: true, BaseFee: 1_000_000_000,
		}))
	}
}
