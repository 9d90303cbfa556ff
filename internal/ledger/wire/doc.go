// Package wire is the ledger's structures as bytes: one valid encoding each, as
// docs/ledger-protocol.md writes them down, and the hashes and signatures over
// them. It keeps no state, and knows nothing of networks or files.
//
// Parsers refuse whatever Encode would not write: bytes left over, lists above
// their limits or out of order. They allocate no more than the input's length
// allows. Nothing parsed here is to be believed before its signature is checked.
package wire
