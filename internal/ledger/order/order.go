// Package order is what the ledger asks of whatever puts its records in order:
// take a record, and give back the final ones, numbered from 1, the same for
// every reader. Drivers live beside it (embedded, ethereum); ordertest is the
// suite that each of them passes.
//
// Nothing here is trusted for more than liveness. A driver, and what it talks
// to, may drop, repeat, reorder, delay and invent records: the ledger chains
// the hashes of all final positions and detects what does not fit. What a
// driver cannot prove, its Assurance says, and every receipt repeats it.
package order

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

var (
	// ErrReorganised means that what the driver has given as final was taken back, or
	// that sources which should agree do not. The ledger halts on it.
	ErrReorganised = errors.New("order: final positions have changed")
	// ErrTooLarge means that a record is longer than MaxRecord.
	ErrTooLarge = errors.New("order: record too large")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("order: log is closed")
)

// Submission is a record on its way into the log. Sender and N are those of its
// header; a driver may use them to refuse repetitions, and nothing else.
type Submission struct {
	Record []byte
	Sender [32]byte
	N      uint64
}

// Entry is one final position of the log.
type Entry struct {
	Position uint64 // from 1, without gaps
	Time     uint64 // seconds since 1970 as the log states it; never falls
	Record   []byte
}

// Assurance is what the order rests on; the word stands in every receipt.
type Assurance string

// What an order may rest on.
const (
	// AssuranceOperator: whoever runs the log may show different readers different logs.
	AssuranceOperator Assurance = "operator"
	// AssuranceEndpoints: as many independent endpoints as the genesis names gave the same.
	AssuranceEndpoints Assurance = "endpoints"
	// AssuranceValidators: a quorum of the validators that the genesis names sealed it.
	AssuranceValidators Assurance = "validators"
)

// Log puts records in order.
type Log interface {
	// Submit hands a record over. A nil error means that the log has taken it, not that it
	// is final: it may yet be lost, and the sender looks for it among the final entries.
	// A record that was refused and one that is in doubt both give an error.
	Submit(ctx context.Context, s Submission) error
	// Read returns at most limit final entries after a position, in order, and none when
	// there are none yet.
	Read(ctx context.Context, after uint64, limit int) ([]Entry, error)
	// Wait returns nil when there is, or may be, a final entry after a position.
	Wait(ctx context.Context, after uint64) error
	// Head returns the highest final position and its time; 0, 0 for an empty log.
	Head(ctx context.Context) (position, time uint64, err error)
	// Proof returns what convinces others that C is the chain value at the position that
	// Head gave or a later one, nil where the assurance has no proof.
	Proof(ctx context.Context) ([]byte, error)
	Assurance() Assurance
	// MaxRecord is the longest record in bytes.
	MaxRecord() int
	Close() error
}

const chainLabel = "hitoku-ledger/1"

// Chain returns C_p = H(LV("hitoku-ledger/1", "CHAIN", C_{p−1}, p, time, H(record))), where LV writes
// each item as its length in four big-endian bytes and the item, p and time are eight big-endian
// bytes, and H is SHA-256. C_0 is the ledger id. The contract computes the same value.
func Chain(previous [32]byte, position, time uint64, record []byte) [32]byte {
	return ChainHash(previous, position, time, sha256.Sum256(record))
}

// ChainHash is Chain for a record of which only the hash is known.
func ChainHash(previous [32]byte, position, time uint64, record [32]byte) [32]byte {
	b := make([]byte, 0, 6*4+len(chainLabel)+len("CHAIN")+32+8+8+32)
	lv := func(item []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(item)))
		b = append(b, item...)
	}
	lv([]byte(chainLabel))
	lv([]byte("CHAIN"))
	lv(previous[:])
	lv(binary.BigEndian.AppendUint64(nil, position))
	lv(binary.BigEndian.AppendUint64(nil, time))
	lv(record[:])
	return sha256.Sum256(b)
}
