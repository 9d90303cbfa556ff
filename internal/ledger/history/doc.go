// Package history follows a ledger's control records as somebody outside does, who has
// not seen the log: a client before it seals, and whoever verifies a receipt offline
// (docs/ledger-protocol.md, sections 7 and 9).
//
// From the ledger id it leads to the genesis, its policies, and the members of every
// epoch: administrators' signatures, operators' signatures, evidence of each member,
// signatures of those who joined and of those who let them in, approvals, and the chain
// of T. What does not hold is refused as a whole.
//
// Its caller names the roots of TEE makers that it believes ([Trust]); a policy of the
// ledger can narrow them, never widen. The records come from the enemy. Positions and
// times in them are claims of whoever gave them, except where a member has signed them;
// records may be missing at the end, and such a history is old but true. Why a member was
// removed is shown by records that are not among these (clones, alarms), and is left
// unchecked.
package history
