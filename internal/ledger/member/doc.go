// Package member is how a node of the ledger proves what it runs, and how
// everybody else judges the proof (docs/ledger-protocol.md, sections 4 and 7).
//
// An [Attester] makes the proof, inside the TEE: evidence over the subject that
// the protocol names, with the collateral that the judges will need. [Judge] and
// [Appraise] judge it under a ledger's policy. They are pure functions: no clock, no
// network, no memory of earlier calls. All nodes and clients that hold the same
// JOIN, policy and times give the same answer, whatever they have seen before.
//
// A judge trusts the policy, which administrators signed, and the roots whose keys
// it lists. Evidence, binding and collateral come from the enemy: sizes are limited
// before anything is read, and a certificate counts as a root only when a listed key
// signed it itself. SGX and TDX quotes are taken, other evidence is refused by name.
//
// [Appraise] does not know what the evidence should speak about; [CheckBinding]
// compares that with the record that carries it. Neither says anything about a host
// that stops a node, and evidence under a simulated root protects nothing from it.
package member
