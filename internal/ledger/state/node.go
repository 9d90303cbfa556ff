package state

import (
	"bytes"
	"math/bits"
	"sync/atomic"
)

// node is a branch (left and right set) or a leaf. It does not change once it can be reached from a tree,
// but for its remembered digest.
type node struct {
	left, right *node
	data        []byte // leaf: key ‖ value
	hash        [32]byte
	hashed      atomic.Uint32 // 0: no digest yet, 1: somebody writes it, 2: hash holds it
	bit         uint16        // branch: the first bit in which its keys differ; leaf: length of the key
}

func newLeaf(key, value []byte) *node {
	data := make([]byte, len(key)+len(value))
	copy(data[copy(data, key):], value)
	return &node{data: data, bit: uint16(len(key))}
}

func (n *node) branch() bool  { return n.left != nil }
func (n *node) key() []byte   { return n.data[:n.bit:n.bit] }
func (n *node) value() []byte { return n.data[n.bit:len(n.data):len(n.data)] }

// bitAt is bit p of key, nine for each byte, as the package comment counts them.
func bitAt(key []byte, p uint16) byte {
	i, j := int(p/9), p%9
	if i >= len(key) {
		return 0
	}
	if j == 0 {
		return 1
	}
	return key[i] >> (8 - j) & 1
}

// firstDifference is the first bit in which two keys differ.
func firstDifference(a, b []byte) (p uint16, differ bool) {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	switch {
	case i < n:
		return uint16(9*i + 1 + bits.LeadingZeros8(a[i]^b[i])), true
	case len(a) != len(b):
		return uint16(9 * i), true
	}
	return 0, false
}

func (n *node) child(key []byte) *node {
	if bitAt(key, n.bit) == 0 {
		return n.left
	}
	return n.right
}

// near is a leaf that key would lead to: if key is in the tree it is that one, and else one that shares
// the most bits with it.
func (n *node) near(key []byte) *node {
	for n.branch() {
		n = n.child(key)
	}
	return n
}

func (n *node) get(key []byte) ([]byte, bool) {
	if n == nil {
		return nil, false
	}
	leaf := n.near(key)
	if !bytes.Equal(leaf.key(), key) {
		return nil, false
	}
	return leaf.value(), true
}

func (n *node) with(key, value []byte) (root *node, added bool) {
	if n == nil {
		return newLeaf(key, value), true
	}
	near := n.near(key)
	p, differ := firstDifference(near.key(), key)
	if !differ && bytes.Equal(near.value(), value) {
		return n, false
	}
	at := &root
	for n.branch() && (!differ || n.bit < p) {
		n, at = n.copyInto(at, key)
	}
	leaf := newLeaf(key, value)
	switch {
	case !differ:
		*at = leaf
	case bitAt(key, p) == 0:
		*at = &node{bit: p, left: leaf, right: n}
	default:
		*at = &node{bit: p, left: n, right: leaf}
	}
	return root, differ
}

func (n *node) without(key []byte) (root *node, found bool) {
	if _, found := n.get(key); !found {
		return n, false
	}
	if !n.branch() {
		return nil, true
	}
	at := &root
	for n.child(key).branch() {
		n, at = n.copyInto(at, key)
	}
	*at = n.left
	if bitAt(key, n.bit) == 0 {
		*at = n.right
	}
	return root, true
}

// copyInto puts a copy of the branch n into at, and returns the child that key leads to and its place in
// the copy.
func (n *node) copyInto(at **node, key []byte) (*node, **node) {
	c := &node{left: n.left, right: n.right, bit: n.bit}
	*at = c
	if bitAt(key, c.bit) == 0 {
		return c.left, &c.left
	}
	return c.right, &c.right
}

func (n *node) scan(prefix, from []byte, yield func(key, value []byte) bool) {
	if n == nil {
		return
	}
	for n.branch() && int(n.bit) < 9*len(prefix) {
		n = n.child(prefix)
	}
	if bytes.HasPrefix(n.near(prefix).key(), prefix) {
		n.from(from, yield)
	}
}

// from yields the cells below n whose keys are not below key.
func (n *node) from(key []byte, yield func(key, value []byte) bool) bool {
	p, differ := firstDifference(n.near(key).key(), key)
	if !differ {
		p = 9*MaxKey + 1
	}
	// Down to the place where key would stand, all to the right of the way is above it.
	var above []*node
	for n.branch() && n.bit < p {
		if bitAt(key, n.bit) == 0 {
			above = append(above, n.right)
		}
		n = n.child(key)
	}
	if !differ || bitAt(key, p) == 0 {
		above = append(above, n)
	}
	for i := len(above) - 1; i >= 0; i-- {
		if !above[i].all(yield) {
			return false
		}
	}
	return true
}

func (n *node) all(yield func(key, value []byte) bool) bool {
	for n.branch() {
		if !n.left.all(yield) {
			return false
		}
		n = n.right
	}
	return yield(n.key(), n.value())
}
