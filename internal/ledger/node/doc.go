// Package node runs a ledger node: it puts the state machine (package replica), the
// log, the sealed files, the REST interface and the other nodes together.
//
// It follows the log's final positions, hands over the node's own records in their
// order, exchanges checkpoints with the other executors over mutual TLS, gets the
// state that a new incarnation needs (own sealed files, a peer's snapshot, a vault's
// backup), and keeps the state sealed on disk. A vault stores its identity, sealed to
// its measurement, before each record that it hands over, and keeps backups.
//
// Connections between nodes end in keys of incarnations: a key is accepted iff the
// log says that its incarnation is a member, or was until the window ends, or waits
// to be added. Addresses, files, the log and the clock are the host's, and trusted
// for nothing but progress. What is read from the disk is believed as far as its keys
// reach, and a state from elsewhere as far as a quorum has signed its digest.
//
// When the replica halts, the node serves nothing but its health. It does not promise
// that a host lets it run, nor that a disk keeps what it says it has written.
package node
