// Package dcap verifies the evidence of Intel's Data Center Attestation
// Primitives: ECDSA quotes, with the collateral that Intel (or a simulated
// authority) publishes for them. It covers SGX quotes of version 3.
//
// Bytes are cut apart from judgement. [ParseQuote], [ParsePCKExtension],
// [ParseTCBInfo] and [ParseEnclaveIdentity] read and write formats. [Verify]
// checks signatures, chains, revocation, freshness and the TCB level, at a time
// that the caller gives, and lists every check as a rule. Whether the claims are
// good enough is for attest/policy to say.
//
// It trusts one thing: the public key of the root certificate in [Options]. The
// quote, the certificates inside it and all collateral may come from an enemy;
// no input makes it panic, and sizes are limited before anything is allocated.
//
// It does not fetch, it reads no clock, and it does not promise that a platform
// is free of flaws that its maker has not yet published.
package dcap
