package tpm

import (
	"crypto"
	"crypto/x509"
	"time"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

// Formats that Verify gives to its claims.
const (
	Format         = "tpm-quote"
	FormatAzureSNP = "azure-vtpm-snp"
	FormatAzureTDX = "azure-vtpm-tdx"
)

// Options are what a verification rests on. With no root, no pinned key and no
// activation nothing vouches for an attestation key, except Azure's hardware report.
type Options struct {
	// At is the time at which everything must be valid.
	At time.Time
	// Roots are the trusted roots of attestation key and endorsement key certificates.
	Roots []*x509.Certificate
	// Keys are attestation keys that the caller vouches for: *rsa.PublicKey or *ecdsa.PublicKey.
	Keys []crypto.PublicKey
	// Activated are keys of which a TPM has proved by credential activation that it holds them.
	Activated []*Activation
	// Collateral may be nil.
	Collateral *Collateral
	// Grace lets CRLs be out of date by that long.
	Grace time.Duration
	// Intel says how the TDX quote beside an HCL report is verified, and AMD how the SEV-SNP report
	// in one. Their At is not used.
	Intel dcap.Options
	AMD   snp.Options
}

// Collateral are certificates and revocation lists for keys of TPMs, in DER.
type Collateral struct {
	Certs [][]byte // attestation key, endorsement key and intermediate certificates in any order
	CRLs  [][]byte
}
