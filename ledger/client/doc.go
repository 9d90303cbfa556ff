// Package client speaks to the nodes of a ledger (docs/ledger-protocol.md, section 7).
//
// Before it seals anything, it verifies from the ledger id on: the genesis, the
// administrators' and operators' signatures, the evidence of every member under roots
// that its user names, that the node is a member of the newest epoch, its evidence again
// with the own clock, and the signature over the key that is sealed to. The TLS
// connection must end in the node's attested key; no certificate authority counts.
//
// It keeps a floor: the newest committed position that it has seen, with its chain value,
// and the newest epoch. Nodes with another history, or an older one, are refused, over
// restarts too when the floor is kept in a file. A node that fails or lies is passed over
// for the next one. The same signed command is executed once, however often and wherever
// it is handed over, so all that waits here can be tried again.
//
// What it cannot see: a withheld newest part of the history (ask in mode fresh), and two
// histories of which it has only ever seen one (order assurance, in receipts). Hosts see
// when it speaks, and padded lengths.
package client
