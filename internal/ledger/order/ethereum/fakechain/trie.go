package fakechain

import (
	"bytes"
	"slices"

	"golang.org/x/crypto/sha3"
)

func keccak(parts ...[]byte) []byte {
	k := sha3.NewLegacyKeccak256()
	for _, p := range parts {
		_, _ = k.Write(p)
	}
	return k.Sum(nil)
}

// rlpBytes and rlpList encode RLP; a list's parts are encoded already.
func rlpBytes(b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return b
	}
	return append(rlpHead(0x80, len(b)), b...)
}

func rlpList(parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	return append(rlpHead(0xc0, len(content)), content...)
}

func rlpHead(base byte, n int) []byte {
	if n <= 55 {
		return []byte{base + byte(n)}
	}
	b := number(uint64(n))
	return append([]byte{base + 55 + byte(len(b))}, b...)
}

// number is n in as few bytes as it needs.
func number(n uint64) []byte {
	b := []byte{byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return bytes.TrimLeft(b, "\x00")
}

func rlpUint(n uint64) []byte { return rlpBytes(number(n)) }

// leaf is an entry of a trie; its path is the nibbles of the hashed key.
type leaf struct{ path, value []byte }

func newLeaf(key, value []byte) leaf {
	var path []byte
	for _, c := range keccak(key) {
		path = append(path, c>>4, c&15)
	}
	return leaf{path, value}
}

// trie returns the root of a Merkle-Patricia trie and the proof of a key, which may be absent.
func trie(list []leaf, key []byte) (root []byte, proof [][]byte) {
	if len(list) == 0 {
		return keccak([]byte{0x80}), nil
	}
	slices.SortFunc(list, func(a, b leaf) int { return bytes.Compare(a.path, b.path) })
	b := trieNode(list, 0, newLeaf(key, nil).path, &proof)
	slices.Reverse(proof)
	if len(b) < 32 {
		// The root is in every proof, however short it is.
		proof = append([][]byte{b}, proof...)
	}
	return keccak(b), proof
}

// trieNode encodes the node over a sorted list from a depth on; nodes on the way to key go to proof, the deepest first.
func trieNode(list []leaf, depth int, key []byte, proof *[][]byte) []byte {
	var b []byte
	if len(list) == 1 {
		b = rlpList(rlpBytes(hexPrefix(list[0].path[depth:], 2)), rlpBytes(list[0].value))
	} else if n := common(list, depth); n > 0 {
		var next []byte
		if key != nil && bytes.HasPrefix(key[depth:], list[0].path[depth:depth+n]) {
			next = key
		}
		b = rlpList(rlpBytes(hexPrefix(list[0].path[depth:depth+n], 0)), reference(trieNode(list, depth+n, next, proof)))
	} else {
		var parts [][]byte
		for c := range byte(16) {
			var below []leaf
			for _, l := range list {
				if l.path[depth] == c {
					below = append(below, l)
				}
			}
			if len(below) == 0 {
				parts = append(parts, []byte{0x80})
				continue
			}
			var next []byte
			if key != nil && key[depth] == c {
				next = key
			}
			parts = append(parts, reference(trieNode(below, depth+1, next, proof)))
		}
		b = rlpList(append(parts, []byte{0x80})...)
	}
	if key != nil && len(b) >= 32 {
		*proof = append(*proof, b)
	}
	return b
}

func common(list []leaf, depth int) int {
	first, last := list[0].path, list[len(list)-1].path
	n := 0
	for first[depth+n] == last[depth+n] {
		n++
	}
	return n
}

func reference(node []byte) []byte {
	if len(node) < 32 {
		return node
	}
	return rlpBytes(keccak(node))
}

func hexPrefix(path []byte, flag byte) []byte {
	if len(path)%2 == 1 {
		path = append([]byte{flag + 1}, path...)
	} else {
		path = append([]byte{flag, 0}, path...)
	}
	b := make([]byte, len(path)/2)
	for i := range b {
		b[i] = path[2*i]<<4 | path[2*i+1]
	}
	return b
}
