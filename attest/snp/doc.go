// Package snp verifies attestation reports of AMD SEV-SNP: versions 2 to 5, made
// by Milan, Genoa (also Bergamo and Siena) and Turin processors, signed by a VCEK
// (the key of a chip) or a VLEK (a key that AMD loads for a cloud provider).
//
// Bytes are cut apart from judgement. [ParseReport], [Read], [ParseCertTable] and
// [ParseEndorsement] read formats. [Verify] checks the signature, the chain to
// AMD's root key of the product, the certificate's extensions against the report,
// validity at a time that the caller gives, and revocation, and lists every check
// as a rule. Whether the claims are good enough is for attest/policy to say: AMD
// publishes no status for a TCB, so minimum versions are a policy's.
//
// It trusts one thing: the public keys of AMD's root keys (ARK), pinned here, or
// those of [Options]. The report and every certificate may come from an enemy; no
// input makes it panic, and sizes are limited before anything is allocated.
//
// It does not fetch and reads no clock: [VCEKPath] and its siblings say where
// AMD's key distribution service (KDS) keeps what a report needs. It does not
// promise freshness: that is in REPORT_DATA, which the caller must compare.
//
// Layouts are those of AMD's publications 56860 (SEV-SNP firmware ABI, table
// ATTESTATION_REPORT), 57230 (VCEK certificate and KDS interface) and 56421 (GHCB).
package snp
