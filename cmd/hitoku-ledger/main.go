// Command hitoku-ledger is a ledger node with the token and the auction, and the
// token in the form that Anonify's clients know. A ledger has those that its genesis
// names. It runs
// inside a TEE; `hitoku ledger node` and `hitoku ledger vault` start it under the
// simulated one, and docs/ledger.md says how it runs in a converted image.
//
// Its file is what is measured: build it with the flags in the Makefile.
package main

import (
	"hitoku.dev/ledger/auction"
	"hitoku.dev/ledger/erc20"
	"hitoku.dev/ledger/ledgerd"
)

func main() { ledgerd.Main(erc20.App, auction.App, erc20.AnonifyApp) }
