package state

import (
	"crypto/sha256"
	"encoding/binary"
)

const suite = "hitoku-ledger/1"

func appendLV[T string | []byte](b []byte, x T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(x))), x...)
}

func (n *node) digest() [32]byte {
	if n == nil {
		return sha256.Sum256(appendLV(appendLV(nil, suite), "EMPTY"))
	}
	if n.hashed.Load() == 2 {
		return n.hash
	}
	var buffer [256]byte
	b := appendLV(buffer[:0], suite)
	if n.branch() {
		left, right := n.left.digest(), n.right.digest()
		b = appendLV(b, "BRANCH")
		b = appendLV(b, binary.BigEndian.AppendUint16(nil, n.bit))
		b = appendLV(b, left[:])
		b = appendLV(b, right[:])
	} else {
		b = appendLV(b, "CELL")
		b = appendLV(b, n.key())
		b = appendLV(b, n.value())
	}
	hash := sha256.Sum256(b)
	// Two goroutines may hash the same node of an old tree at once: one of them remembers it.
	if n.hashed.CompareAndSwap(0, 1) {
		n.hash = hash
		n.hashed.Store(2)
	}
	return hash
}
