package hosttest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"hitoku.dev/ledger"
	"hitoku.dev/ledger/client"
)

// Account is an Ed25519 key that signs commands; it implements client.Signer.
type Account struct{ key ed25519.PrivateKey }

// NewAccount draws a key.
func NewAccount(tb testing.TB) Account {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return Account{key}
}

func (a Account) Scheme() uint8                       { return ledger.SchemeEd25519 }
func (a Account) PublicKey() []byte                   { return a.key.Public().(ed25519.PublicKey) }
func (a Account) Sign(message []byte) ([]byte, error) { return ed25519.Sign(a.key, message), nil }

// ID is the account id.
func (a Account) ID() ledger.AccountID {
	id, err := ledger.AccountOf(a.Scheme(), a.PublicKey())
	if err != nil {
		panic(err) // a key of Ed25519
	}
	return id
}

// Canaries plays ERC-20 with three accounts and random amounts of eight bytes, and remembers all
// that a host must not learn of it: amounts, balances, account ids, their keys.
type Canaries struct {
	Secrets  Secrets
	Commands int // executed

	tb       testing.TB
	accounts []Account
	balances []uint64
	supply   uint64
	last     client.Command
}

// Plain is the last command in the clear, as a node would see and might write it down.
func (k *Canaries) Plain() []byte { return k.last.Signed }

// NewCanaries draws the accounts.
func NewCanaries(tb testing.TB) *Canaries {
	tb.Helper()
	k := &Canaries{tb: tb, balances: make([]uint64, 3)}
	for i := range k.balances {
		a := NewAccount(tb)
		id := a.ID()
		k.accounts = append(k.accounts, a)
		k.Secrets.Bytes(fmt.Sprintf("account %d's id", i), id[:])
		k.Secrets.Bytes(fmt.Sprintf("account %d's private key", i), a.key.Seed())
		k.Secrets.Bytes(fmt.Sprintf("account %d's public key", i), a.PublicKey())
	}
	return k
}

// amount draws a number between 2^57 and 2^58, and sets bits.
func (k *Canaries) amount(what string, set uint64) uint64 {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		k.tb.Fatal(err)
	}
	n := binary.BigEndian.Uint64(b[:])>>7 | 1<<57 | set
	k.Secrets.Number(fmt.Sprintf("%s %d", what, n), n)
	return n
}

// Construct issues the token to the first account.
func (k *Canaries) Construct(ctx context.Context, c *client.Client) {
	k.tb.Helper()
	k.supply = k.amount("supply", 1<<63)
	k.balances[0] = k.supply
	k.do(ctx, c, 0, ledger.CodeOK, "construct", `{"total_supply":%d}`, k.supply)
}

// Fund mints the same amount, which need not be secret, to anybody, in one batch.
func (k *Canaries) Fund(ctx context.Context, c *client.Client, amount uint64, to ...ledger.AccountID) {
	k.tb.Helper()
	var calls []client.Call
	for _, id := range to {
		calls = append(calls, client.Call{Application: "erc20", Name: "mint", Arguments: fmt.Appendf(nil, `{"recipient":"%s","amount":%d}`, hex.EncodeToString(id[:]), amount)})
	}
	commands, out, err := c.Do(ctx, k.accounts[0], calls...)
	if err != nil {
		k.tb.Fatalf("mint: %v", err)
	}
	for i, o := range out {
		if o.Code != ledger.CodeOK || !o.Committed {
			k.tb.Fatalf("mint %d of %d: %+v, wanted %s", i+1, len(out), o, ledger.CodeWord(ledger.CodeOK))
		}
		k.supply += amount
	}
	k.Commands += len(commands)
}

// Supply is the total supply.
func (k *Canaries) Supply() uint64 { return k.supply }

// Balances is the sum of what the canaries' accounts have.
func (k *Canaries) Balances() (sum uint64) {
	for _, b := range k.balances {
		sum += b
	}
	return sum
}

// Play makes every kind of call with new amounts: commands that succeed and fail, questions, notifications, a receipt.
func (k *Canaries) Play(ctx context.Context, c *client.Client) {
	k.tb.Helper()
	stream, err := c.Watch(ctx, k.accounts[1], "erc20")
	if err != nil {
		k.tb.Fatal(err)
	}
	defer stream.Close()
	paid, granted, drawn, minted, burnt := k.amount("transfer", 0), k.amount("approve", 1<<62), k.amount("transferFrom", 0), k.amount("mint", 0), k.amount("burn", 0)
	k.Secrets.Number("rest of the allowance", granted-drawn)
	last := k.do(ctx, c, 0, ledger.CodeOK, "transfer", `{"recipient":"%s","amount":%d}`, k.id(1), paid)
	k.move(0, 1, paid)
	if _, err := stream.Next(ctx); err != nil {
		k.tb.Fatal(err)
	}
	k.do(ctx, c, 1, ledger.CodeRefused, "transfer", `{"recipient":"%s","amount":%d}`, k.id(0), k.amount("too much", 1<<63))
	k.do(ctx, c, 0, ledger.CodeOK, "approve", `{"spender":"%s","amount":%d}`, k.id(2), granted)
	k.do(ctx, c, 2, ledger.CodeOK, "transferFrom", `{"owner":"%s","recipient":"%s","amount":%d}`, k.id(0), k.id(1), drawn)
	k.move(0, 1, drawn)
	k.do(ctx, c, 0, ledger.CodeOK, "mint", `{"recipient":"%s","amount":%d}`, k.id(2), minted)
	k.balances[2] += minted
	k.do(ctx, c, 0, ledger.CodeOK, "burn", `{"amount":%d}`, burnt)
	k.balances[0] -= burnt
	k.supply += minted - burnt
	k.Check(ctx, c)
	if _, _, err := c.Receipt(ctx, k.accounts[0], last); err != nil {
		k.tb.Fatal(err)
	}
}

// Check asks for all balances and the supply.
func (k *Canaries) Check(ctx context.Context, c *client.Client) {
	k.tb.Helper()
	k.Secrets.Number("supply", k.supply)
	for i, want := range k.balances {
		k.ask(ctx, c, i, "balanceOf", want)
	}
	k.ask(ctx, c, 0, "totalSupply", k.supply)
}

func (k *Canaries) move(from, to int, amount uint64) {
	k.balances[from] -= amount
	k.balances[to] += amount
	for i, n := range k.balances {
		if n >= 1<<56 {
			k.Secrets.Number(fmt.Sprintf("balance of account %d", i), n)
		}
	}
}

func (k *Canaries) id(i int) string {
	id := k.accounts[i].ID()
	return hex.EncodeToString(id[:])
}

func (k *Canaries) do(ctx context.Context, c *client.Client, who int, code uint16, name, args string, a ...any) client.Command {
	k.tb.Helper()
	commands, out, err := c.Do(ctx, k.accounts[who], client.Call{Application: "erc20", Name: name, Arguments: fmt.Appendf(nil, args, a...)})
	if err != nil {
		k.tb.Fatalf("%s: %v", name, err)
	}
	if out[0].Code != code || !out[0].Committed {
		k.tb.Fatalf("%s: %+v, wanted %s", name, out[0], ledger.CodeWord(code))
	}
	k.Commands++
	k.last = commands[0]
	return commands[0]
}

func (k *Canaries) ask(ctx context.Context, c *client.Client, who int, name string, want uint64) {
	k.tb.Helper()
	a, err := c.Query(ctx, k.accounts[who], client.Call{Application: "erc20", Name: name, Arguments: []byte("{}")}, true)
	if err != nil {
		k.tb.Fatalf("%s: %v", name, err)
	}
	if string(a.Result) != fmt.Sprint(want) {
		k.tb.Fatalf("%s of account %d: %s, wanted %d", name, who, a.Result, want)
	}
}
