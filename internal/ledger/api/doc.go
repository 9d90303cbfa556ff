// Package api serves a ledger node's REST interface: what clients, administrators
// and monitoring ask. It is the only part that knows HTTP, but for what nodes say to
// each other (package node).
//
// Every handler goes the same way: bound, decode strictly, authenticate, call the
// domain, encode. Requests of clients are sealed; what is in them and in the replies
// does not pass through here. Administrative calls are signed by the slot's operator
// or an administrator of the policy in force, each signature once.
//
// The caller is not trusted: bodies, rates and waits are bounded, by the caller's
// address, which is the host's to invent. Error texts and logs hold no plaintext,
// account or amount. A trace id is random, for one request, and means nothing
// outside this node. That an interface answers proves nothing: clients verify
// evidence and seal (docs/ledger-protocol.md, section 7).
package api
