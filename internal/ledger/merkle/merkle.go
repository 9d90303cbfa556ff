// Package merkle is the tree hash of RFC 6962, section 2.1, with SHA-256: the root over the commands
// of a position, and the proof that one of them is under it.
//
// Leaves and inner nodes are hashed with different first bytes, so neither passes for the other.
// A proof is for an index and a count; both must come from something that is believed, or be
// checked with the root, as here.
package merkle

import (
	"crypto/sha256"
	"math/bits"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// LeafHash is the hash of one leaf's data: H(0x00 ‖ data).
func LeafHash(data []byte) (out Hash) {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(data)
	h.Sum(out[:0])
	return out
}

// node is the hash of two subtrees: H(0x01 ‖ left ‖ right).
func node(left, right Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// split is the largest power of two below n, which is at least 2.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

// Root is the tree hash of some leaves' data; of none it is the SHA-256 of nothing.
func Root(leaves [][]byte) Hash {
	if len(leaves) == 0 {
		return sha256.Sum256(nil)
	}
	return root(hashes(leaves))
}

func hashes(leaves [][]byte) []Hash {
	out := make([]Hash, len(leaves))
	for i, l := range leaves {
		out[i] = LeafHash(l)
	}
	return out
}

func root(h []Hash) Hash {
	if len(h) == 1 {
		return h[0]
	}
	k := split(len(h))
	return node(root(h[:k]), root(h[k:]))
}

// Proof is the inclusion proof of the leaf at an index: the hashes of the subtrees beside its path,
// from the leaf up. It is nil when there is no such leaf.
func Proof(leaves [][]byte, index int) []Hash {
	if index < 0 || index >= len(leaves) {
		return nil
	}
	return proof(hashes(leaves), index)
}

func proof(h []Hash, index int) []Hash {
	if len(h) == 1 {
		return nil
	}
	k := split(len(h))
	if index < k {
		return append(proof(h[:k], index), root(h[k:]))
	}
	return append(proof(h[k:], index-k), root(h[:k]))
}

// Tree is the tree over some leaves with all its inner hashes, for those who need many proofs.
type Tree struct {
	levels [][]Hash // from the leaves up; what has nothing to its right moves up as it is
}

// NewTree makes the tree of some leaves' data.
func NewTree(leaves [][]byte) *Tree {
	t := &Tree{levels: [][]Hash{hashes(leaves)}}
	for last := t.levels[0]; len(last) > 1; last = t.levels[len(t.levels)-1] {
		next := make([]Hash, 0, (len(last)+1)/2)
		for i := 0; i+1 < len(last); i += 2 {
			next = append(next, node(last[i], last[i+1]))
		}
		if len(last)%2 == 1 {
			next = append(next, last[len(last)-1])
		}
		t.levels = append(t.levels, next)
	}
	return t
}

// Root is the tree hash, as the function Root gives it.
func (t *Tree) Root() Hash {
	if len(t.levels[0]) == 0 {
		return sha256.Sum256(nil)
	}
	return t.levels[len(t.levels)-1][0]
}

// Proof is the inclusion proof of the leaf at an index, as the function Proof gives it.
func (t *Tree) Proof(index int) []Hash {
	if index < 0 || index >= len(t.levels[0]) {
		return nil
	}
	var out []Hash
	for _, level := range t.levels {
		if beside := index ^ 1; beside < len(level) {
			out = append(out, level[beside])
		}
		index >>= 1
	}
	return out
}

// RootFrom is the root that a proof leads to from a leaf's data at an index (from 0) of count. ok is
// false when the index is not below the count or the proof has not the length that belongs to them.
func RootFrom(leaf []byte, index, count uint32, proof []Hash) (out Hash, ok bool) {
	if index >= count {
		return Hash{}, false
	}
	out = LeafHash(leaf)
	// last is the index of the rightmost subtree on the level of out.
	for last := count - 1; last > 0; index, last = index>>1, last>>1 {
		if index == last && index&1 == 0 {
			continue // nothing stands to its right: the subtree moves up as it is
		}
		if len(proof) == 0 {
			return Hash{}, false
		}
		if index&1 == 1 {
			out = node(proof[0], out)
		} else {
			out = node(out, proof[0])
		}
		proof = proof[1:]
	}
	return out, len(proof) == 0
}

// Verify says whether a proof shows that leaf is the data at an index of count leaves under root.
func Verify(root Hash, leaf []byte, index, count uint32, proof []Hash) bool {
	seen, ok := RootFrom(leaf, index, count, proof)
	return ok && seen == root
}
