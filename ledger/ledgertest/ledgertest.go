// Package ledgertest runs applications in tests, without a ledger around them: each call is a position
// with one command, and nonces count by themselves.
package ledgertest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"testing"

	"hitoku.dev/internal/ledger/state"
	"hitoku.dev/ledger"
)

// Ledger is a machine with a state, at a position and a time.
type Ledger struct {
	Machine *ledger.Machine
	Tree    *state.Tree
	Block   ledger.Block
	App     string // the application that Do and Ask speak to
	Events  []ledger.Event
	t       testing.TB
}

// New starts with an empty state, at position 0 and a fixed time, and speaks to the first application. A
// panic in an application is logged with the test.
func New(t testing.TB, apps ...*ledger.App) *Ledger {
	t.Helper()
	m, err := ledger.NewMachine(apps...)
	if err != nil {
		t.Fatal(err)
	}
	m.Panicked = func(app, name string, value any) { t.Logf("application %s, %s: panic: %v", app, name, value) }
	return &Ledger{Machine: m, Tree: new(state.Tree), Block: ledger.Block{Time: 1_800_000_000}, App: apps[0].Name, t: t}
}

// Account is a test's account: the same for the same name, as if from an Ed25519 key.
func Account(name string) ledger.AccountID {
	key := sha256.Sum256([]byte(name))
	id, _ := ledger.AccountOf(ledger.SchemeEd25519, key[:])
	return id
}

// Do executes a command of account at the next position, with the account's next nonce. args is marshalled
// to JSON, unless it is a string, which is JSON already. Events are those of this command.
func (l *Ledger) Do(account ledger.AccountID, name string, args any) ledger.Outcome {
	l.t.Helper()
	l.Block.Position++
	var position [8]byte
	binary.BigEndian.PutUint64(position[:], l.Block.Position)
	l.Block.Random = sha256.Sum256(position[:])
	tx := l.Tree.Begin()
	out := l.Machine.Execute(l.Block, 0, tx, ledger.CommandCall{
		App: l.App, Scheme: scheme(account), Account: account, Name: name, Args: l.json(args),
		Nonce: l.Machine.Counter(l.Tree, l.App, account) + 1, ExpiresAt: l.Block.Position,
	})
	l.Tree, l.Events = tx.Commit(), out.Events
	return out
}

// Must is Do for a command that has to succeed.
func (l *Ledger) Must(account ledger.AccountID, name string, args any) ledger.Outcome {
	l.t.Helper()
	out := l.Do(account, name, args)
	if err := out.Err(); err != nil {
		l.t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

// Refuses is Do for a command that has to be refused with code and message.
func (l *Ledger) Refuses(account ledger.AccountID, name string, args any, code uint16, message string) {
	l.t.Helper()
	out := l.Do(account, name, args)
	if out.Code != code || out.Message != message {
		l.t.Errorf("%s %v: %s %q, want %s %q", name, args, ledger.CodeWord(out.Code), out.Message, ledger.CodeWord(code), message)
	}
}

// Ask answers a query of account; the answer is JSON.
func (l *Ledger) Ask(account ledger.AccountID, name string, args any) ledger.Outcome {
	l.t.Helper()
	return l.Machine.Query(l.Block, l.Tree, ledger.QueryCall{
		App: l.App, Scheme: scheme(account), Account: account, Name: name, Args: l.json(args),
	})
}

// Answers checks that a query succeeds with the JSON want.
func (l *Ledger) Answers(account ledger.AccountID, name string, args any, want string) {
	l.t.Helper()
	if out := l.Ask(account, name, args); !out.OK() || string(out.Result) != want {
		l.t.Errorf("%s %v: %s (%v), want %s", name, args, out.Result, out.Err(), want)
	}
}

func (l *Ledger) json(args any) []byte {
	l.t.Helper()
	if s, ok := args.(string); ok {
		return []byte(s)
	}
	if args == nil {
		return nil
	}
	b, err := json.Marshal(args)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func scheme(account ledger.AccountID) uint8 {
	if [12]byte(account[:12]) == [12]byte{} {
		return ledger.SchemeNone
	}
	return ledger.SchemeEd25519
}
