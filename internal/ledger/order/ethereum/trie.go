package ethereum

import (
	"bytes"
	"errors"
)

var errTrie = errors.New("ethereum: Merkle proof does not lead to the root")

const (
	maxTrieNodes = 65 // 64 nibbles of a key, and the root
	maxTrieNode  = 1024
)

// trieGet follows the proof of a key in a Merkle-Patricia trie (yellow paper, appendix D) and
// returns the value there, nil where the proof shows that there is none. Every node given must be used.
func trieGet(root Hash, key Hash, proof [][]byte) ([]byte, error) {
	if len(proof) == 0 || (len(proof) == 1 && bytes.Equal(proof[0], []byte{0x80})) {
		// The trie without entries: keccak of RLP "".
		if root == keccak([]byte{0x80}) {
			return nil, nil
		}
		return nil, errTrie
	}
	if len(proof) > maxTrieNodes {
		return nil, errTrie
	}
	path := nibbles(key[:])
	want := item{bytes: root[:]}
	for n := 0; ; {
		node := want
		if !want.isList {
			switch {
			case len(want.bytes) == 0:
				if n != len(proof) {
					return nil, errTrie
				}
				return nil, nil
			case len(want.bytes) != 32 || n == len(proof) || len(proof[n]) > maxTrieNode || keccak(proof[n]) != Hash(want.bytes):
				return nil, errTrie
			}
			var err error
			if node, err = parseRLP(proof[n]); err != nil {
				return nil, errTrie
			}
			n++
		}
		var value []byte
		var found, absent bool
		switch len(node.list) {
		case 17:
			if len(path) == 0 {
				// Keys of one length have no values in branches.
				return nil, errTrie
			}
			want, path = node.list[path[0]], path[1:]
		case 2:
			part, leaf, err := compact(node.list[0])
			if err != nil {
				return nil, err
			}
			switch {
			case !bytes.HasPrefix(path, part) || (leaf && len(part) != len(path)):
				absent = true
			case leaf:
				if node.list[1].isList {
					return nil, errTrie
				}
				value, found = node.list[1].bytes, true
			case len(part) == 0:
				return nil, errTrie
			default:
				want, path = node.list[1], path[len(part):]
			}
		default:
			return nil, errTrie
		}
		if found || absent {
			if n != len(proof) {
				return nil, errTrie
			}
			return value, nil
		}
	}
}

func nibbles(b []byte) []byte {
	list := make([]byte, 0, 2*len(b))
	for _, c := range b {
		list = append(list, c>>4, c&15)
	}
	return list
}

// compact reads a path of nibbles in hex-prefix encoding (yellow paper, appendix C).
func compact(i item) (path []byte, leaf bool, err error) {
	if i.isList || len(i.bytes) == 0 || len(i.bytes) > 33 {
		return nil, false, errTrie
	}
	list := nibbles(i.bytes)
	switch list[0] {
	case 0, 2:
		if list[1] != 0 {
			return nil, false, errTrie
		}
		return list[2:], list[0] == 2, nil
	case 1, 3:
		return list[1:], list[0] == 3, nil
	}
	return nil, false, errTrie
}
