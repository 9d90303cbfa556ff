// Package enclave is what a program inside a TEE may ask of it: evidence for a
// stated purpose, and sealing keys. One interface, a driver per TEE
// (enclave/simtee is the simulated one).
//
// There is no call for a signature over raw bytes (security decision S9): report
// data is always computed by the TEE's side of the driver from an
// [attest.Binding], so that no caller can obtain evidence for another purpose.
package enclave

import (
	"context"

	"hitoku.dev/attest"
)

// TEE is an open connection to the protected place that the caller runs in.
type TEE interface {
	// Evidence returns evidence over b in the TEE's own format (an ECDSA quote v3 for SGX and
	// the simulation). The context bounds the wait.
	Evidence(ctx context.Context, b *attest.Binding) ([]byte, error)
	// SealKey derives a 32-byte key as EGETKEY does: the same request on the same platform by
	// the same identity gives the same key; everybody else gets another.
	SealKey(ctx context.Context, r SealRequest) ([]byte, error)
	Close() error
}

// LocalReporter is a TEE whose programs can prove themselves to another program of
// the same machine, as SGX does with EREPORT. Its quoting enclave is such a
// program; the node agent's call /v1/enclave/attest is the way to it.
type LocalReporter interface {
	// Report returns an SGX REPORT (432 bytes) over b for the program that a TARGETINFO (512
	// bytes) names. Its report data are b.ReportData, as those of evidence.
	Report(ctx context.Context, target []byte, b *attest.Binding) ([]byte, error)
	// VerifyReport returns nil when report was made for this program on this machine.
	VerifyReport(ctx context.Context, report []byte) error
}

// SealRequest names a sealing key (security decision S15).
type SealRequest struct {
	// BySigner binds the key to signer and product id instead of the measurement. The TEE
	// refuses it for product id 0.
	BySigner bool
	// SVN is the security version the key belongs to, at most the caller's own.
	SVN uint16
	// KeyID distinguishes keys of one identity; 32 bytes.
	KeyID [32]byte
}
