package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/app"
)

// Proof is what a JOIN carries to prove its incarnation.
type Proof struct {
	Evidence   []byte // in the TEE's own format
	Binding    []byte // DER of the attest.Binding that the evidence is made over
	Collateral []byte // canonical JSON, see [EncodeCollateral]; empty when there is none
}

// Attester makes proofs about the program that it runs in.
type Attester interface {
	// Evidence returns evidence of purpose `app` over a subject and a nonce of 32 bytes each.
	Evidence(ctx context.Context, subject, nonce [32]byte) (*Proof, error)
}

// Sealer derives keys that only the same program on the same platform gets again.
type Sealer interface {
	// SealKey returns a 32-byte key, bound to the measurement; another label gives another key.
	SealKey(ctx context.Context, label [32]byte) ([]byte, error)
}

// CollateralFunc returns the collateral for a piece of evidence, as [EncodeCollateral]
// writes it. It may come from the host: the judges verify it.
type CollateralFunc func(ctx context.Context, evidence []byte) ([]byte, error)

// ErrProof is wrapped by the errors of evidence that does not say what was asked for.
var ErrProof = errors.New("the TEE's side gave evidence for something else")

// TEE is an [Attester] and [Sealer] over a TEE that has measured this program itself.
type TEE struct {
	tee        enclave.TEE
	collateral CollateralFunc
}

var (
	_ Attester = (*TEE)(nil)
	_ Sealer   = (*TEE)(nil)
	_ Attester = (*App)(nil)
	_ Sealer   = (*App)(nil)
)

// FromTEE uses an open TEE, in which this program is measured already. A nil
// collateral means none.
func FromTEE(tee enclave.TEE, collateral CollateralFunc) *TEE {
	return &TEE{tee: tee, collateral: collateral}
}

// Evidence implements [Attester].
func (t *TEE) Evidence(ctx context.Context, subject, nonce [32]byte) (*Proof, error) {
	b := &attest.Binding{Purpose: attest.PurposeApp, Subject: subject, Nonce: nonce[:]}
	der, err := b.MarshalDER()
	if err != nil {
		return nil, err
	}
	evidence, err := t.tee.Evidence(ctx, b)
	if err != nil {
		return nil, err
	}
	return finish(ctx, evidence, der, subject, nonce, t.collateral)
}

// SealKey implements [Sealer]. The key has security version 0: the measurement tells
// programs apart, so a program signed anew with a higher version keeps its keys.
func (t *TEE) SealKey(ctx context.Context, label [32]byte) ([]byte, error) {
	key, err := t.tee.SealKey(ctx, enclave.SealRequest{KeyID: label})
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("sealing key has %d bytes, wanted 32", len(key))
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

// App is an [Attester] and [Sealer] inside a converted image, through its guest.
type App struct {
	socket     string
	collateral CollateralFunc
}

// FromApp asks the guest at a socket, usually [app.Socket]. A nil collateral means none.
func FromApp(socket string, collateral CollateralFunc) *App {
	return &App{socket: socket, collateral: collateral}
}

// Evidence implements [Attester].
func (a *App) Evidence(ctx context.Context, subject, nonce [32]byte) (*Proof, error) {
	e, err := app.Get(ctx, a.socket, subject, nonce[:])
	if err != nil {
		return nil, err
	}
	return finish(ctx, e.Quote, e.Binding, subject, nonce, a.collateral)
}

// SealKey implements [Sealer]. The guest binds the key to the program's arguments and
// environment too: a vault must be started again as it was.
func (a *App) SealKey(ctx context.Context, label [32]byte) ([]byte, error) {
	return app.SealKey(ctx, a.socket, label)
}

// finish compares what came with what was asked for, so that an error shows here and
// not at every judge, and adds the collateral.
func finish(ctx context.Context, evidence, binding []byte, subject, nonce [32]byte, collateral CollateralFunc) (*Proof, error) {
	b, err := attest.ParseBinding(binding)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if err := checkStatement(b, subject, nonce); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if err := checkReportData(evidence, b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	p := &Proof{Evidence: evidence, Binding: binding}
	if collateral == nil {
		return p, nil
	}
	if p.Collateral, err = collateral(ctx, evidence); err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	if _, err := ParseCollateral(p.Collateral); err != nil {
		return nil, err
	}
	return p, nil
}

// checkStatement compares what a binding states.
func checkStatement(b *attest.Binding, subject, nonce [32]byte) error {
	switch {
	case b.Purpose != attest.PurposeApp:
		return fmt.Errorf("purpose %q, wanted %q", b.Purpose, attest.PurposeApp)
	case b.Subject != subject:
		return fmt.Errorf("subject %x…, wanted %x…", b.Subject[:8], subject[:8])
	case !bytes.Equal(b.Nonce, nonce[:]):
		return fmt.Errorf("nonce %x…, wanted %x…", b.Nonce[:8], nonce[:8])
	}
	return nil
}

// checkReportData compares the report data of a quote with its binding. It verifies
// no signature.
func checkReportData(evidence []byte, b *attest.Binding) error {
	if len(evidence) > MaxEvidence {
		return fmt.Errorf("evidence of %d bytes, at most %d allowed", len(evidence), MaxEvidence)
	}
	q, err := dcap.ParseQuote(evidence)
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	seen, wanted := q.Report.ReportData, b.ReportData()
	if q.TD != nil {
		seen = q.TD.ReportData
	}
	if seen != wanted {
		return fmt.Errorf("evidence over report data %x…, wanted %x…, which the binding gives", seen[:8], wanted[:8])
	}
	return nil
}
