// Package pkcs11 signs enclaves with a key that stays in a token: an HSM, a smart card, or
// SoftHSM. The key is named by a PKCS #11 URI (RFC 7512).
//
// The token is asked through pkcs11-tool of the OpenSC project, a program of its own, so that no
// foreign library is loaded into this process and no C compiler is needed for it. Only the hash
// of what is signed goes to the token. The PIN goes to the program by its environment, which
// other users cannot read, and never by its arguments, which they can.
//
// Invariants: an attribute of a URI that cannot be kept is refused and never left out of
// account, so that a URI never finds another key than it names; the public key is RSA-3072 with
// exponent 3, as SGX wants.
//
// The package trusts the PKCS #11 module and pkcs11-tool as far as the PIN goes. It does not
// trust the signature: [hitoku.dev/measure/sgx.Sign] verifies it with the public key. It does
// not promise which key is taken where a token holds two of one name.
package pkcs11
