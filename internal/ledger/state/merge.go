package state

// Merge returns the tree with the cells of other over those of t. What only one of the two holds is
// shared, not copied.
func (t *Tree) Merge(other *Tree) *Tree {
	if t.root == nil || other.root == nil {
		if t.root == nil {
			return other
		}
		return t
	}
	same := 0
	root := merge(t.root, other.root, t.root.first(), other.root.first(), &same)
	return &Tree{root: root, count: t.count + other.count - same}
}

// merge joins two trees whose first keys are ka and kb; where both have a key, b's leaf stays, and
// same counts it.
func merge(a, b *node, ka, kb []byte, same *int) *node {
	p, differ := firstDifference(ka, kb)
	if differ && (!a.branch() || p < a.bit) && (!b.branch() || p < b.bit) {
		if bitAt(kb, p) == 0 {
			return &node{bit: p, left: b, right: a}
		}
		return &node{bit: p, left: a, right: b}
	}
	switch {
	case !a.branch() && !b.branch(): // the same key
		*same++
		return b
	case a.branch() && b.branch() && a.bit == b.bit:
		left := merge(a.left, b.left, ka, kb, same)
		return &node{bit: a.bit, left: left, right: merge(a.right, b.right, a.right.first(), b.right.first(), same)}
	case !b.branch() || a.branch() && a.bit < b.bit: // all of b is on one side of a
		if bitAt(kb, a.bit) == 0 {
			return &node{bit: a.bit, left: merge(a.left, b, ka, kb, same), right: a.right}
		}
		return &node{bit: a.bit, left: a.left, right: merge(a.right, b, a.right.first(), kb, same)}
	default: // all of a is on one side of b
		if bitAt(ka, b.bit) == 0 {
			return &node{bit: b.bit, left: merge(a, b.left, ka, kb, same), right: b.right}
		}
		return &node{bit: b.bit, left: b.left, right: merge(a, b.right, ka, b.right.first(), same)}
	}
}
