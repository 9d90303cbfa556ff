// Package sgx reads, writes, signs and checks SIGSTRUCT, the certificate that an
// enclave's author makes over its measurement (Intel SDM vol. 3D, table 36-19).
// The simulated TEE uses the same structure, so a converted image is signed the
// same way for both.
//
// Signing is deterministic (RSASSA-PKCS1-v1_5): the same key, date and
// parameters give the same 1808 bytes on every machine.
//
// A SIGSTRUCT that verifies says that the holder of the key in it signed it, and
// nothing more: who that is, is told by MRSIGNER, and whether MRSIGNER is
// welcome is for the reader's policy.
package sgx
