//go:build e2e

package e2e

import (
	"bufio"
	"crypto/rand"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/anonifytest"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
)

// TestAnonifyOnDevelopmentChain runs Anonify's tests on hitoku-devchain: each ledger has a
// contract of its own there, and each node an account that may submit.
func TestAnonifyOnDevelopmentChain(t *testing.T) {
	const slots, ledgers = 4, 20
	draw := func() *ethereum.Key {
		k, err := ethereum.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	args := []string{"--data", t.TempDir(), "--listen", "127.0.0.1:0"}
	sets := make(chan []*ethereum.Key, ledgers) // the last key of a set makes the contract
	for range ledgers {
		var set []*ethereum.Key
		for range slots + 1 {
			k := draw()
			set = append(set, k)
			args = append(args, "--fund", k.Address().String()+"=1000")
		}
		sets <- set
	}
	close(sets)
	url := devchain(t, args)
	anonifytest.Run(t, anonifytest.Driver{Prepare: func(t *testing.T, o *ledgertest.Options) func(wire.Hash) {
		set, ok := <-sets
		if !ok {
			t.Fatalf("more than %d ledgers; fund accounts for more", ledgers)
		}
		// Every ledger of the test has a client of its own: no connection outlives its ledger.
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport}
		const chainID, poll = 1337, 20 * time.Millisecond
		d := &ethereum.Deployer{Endpoint: url, ChainID: chainID, Key: set[slots], HTTP: client, Poll: poll}
		contract, nonce, err := d.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var id wire.Hash
		anonifytest.Chain{Endpoint: url, HTTP: client, ID: chainID, Contract: contract, Poll: poll, Keys: set}.Use(t, o, func() wire.Hash { return id })
		terms := ethereum.Terms{MaxRecord: int(o.EntryMax), Threshold: 1, Signers: []ethereum.Address{d.Key.Address()}}
		for _, k := range set[:slots] {
			terms.Submitters = append(terms.Submitters, k.Address())
		}
		return func(l wire.Hash) {
			id, terms.Ledger = l, l
			if _, err := d.Deploy(t.Context(), terms, nonce); err != nil {
				t.Fatal(err)
			}
		}
	}})
}

// devchain starts the development chain and returns its URL.
func devchain(t *testing.T, args []string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(env(t, "HITOKU_BIN"), "hitoku-devchain"), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its folder goes too
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "JSON-RPC on "); ok {
			go func() { _, _ = io.Copy(io.Discard, out) }() // until it ends
			return url
		}
	}
	t.Fatal("hitoku-devchain ended before it listened")
	return ""
}
