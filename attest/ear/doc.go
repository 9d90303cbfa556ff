// Package ear makes and reads EAT attestation results (draft-ietf-rats-ear-03):
// a verdict as a signed JSON web token, in terms that any relying party
// understands whatever hardware made the evidence. Each appraised attester is a
// submodule with a status of four tiers and a trustworthiness vector
// (draft-ietf-rats-ar4si).
//
// [FromVerdict] turns a verdict into a result, [Result.Sign] signs it with ES256,
// ES384 or EdDSA, as the key commands, and [Verify] reads a token under one given
// public key. The algorithm follows from that key, never from the token. A token
// whose status claims more trust than its vector is refused, and so are repeated
// members, a second encoding of its parts, and dates in fractions. Claims that
// are not known are ignored, as the draft demands.
//
// The one who reads a token trusts the verifier that signed it, for the tiers and
// for everything else: the evidence is not in it. A token holds for as long as it
// says; it proves nothing about the attester afterwards.
package ear
