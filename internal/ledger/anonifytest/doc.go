// Package anonifytest runs the integration tests of Anonify, with their numbers, against
// ledgers of this project, through REST, and the cases that Anonify fails or has commented
// out. It is the same for every order of records: a test calls Run with a Driver.
//
// docs/ledger-anonify.md says which test became which, and what was dropped. Anonify's two
// modes (one enclave key, and TreeKEM) are one here: group keys always. What was a mode is a
// form: Signed accounts send commands that they signed, Claimed ones send Anonify's own
// crypto_box requests, written by hand as its clients write them.
//
// Nothing outside tests imports it.
package anonifytest

import (
	"fmt"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

// Run runs every test on ledgers that a driver orders.
func Run(t *testing.T, d Driver) {
	for _, f := range []form{signed, claimed} {
		t.Run(f.name, func(t *testing.T) {
			for name, check := range map[string]func(world){
				"UserID": checkUserID, "MultipleMessages": checkMultipleMessages,
				"SkipInvalidEvent": checkSkipInvalid, "DuplicatedOutOfOrder": checkDuplicated,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					check(d.start(t, f, ledgertest.Options{}))
				})
			}
		})
	}
	for name, check := range map[string]func(*testing.T, Driver){
		"Health": checkHealth, "Recovery": checkRecovery, "JoinThenRotate": checkJoinThenRotate,
		"Vault": checkVault, "VaultLost": checkVaultLost, "NodeLost": checkNodeLost,
		"Calls": checkCalls, "Refused": checkRefused, "BoxForm": checkBoxForm,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, d)
		})
	}
}

// form is how accounts speak to nodes.
type form struct {
	name    string
	app     *ledger.App
	flags   uint8
	account func(w world) account
}

var (
	signed  = form{"Signed", erc20.App, 0, newSigned}
	claimed = form{"Claimed", erc20.AnonifyApp, wire.GenesisCryptoBox, newClaimed}
)

// world is a ledger whose accounts speak one form to one application.
type world struct {
	*ledgertest.Cluster
	t   *testing.T
	f   form
	app string
	now func() time.Time
}

// account makes one.
func (w world) account() account { return w.f.account(w) }

// owner is an account that has constructed a supply of 100, by its command number 1.
func (w world) owner() account {
	w.t.Helper()
	a := w.account()
	wantOK(w.t, a.send(0, 1, "construct", `{"total_supply":100}`))
	return a
}

// one is a ledger of a node with many tokens: each test has one of its own.
func (d Driver) one(t *testing.T, tokens int) (on func(t *testing.T, token int) world) {
	t.Helper()
	var o ledgertest.Options
	for i := range tokens {
		a := *erc20.App
		a.Name = fmt.Sprint("erc20-", i)
		o.Apps = append(o.Apps, &a)
	}
	w := d.start(t, signed, o)
	return func(t *testing.T, token int) world {
		w := w
		w.t, w.app = t, o.Apps[token].Name
		return w
	}
}
