package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

// lab is a ledger of bare state machines: the log is a list, nothing is on a disk or a network,
// evidence is believed. What is measured on it is what nodes compute.
type lab struct {
	*bed
	file    wire.GenesisFile
	ledger  wire.Hash
	admins  []ed25519.PrivateKey
	ops     []ed25519.PrivateKey
	machine *ledger.Machine
	log     []order.Entry
	nodes   []*replica.Replica
	at      []int // entries delivered, by node
	sent    []map[int]uint64
	asleep  map[int]bool // nodes that are given nothing
}

type believed struct{}

func (believed) Evidence(_ context.Context, subject, nonce [32]byte) (*member.Proof, error) {
	b := attest.Binding{Purpose: attest.PurposeApp, Subject: subject, Nonce: nonce[:]}
	der, err := b.MarshalDER()
	return &member.Proof{Evidence: []byte("believed"), Binding: der}, err
}

func newKey(b *bed) ed25519.PrivateKey {
	_, sk, err := ed25519.GenerateKey(rand.Reader)
	b.check(err)
	return sk
}

func public(sk ed25519.PrivateKey) [32]byte { return [32]byte(sk.Public().(ed25519.PublicKey)) }

func newLab(b *bed, executors, vaults int, entryMax uint32) *lab {
	machine, err := ledger.NewMachine(erc20.App)
	b.check(err)
	l := &lab{bed: b, machine: machine, asleep: map[int]bool{}}
	p := wire.Policy{
		Programs: []wire.Program{{Measurement: bytes.Repeat([]byte{7}, 32)}}, TCBStatuses: []string{"UpToDate"}, Roots: []wire.Hash{{1}},
		Flags: wire.PolicySimulated, EvidenceAge: 1 << 30, Threshold: 1, Admins: nil,
	}
	l.admins = []ed25519.PrivateKey{newKey(b)}
	p.Admins = [][32]byte{public(l.admins[0])}
	for i := range executors + vaults {
		l.ops = append(l.ops, newKey(b))
		kind := wire.KindExecutor
		if i >= executors {
			kind = wire.KindVault
		}
		p.Slots = append(p.Slots, wire.Slot{Slot: uint16(i), Kind: kind, Operator: public(l.ops[i])})
	}
	g := wire.Genesis{
		Suite: wire.SuiteX25519, Name: "bench", Applications: []wire.Application{{Name: erc20.App.Name, Version: erc20.App.Version}},
		Window: 16, AnchorAge: 100_000, PolicyDelay: 2, EntryMax: entryMax, CheckpointEvery: 1 << 20,
		Order: wire.Order{Driver: wire.DriverEmbedded, Finality: wire.FinalityImmediate, Endpoints: 1}, PolicyBytes: p.Encode(),
	}
	l.ledger = g.ID()
	l.file = wire.GenesisFile{Genesis: g.Encode(), Signatures: []wire.AdminSignature{{Signature: [64]byte(ed25519.Sign(l.admins[0], g.Message()))}}}
	for i := range executors + vaults {
		o := replica.Options{
			Genesis: l.file, Slot: uint16(i), Operator: l.ops[i], Attester: believed{}, Random: rand.Reader, Now: time.Now,
			Appraise: func(wire.Join, uint64, wire.Policy, uint64) error { return nil },
		}
		if i < executors {
			o.Machine = machine
		}
		r, err := replica.New(o)
		b.check(err)
		l.nodes, l.at, l.sent = append(l.nodes, r), append(l.at, 0), append(l.sent, map[int]uint64{})
	}
	// All JOINs first, so that one COMMIT takes all in.
	for i, r := range l.nodes {
		r.Tick()
		b.check(r.Join(context.Background()))
		l.submit(i)
	}
	l.nodes, l.at, l.sent = l.nodes[:executors], l.at[:executors], l.sent[:executors] // nobody needs the vaults to follow
	l.until("all run", func() bool {
		return !slices.ContainsFunc(l.nodes, func(r *replica.Replica) bool { st := r.Status(); return !st.Running || st.Committed == 0 })
	})
	return l
}

// submit moves what a node wants to submit to the end of the log.
func (l *lab) submit(i int) {
	for _, s := range l.nodes[i].Outgoing() {
		l.log = append(l.log, order.Entry{Position: uint64(len(l.log)) + 1, Time: 1_800_000_000, Record: s.Record})
	}
}

// deliver gives a node all that it does not have.
func (l *lab) deliver(i int) {
	l.check(l.nodes[i].Apply(l.log[l.at[i]:]...))
	l.at[i] = len(l.log)
}

// round has every node act once.
func (l *lab) round() {
	for i, r := range l.nodes {
		if !l.asleep[i] {
			r.Tick()
			l.submit(i)
		}
	}
	for i := range l.nodes {
		if !l.asleep[i] {
			l.deliver(i)
		}
	}
	for i, from := range l.nodes {
		for j, to := range l.nodes {
			if i == j || l.asleep[i] || l.asleep[j] {
				continue
			}
			for _, c := range from.Checkpoints(l.sent[i][j], 1<<20) {
				l.check(to.Receive(c.Incarnation, c.SignedCheckpoint))
				l.sent[i][j] = c.Checkpoint.Position
			}
		}
	}
	for _, r := range l.nodes {
		if p, ok := r.Proposal(); ok && p.Have < p.Need {
			_ = r.Approve([]wire.AdminSignature{{Signature: [64]byte(ed25519.Sign(l.admins[0], p.Message))}}) // another may have been first
		}
	}
}

func (l *lab) until(what string, ready func() bool) {
	for range 2000 {
		if ready() {
			return
		}
		l.round()
	}
	l.Fatalf("did not come about: %s", what)
}

// epoch is the number of the epoch in force at a node.
func (l *lab) epoch(i int) (n uint64) {
	l.nodes[i].View(func(s *control.State) { n = s.Epoch().Number })
	return n
}

// info is the key that a node gives to clients.
func (l *lab) info(i int) wire.KeyInfo {
	info, _, err := l.nodes[i].KeyInfo()
	l.check(err)
	return info
}
