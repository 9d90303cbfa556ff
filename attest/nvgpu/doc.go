// Package nvgpu verifies the attestation evidence of NVIDIA's GPUs (Hopper, Blackwell)
// and NVSwitches: SPDM 1.1 measurements that a device signed with a key of its own,
// and their comparison with the reference values that NVIDIA signs (RIM files).
//
// Bytes are cut apart from judgement. [ParseReport], [ParseRIM] and the containers of
// [Recognise] are read strictly. [Verify] checks each device's signature, its chain to
// NVIDIA's root, the nonce, the firmware's identity in the certificate against the one
// reported, and, where RIM files are given, every measurement that they name; it lists
// every check as a rule. Whether the claims are good enough is for attest/policy to say.
//
// It trusts two things: the root certificates "NVIDIA Device Identity CA" and "NVIDIA
// CoRIM signing Root CA", pinned by their bytes, or those of [Options]. Evidence and
// RIM files may come from an enemy; no input makes it panic, and sizes are limited
// before anything is allocated.
//
// It does not fetch and reads no clock. It does not promise that a device is not
// revoked: NVIDIA answers that by OCSP only, which is not asked. Without RIM files it
// does not promise that a device runs NVIDIA's firmware and driver in their normal
// mode: a report has no debug bit, and measurements mean nothing without reference
// values. A device's evidence does not say which virtual machine it serves; only a
// nonce that the attested machine chose binds the two.
//
// Layouts are those of DMTF DSP0274 (SPDM 1.1.0, sections 10.11 and 10.12) and of
// NVIDIA's attestation SDK and local verifier; RIM files are ISO 19770-2 tags after
// TCG's Reference Integrity Manifest model with XML Signature 1.1.
package nvgpu
