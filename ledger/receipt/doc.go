// Package receipt verifies offline what became of a command on a ledger
// (docs/ledger-protocol.md, section 9).
//
// A receipt is a JSON file that a client gets with its outcome. Everything in it is
// proved from two things that the verifier knows already: the ledger id, and which
// makers of TEEs it believes. It shows that more than half of the ledger's executors of
// that time, attested programs that the ledger's administrators approved, signed a state
// in which this very command, signed by this account, had this very outcome.
//
// What it does not show stands in [Report].NotChecked: above all what the order of the
// ledger rests on, and that the evidence was judged as of the time when the executors
// were let in, not as of today. A receipt is as secret as what it is about: it holds the
// command and its outcome in the clear.
package receipt
