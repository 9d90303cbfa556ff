// Package dcap verifies the evidence of Intel's Data Center Attestation
// Primitives: ECDSA quotes, with the collateral that Intel (or a simulated
// authority) publishes for them. It covers SGX quotes of version 3, 4 and 5, and
// TDX quotes of version 4 and 5, with reports of TDX 1.0 and 1.5.
//
// Bytes are cut apart from judgement. [ParseQuote], [ParseTDReport],
// [ParsePCKExtension], [ParseTCBInfo] and [ParseEnclaveIdentity] read and write
// formats. [Verify] checks signatures, chains, revocation, freshness, the TDX
// module and the TCB level, at a time that the caller gives, and lists every check
// as a rule. Statuses are those that Intel's quote verification library gives.
// Whether the claims are good enough is for attest/policy to say.
//
// A [Verifier] verifies collateral once and then judges many quotes, at the cost
// of their signatures. What it remembers it found to hold.
//
// It trusts one thing: the public key of the root certificate in [Options]. The
// quote, the certificates inside it and all collateral may come from an enemy;
// no input makes it panic, and sizes are limited before anything is allocated.
//
// It does not fetch, it reads no clock, and it does not promise that a platform
// is free of flaws that its maker has not yet published.
package dcap
