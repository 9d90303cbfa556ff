// Package disk keeps the sealed files of one ledger node on a disk that belongs to
// the host, its enemy.
//
// A generation is a base file (all cells at one position) and a log file (what
// changed since), both under one random AES-256 key that seals with a counter as
// nonce. The key lies in the ring: a small file under a random key that is wrapped
// under the epoch's snapshot key. So old state opens only for who holds the
// snapshot key of a ring that names its generation.
//
// Invariants: no cell and no key lies on the disk in the clear. A (key, nonce)
// pair never seals two plaintexts: each start, and each file that a failed fsync
// left in doubt, is followed by a new generation with a new key, and a write that
// failed is repeated with the same bytes. Each segment of a log is bound to all
// before it, and each log to the end of the one before. After Sync has returned
// nil, a crash at any point leaves a state that loads at that position or later.
//
// The order in which it is used: Open; FileEpoch and FilePosition, which need no
// keys; Load with the snapshot key that a COMMIT released; Begin, WriteRing, then
// Append and Sync again and again, WriteRing in each epoch, and Rekey before it when a member was removed.
//
// It trusts the keys and the randomness it is given. It does not promise that what
// it loads is the newest: the host can cut a log at its end or put back old files,
// and the caller finds out by following the ledger's log from the position loaded.
// Sizes and times of writing are visible.
package disk
