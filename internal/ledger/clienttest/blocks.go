package clienttest

import (
	"bytes"
	"crypto/ed25519"

	"hitoku.dev/internal/ledger/merkle"
	"hitoku.dev/internal/ledger/wire"
)

// block is a position with commands.
type block struct {
	position uint64
	time     uint64
	items    [][]byte
	outcomes []wire.Outcome
	blinds   []wire.Hash
	leaves   [][]byte
	root     wire.Hash
	before   wire.Hash
	check    wire.Checkpoint
	signers  []*Incarnation // executors of the epoch
}

// place is where a command was executed.
type place struct{ block, index int }

// Execute makes a position of signed commands with their outcomes, committed by all executors.
func (l *Ledger) Execute(items [][]byte, outcomes []wire.Outcome) uint64 {
	l.tb.Helper()
	fresh := make([]byte, 64)
	l.read(fresh)
	b := &block{position: l.append(fresh), items: items, outcomes: outcomes}
	b.time = l.time
	for i, item := range items {
		var blind wire.Hash
		l.read(blind[:])
		b.blinds = append(b.blinds, blind)
		b.leaves = append(b.leaves, wire.Leaf(l.ID, b.position, uint32(i), wire.SignedHash(item), outcomes[i], blind))
		l.executed[wire.SignedHash(item)] = place{len(l.blocks), i}
	}
	b.root = merkle.Root(b.leaves)
	if n := len(l.blocks); n > 0 {
		b.before = l.blocks[n-1].check.Outcomes
	}
	b.check = wire.Checkpoint{Position: b.position, Chain: l.chains[b.position], Outcomes: wire.NextOutcomes(b.before, b.root), Epoch: l.t}
	l.read(b.check.Digest[:])
	for _, m := range l.Members {
		if m.Kind == wire.KindExecutor {
			b.signers = append(b.signers, m)
		}
	}
	l.blocks = append(l.blocks, b)
	return b.position
}

// SignCheckpoint has an incarnation sign a checkpoint.
func (l *Ledger) SignCheckpoint(in *Incarnation, c wire.Checkpoint) wire.ReceiptSignature {
	return wire.ReceiptSignature{Incarnation: wire.HexHash(in.ID), Signature: wire.Base64Signature(ed25519.Sign(in.Key, wire.CheckpointMessage(l.ID, in.ID, c)))}
}

// result is what a client learns of an executed command.
func (l *Ledger) result(p place) wire.Result {
	b := l.blocks[p.block]
	return wire.Result{
		Status: wire.StatusCommitted, Outcome: b.outcomes[p.index], Position: b.position, Index: uint32(p.index), Count: uint32(len(b.items)),
		Blind: b.blinds[p.index], Proof: merkle.Proof(b.leaves, p.index),
	}
}

// Receipt is the receipt of a command of block n (from 0), under the checkpoint of block under.
func (l *Ledger) Receipt(n, index, under int) wire.Receipt {
	b, u := l.blocks[n], l.blocks[under]
	r := wire.Receipt{
		Format: wire.ReceiptFormat, Ledger: wire.HexHash(l.ID), Control: l.Control(), Command: bytes.Clone(b.items[index]), Outcome: b.outcomes[index].Encode(),
		Position: b.position, Index: uint32(index), Blind: wire.Base64Hash(b.blinds[index]), Count: uint32(len(b.items)), Before: wire.Base64Hash(b.before),
		Checkpoint: u.check.Encode(), OrderAssurance: "operator",
	}
	for _, h := range merkle.Proof(b.leaves, index) {
		r.Proof = append(r.Proof, wire.Base64Hash(h))
	}
	for _, later := range l.blocks[n+1 : under+1] {
		r.After = append(r.After, wire.Base64Hash(later.root))
	}
	for _, in := range u.signers {
		r.Signatures = append(r.Signatures, l.SignCheckpoint(in, u.check))
	}
	return r
}

// Command signs a command with an Ed25519 key.
func (l *Ledger) Command(key ed25519.PrivateKey, nonce uint64, name, args string) []byte {
	pk := public(key)
	c := wire.Command{
		Ledger: l.ID, Application: "echo", Scheme: wire.SchemeEd25519, Key: pk[:], Nonce: nonce, ExpiresAt: 1 << 40, Name: name, Arguments: []byte(args),
	}
	return wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(key, c.Message())}.Encode()
}
