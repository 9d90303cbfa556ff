// Package replica is a ledger node's state machine inside the TEE: it follows the
// log, keeps the epochs' keys, executes commands, signs checkpoints, and answers
// sealed requests from state that a quorum has signed.
//
// It has no network, no files and no clock of its own. Package node (or the
// simulator of its tests) hands it final positions, ticks, the checkpoints of
// peers and clients' requests, and takes from it records to submit and replies.
// So every schedule that a hostile host can choose is a sequence of calls here.
//
// Invariants: nothing about a position leaves before a quorum of executors has
// signed it; the same (key, nonce) never seals two plaintexts; a command takes
// effect at most once; a node that sees another digest of its own history, or that
// a quorum follows another one, halts and says where; of two histories one at most
// is committed once a fork is known. It trusts the TEE it runs in, the genesis, and
// members that a policy accepts. It does not promise that the host delivers
// anything, nor, under the order assurance "operator", that there is one log.
package replica
