package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"time"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger/erc20"
)

// account is a client's.
type account struct {
	key   ed25519.PrivateKey
	id    [32]byte
	nonce uint64
}

func newAccount(b *bed) *account {
	a := &account{key: newKey(b)}
	pk := public(a.key)
	a.id = wire.AccountID(wire.SchemeEd25519, pk[:])
	return a
}

// command signs the account's next command.
func (a *account) command(ledger wire.Hash, app, name, args string) []byte {
	a.nonce++
	pk := public(a.key)
	c := wire.Command{
		Ledger: ledger, Application: app, Scheme: wire.SchemeEd25519, Key: pk[:], Nonce: a.nonce, ExpiresAt: 1 << 40, Name: name, Arguments: []byte(args),
	}
	return wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(a.key, c.Message())}.Encode()
}

func (a *account) transfer(ledger wire.Hash, to [32]byte) []byte {
	return a.command(ledger, erc20.App.Name, "transfer", fmt.Sprintf(`{"recipient":"%x","amount":1}`, to))
}

func (a *account) question(ledger wire.Hash, name string) []byte {
	pk := public(a.key)
	q := wire.Query{
		Kind: wire.KindQuery, Ledger: ledger, Application: erc20.App.Name, Scheme: wire.SchemeEd25519, Key: pk[:],
		NotAfter: uint64(time.Now().Unix()) + 55, Name: name,
	}
	_, _ = rand.Read(q.ID[:]) // never fails
	return wire.Signed{Body: q.Encode(), Signature: ed25519.Sign(a.key, q.Message())}.Encode()
}

// replyBucket is a power of two in which the results of so many commands fit, with their proofs.
func replyBucket(commands int) uint32 {
	size := uint32(1024)
	for size < uint32(commands)*600 {
		size *= 2
	}
	return size
}

// seal seals items for a node, good for an hour.
func seal(b *bed, info wire.KeyInfo, kind uint8, bucket uint32, items ...[]byte) ([]byte, *keys.ReplyOpener) {
	q, opener, err := keys.SealRequest(keys.RequestOptions{
		Suite: wire.SuiteX25519, Info: info, Kind: kind, NotAfter: uint64(time.Now().Unix()) + 3600,
		Payload: wire.Payload{FloorPosition: info.Position, FloorChain: info.Chain, ReplyBucket: bucket, Items: items},
	})
	b.check(err)
	return q.Encode(), opener
}

// sealed is what one client sends, one request after the other.
type sealed struct {
	requests [][]byte
	openers  []*keys.ReplyOpener
}

// prepare has an account sign transfers to another, and seals them, so many to a request.
func prepare(b *bed, ledger wire.Hash, info wire.KeyInfo, from *account, to [32]byte, requests, each int) *sealed {
	s := &sealed{}
	for range requests {
		var items [][]byte
		for range each {
			items = append(items, from.transfer(ledger, to))
		}
		q, o := seal(b, info, wire.RequestCommands, replyBucket(each), items...)
		s.requests, s.openers = append(s.requests, q), append(s.openers, o)
	}
	return s
}

// committed checks that all commands of a reply were executed.
func committed(reply []byte, opener *keys.ReplyOpener) error {
	p, err := wire.ParseReply(reply)
	if err != nil {
		return err
	}
	body, err := opener.Open(p)
	if err != nil {
		return err
	}
	for _, r := range body.Results {
		if r.Status != wire.StatusCommitted || r.Outcome.Code != 0 {
			return fmt.Errorf("status %d, outcome %d %s", r.Status, r.Outcome.Code, r.Outcome.Message)
		}
	}
	return nil
}
