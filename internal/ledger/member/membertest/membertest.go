// Package membertest makes proofs of ledger nodes for tests: genuine quotes of
// simulated machines, with collateral, for any program, honest or not. Everything
// follows from a seed. Nothing outside tests imports it.
package membertest

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	mathrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/internal/manager/issue/issuetest"
)

// World is a simulated maker of TEEs at a time.
type World struct {
	Authority *authority.Authority
	// Identity is the approved program, of security version 4.
	Identity issuetest.Identity

	tb   testing.TB
	seed byte
	mu   sync.Mutex
	now  time.Time
}

// New makes a world from a seed.
func New(tb testing.TB, seed byte, now time.Time) *World {
	tb.Helper()
	a, err := authority.New(mathrand.NewChaCha8([32]byte{seed}), now)
	if err != nil {
		tb.Fatal(err)
	}
	return &World{
		Authority: a, tb: tb, seed: seed, now: now,
		Identity: issuetest.Identity{Measurement: sha256.Sum256([]byte("ledger node")), Signer: sha256.Sum256([]byte("its author")), ProdID: 4, SVN: 4},
	}
}

// Now is the world's time, of which the collateral in proofs is.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// SetNow moves the world's time.
func (w *World) SetNow(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// Root is what a policy lists as root.
func (w *World) Root() wire.Hash {
	return attest.SPKIHash(w.Authority.Root().RawSubjectPublicKeyInfo)
}

// Program is the line of a policy that approves an identity.
func Program(id issuetest.Identity) wire.Program {
	return wire.Program{Measurement: id.Measurement[:], Signer: id.Signer[:], MinSVN: id.SVN}
}

// Approve fills in what of a policy is about evidence: the world's program and root,
// status UpToDate, evaluation number 1, and an age of seven days.
func (w *World) Approve(p *wire.Policy) {
	p.Programs = []wire.Program{Program(w.Identity)}
	p.TCBStatuses = []string{"UpToDate"}
	p.MinEvaluation = 1
	p.Roots = []wire.Hash{w.Root()}
	p.Flags |= wire.PolicySimulated
	p.EvidenceAge = 7 * 24 * 60 * 60
}

// Attester is a node's TEE on a machine.
type Attester struct {
	w       *World
	machine *issuetest.Machine
	id      issuetest.Identity
	number  byte
}

var (
	_ member.Attester = (*Attester)(nil)
	_ member.Sealer   = (*Attester)(nil)
)

// Attester is the TEE of an identity on machine n; the same number is the same machine.
func (w *World) Attester(n byte, id issuetest.Identity) *Attester {
	w.tb.Helper()
	m := issuetest.NewMachineFrom(w.tb, n, mathrand.NewChaCha8([32]byte{w.seed, 1, n}))
	m.Certify(w.tb, w.Authority, w.Now())
	return &Attester{w: w, machine: m, id: id, number: n}
}

// Evidence implements [member.Attester].
func (a *Attester) Evidence(_ context.Context, subject, nonce [32]byte) (*member.Proof, error) {
	b := &attest.Binding{Purpose: attest.PurposeApp, Subject: subject, Nonce: nonce[:]}
	return a.Prove(b), nil
}

// Prove makes a proof over any binding.
func (a *Attester) Prove(b *attest.Binding) *member.Proof {
	a.w.tb.Helper()
	quote, der := a.machine.Evidence(a.w.tb, a.id, b)
	return &member.Proof{Evidence: quote, Binding: der, Collateral: a.w.Collateral()}
}

// Collateral is the world's at its time, as a JOIN carries it.
func (w *World) Collateral() []byte {
	w.tb.Helper()
	c, err := w.Authority.Collateral(w.Now())
	if err != nil {
		w.tb.Fatal(err)
	}
	raw, err := member.EncodeCollateral(c)
	if err != nil {
		w.tb.Fatal(err)
	}
	return raw
}

// SealKey implements [member.Sealer].
func (a *Attester) SealKey(_ context.Context, label [32]byte) ([]byte, error) {
	secret := []byte{a.w.seed, a.number}
	return hkdf.Key(sha256.New, append(secret, label[:]...), nil, hex.EncodeToString(a.id.Measurement[:]), 32)
}
