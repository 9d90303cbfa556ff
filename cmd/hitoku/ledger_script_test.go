package main

import (
	"encoding/hex"
	"encoding/pem"
	"os"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/ledgertest"
)

// startLedger runs three executors (slots 0 to 2) and a vault inside this process, and sets $LEDGER, $NODE1 to $NODE3,
// $ROOT, a file with their simulated root, $GENESIS, and files of private keys: $ADMIN1 to $ADMIN3 (two must sign) and
// $OPERATOR, of slot 0.
func startLedger(t *testing.T) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1})
		root := ts.MkAbs("simulated.pem")
		ts.Check(os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.World.Authority.Root().Raw}), 0o600))
		ts.Setenv("LEDGER", hex.EncodeToString(c.Ledger[:]))
		ts.Setenv("ROOT", root)
		genesis := ts.MkAbs("genesis")
		ts.Check(os.WriteFile(genesis, c.Genesis.Encode(), 0o600))
		ts.Setenv("GENESIS", genesis)
		for i, key := range append(slices.Clone(c.Admins), c.Nodes[0].Operator) {
			name := []string{"ADMIN1", "ADMIN2", "ADMIN3", "OPERATOR"}[i]
			file := ts.MkAbs(name + ".key")
			ts.Check(keyfile.Write(file, key))
			ts.Setenv(name, file)
		}
		ts.Setenv("NODE1", c.Nodes[0].URL)
		ts.Setenv("NODE2", c.Nodes[1].URL)
		ts.Setenv("NODE3", c.Nodes[2].URL)
		ts.Defer(c.Stop)
	}
}
