package main

import (
	"encoding/hex"
	"encoding/pem"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"hitoku.dev/internal/ledger/ledgertest"
)

// startLedger runs three executors and a vault inside this process, and sets $LEDGER, $NODE1 to $NODE3 and $ROOT, a
// file with their simulated root.
func startLedger(t *testing.T) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1})
		root := ts.MkAbs("simulated.pem")
		ts.Check(os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.World.Authority.Root().Raw}), 0o600))
		ts.Setenv("LEDGER", hex.EncodeToString(c.Ledger[:]))
		ts.Setenv("ROOT", root)
		ts.Setenv("NODE1", c.Nodes[0].URL)
		ts.Setenv("NODE2", c.Nodes[1].URL)
		ts.Setenv("NODE3", c.Nodes[2].URL)
		ts.Defer(c.Stop)
	}
}
