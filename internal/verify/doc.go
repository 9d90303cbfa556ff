// Package verify is what `hitoku verify` does: it takes a TLS server, a
// certificate, evidence of any TEE in any container that it is found in, or a
// signed attestation result; it judges it, and reports what was proved, by whom,
// under which TCB, rule by rule, and what was not checked.
//
// Evidence is recognised by its content. Each package below attest knows its own
// bytes; formats.go lists them, and container.go unwraps what they do not:
// hexadecimal and base64 text, JSON objects with evidence among their members, the
// wrapper of RFC 9999. Input in which two pieces of evidence are found is refused,
// unless one is a TEE's and the others are of devices beside it.
//
// It trusts the roots that its caller names (the makers' where none is named) and
// the collateral only as far as those roots signed it. Bytes from the network and
// from files are hostile; text from them is printed without control characters.
//
// It opens one connection to the server that is named and no other: it does not
// fetch collateral. A report that is not accepted must not be acted upon, and one
// that is accepted holds only as far as its list of what was not checked allows.
package verify
