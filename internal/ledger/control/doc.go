// Package control is the public half of a ledger's state machine: it follows the
// log and knows, at every position, the chain value, the policy in force, the
// members and their keys, and which records are effective (sections 2 to 4 of
// docs/ledger-protocol.md). It holds no secret and opens nothing.
//
// State is a pure function of the genesis and the log: every node, vault and
// reader that has seen the same positions holds the same State. It trusts the
// log for nothing; what does not fit is skipped. A member's signature over another
// history suspends it, and State says so: which history counts is decided elsewhere.
//
// It does not say whether the log is the only one (order assurance), and does
// not know what DATA records hold.
package control
