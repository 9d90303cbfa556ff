package state

import "bytes"

// diff yields what leads from a to b, in key order. Both stand for sets of cells whose keys agree up to
// where the caller has gone down.
func diff(a, b *node, yield func(Change) bool) bool {
	switch {
	case a == b:
		return true
	case a == nil:
		return set(b, yield)
	case b == nil:
		return remove(a, yield)
	}
	same := a.branch() && b.branch() && a.bit == b.bit
	if same && (a.left == b.left || a.right == b.right) {
		return diff(a.left, b.left, yield) && diff(a.right, b.right, yield)
	}
	ka, kb := a.first(), b.first()
	p, differ := firstDifference(ka, kb)
	if differ && p < a.depth() && p < b.depth() { // no key in common
		if bitAt(ka, p) == 0 {
			return remove(a, yield) && set(b, yield)
		}
		return set(b, yield) && remove(a, yield)
	}
	switch {
	case same:
		return diff(a.left, b.left, yield) && diff(a.right, b.right, yield)
	case a.depth() < b.depth() && bitAt(kb, a.bit) == 0:
		return diff(a.left, b, yield) && remove(a.right, yield)
	case a.depth() < b.depth():
		return remove(a.left, yield) && diff(a.right, b, yield)
	case b.depth() < a.depth() && bitAt(ka, b.bit) == 0:
		return diff(a, b.left, yield) && set(b.right, yield)
	case b.depth() < a.depth():
		return set(b.left, yield) && diff(a, b.right, yield)
	case bytes.Equal(a.value(), b.value()): // one leaf each, the same key
		return true
	}
	return yield(Change{Key: kb, Value: b.value()})
}

// depth is the first bit in which the node's keys differ; a leaf's lies behind all bits.
func (n *node) depth() uint16 {
	if n.branch() {
		return n.bit
	}
	return 9*MaxKey + 1
}

func (n *node) first() []byte {
	for n.branch() {
		n = n.left
	}
	return n.key()
}

func set(n *node, yield func(Change) bool) bool {
	return n.all(func(key, value []byte) bool { return yield(Change{Key: key, Value: value}) })
}

func remove(n *node, yield func(Change) bool) bool {
	return n.all(func(key, _ []byte) bool { return yield(Change{Key: key, Deleted: true}) })
}
