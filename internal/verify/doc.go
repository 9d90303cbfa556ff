// Package verify is what `hitoku verify` does: it takes a TLS server, a
// certificate or a bare quote, judges its evidence, and reports what was proved,
// by whom, under which TCB, rule by rule, and what was not checked.
//
// It trusts the roots that its caller names (Intel's where none is named for a
// bare quote) and the collateral only as far as those roots signed it. Bytes from
// the network and from files are hostile; text from them is printed without
// control characters.
//
// It opens one connection to the server that is named and no other: it does not
// fetch collateral. A report that is not accepted must not be acted upon, and one
// that is accepted holds only as far as its list of what was not checked allows.
package verify
