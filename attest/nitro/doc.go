// Package nitro verifies attestation documents of AWS Nitro Enclaves: a CBOR map,
// signed by the Nitro hypervisor as a COSE_Sign1 object with ECDSA P-384.
//
// Bytes are cut apart from judgement. [Parse] reads a document strictly: one
// encoding of the COSE object, no member twice, none unknown, sizes as AWS says.
// [Verify] checks the signature and the chain to AWS's root at a time that the caller
// gives, and lists every check as a rule. Whether the claims are good enough is for
// attest/policy to say; an enclave in debug mode shows in the claims.
//
// It trusts one thing: the root certificate "aws.nitro-enclaves" (G1), which is
// pinned by its bytes, or the roots of [Options]. Documents may come from an enemy; no
// input makes it panic, and sizes are limited before anything is allocated.
//
// It does not fetch and reads no clock. The signer's certificate lives for three
// hours, so a document must be judged when it arrives, or at its own time when that is
// what is asked. It does not promise freshness: that is in the nonce, which the
// caller must compare. AWS's revocation lists are not read, and NitroTPM documents,
// which measure a virtual machine and not an enclave, are refused.
//
// The format is that of "Nitro Enclaves Attestation Process" in the repository
// aws/aws-nitro-enclaves-nsm-api, sections 2.2 and 3.
package nitro
