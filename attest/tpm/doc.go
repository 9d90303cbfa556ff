// Package tpm verifies quotes of TPM 2.0: what a TPM signed over its platform
// configuration registers (PCRs), with a nonce. It reads the evidence of
// go-tpm-tools (protobuf), of Confidential Containers' trustee (JSON), and that of
// Azure's confidential machines, where an SEV-SNP report or a TDX quote vouches
// for the attestation key of a virtual TPM.
//
// The order is bytes (structures.go, public.go, pcrs.go, protobuf.go, json.go,
// hcl.go), trust in the attestation key (akey.go, chain.go, credential.go),
// rules (verify.go, azure.go), claims (claims.go).
//
// Invariants: a quote counts only under a key that is restricted, so that the TPM
// signs nothing with it that it did not make itself, and that the caller's roots,
// a credential activation, a pinned key or the hardware report vouch for. Every
// quote in the evidence must hold, not one of them. SHA-1 signatures are refused
// and SHA-1 banks give no claims. What the signed selection does not name is not a
// measurement. Facts come from signed bytes or from a log that replays to them.
//
// A certificate covers the attestation key and not its attributes; its issuer must
// have looked at them. An activation covers both.
//
// It trusts the makers' roots given in Options; there is no root of all TPMs, so
// none is pinned here. It does not promise that a TPM protects memory: it proves
// what was booted, not that nobody looks at it. A virtual TPM is worth what its
// host is worth, except in a confidential machine.
package tpm
