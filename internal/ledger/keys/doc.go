// Package keys is the ledger's key schedule, and all that is sealed with it: the secret of an epoch
// to its members, batches of commands, requests and replies, notifications
// (docs/ledger-protocol.md, sections 4 to 7).
//
// Invariants: a key of AES-GCM made here is used with one nonce for one plaintext only, whatever a
// host repeats, rolls back or clones. In DATA the key depends on the plaintext, in a reply on fresh
// randomness and the plaintext. What is opened is checked against the commitment of its structure
// (salt, cm) before it is returned.
//
// It trusts crypto/hpke, which takes its randomness for sending from the system and not from the
// caller. It promises no erasure beyond its own memory: Erase overwrites what this package holds,
// the copies inside the standard library's types stay until the garbage collector reuses them.
package keys
