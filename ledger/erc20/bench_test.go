package erc20_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"hitoku.dev/internal/ledger/state"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

// BenchmarkTransfers executes a block of 1,024 transfers between 100,000 accounts and takes the new root.
func BenchmarkTransfers(b *testing.B) {
	m, err := ledger.NewMachine(erc20.App)
	if err != nil {
		b.Fatal(err)
	}
	account := func(i uint64) ledger.AccountID {
		return sha256.Sum256(binary.BigEndian.AppendUint64(nil, i%100_000))
	}
	tx, nonce := new(state.Tree).Begin(), uint64(0)
	run := func(who ledger.AccountID, nonce uint64, name, args string) {
		out := m.Execute(ledger.Block{}, 0, tx, ledger.CommandCall{App: "erc20", Scheme: ledger.SchemeEd25519, Account: who, Nonce: nonce, Name: name, Args: []byte(args)})
		if !out.OK() {
			b.Fatal(out.Err())
		}
	}
	run(account(0), 1, "construct", `{"total_supply":1000000000000}`)
	for i := range uint64(100_000) {
		run(account(0), i+2, "transfer", fmt.Sprintf(`{"recipient":%q,"amount":1000000}`, account(i)))
	}
	tree := tx.Commit()
	for b.Loop() {
		nonce++
		tx = tree.Begin()
		for i := range uint64(1024) {
			who := account(1 + 89*i)
			run(who, nonce, "transfer", fmt.Sprintf(`{"recipient":%q,"amount":1}`, account(7919*i+nonce)))
		}
		tree = tx.Commit()
		tree.Root()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*1024), "µs/transfer")
}
