// Package state holds the cells of the replicated state: byte keys with byte values, in key order, and a
// digest of all of them.
//
// A [Tree] never changes. A [Tx] makes a new one out of an old one and copies only the paths that it
// touches, so that queries and snapshots go on reading old trees while commands are executed. A savepoint
// is one pointer; rolling back costs nothing.
//
// # The digest
//
// The digest depends on the cells alone, never on the order in which they came: two nodes with the same
// cells have the same root. With
//
//	lv(x)         = u32 big-endian length of x ‖ x
//	NAME(a, b, …) = lv("hitoku-ledger/1") ‖ lv("NAME") ‖ lv(a) ‖ lv(b) ‖ …
//
// and SHA-256 as H, the root of a set of cells is
//
//   - of no cell: H(EMPTY()),
//   - of one cell: H(CELL(key, value)),
//   - of more: H(BRANCH(p, root of the cells whose bit p is 0, root of those whose bit p is 1)), where p,
//     two bytes big-endian, is the first bit in which their keys are not all equal.
//
// Bits of a key are counted so that a key that ends is smaller than one that goes on: byte i of a key has
// nine bits, 9i to 9i+8. Bit 9i is 1 where the key has a byte i, and 0 where it has ended; bits 9i+1 to
// 9i+8 are the byte's bits, the highest first, and 0 after the end.
//
// # What it does not do
//
// It knows no files and no keys. The root is a plain hash: whoever sees it can test guesses about the
// cells, so a node shows it only under a MAC. A tree is as deep as the longest chain of keys that share
// beginnings (at most 4,608); keys that are hashes keep it near log2 of the number of cells.
package state

import (
	"errors"
	"fmt"
	"iter"
)

// Limits of a cell, in bytes. A key has at least one.
const (
	MaxKey   = 512
	MaxValue = 64 << 10
)

// Errors of writing and building. They are wrapped with the sizes seen.
var (
	ErrKeySize   = errors.New("state: key must have 1 to 512 bytes")
	ErrValueSize = errors.New("state: value is larger than 65536 bytes")
	ErrOrder     = errors.New("state: keys do not ascend")
)

// Tree is an immutable set of cells. The zero value is empty. It may be read by many goroutines at once.
type Tree struct {
	root  *node
	count int
}

// Change is one difference between two trees: the cell's new value, or that it is gone.
type Change struct {
	Key, Value []byte
	Deleted    bool
}

// Get returns the value of key. The slice belongs to the tree: it must not be changed.
func (t *Tree) Get(key []byte) ([]byte, bool) { return t.root.get(key) }

// Scan calls yield for each cell whose key starts with prefix, in key order, until yield returns false.
// The slices belong to the tree: they may be kept and must not be changed.
func (t *Tree) Scan(prefix []byte, yield func(key, value []byte) bool) {
	t.root.scan(prefix, nil, yield)
}

// ScanFrom is [Tree.Scan] without the cells whose keys are below from.
func (t *Tree) ScanFrom(prefix, from []byte, yield func(key, value []byte) bool) {
	t.root.scan(prefix, from, yield)
}

// Len is the number of cells.
func (t *Tree) Len() int { return t.count }

// Root is the digest of all cells, as the package comment defines it. What was hashed once is remembered,
// so that a tree made from another pays for the changed paths alone.
func (t *Tree) Root() [32]byte { return t.root.digest() }

// Begin opens a transaction on top of the tree.
func (t *Tree) Begin() *Tx { return &Tx{base: t.root, root: t.root, count: t.count} }

// With returns the tree with changes made in the order given, as read back from a write-ahead file.
// Deleting a cell that is not there is no error.
func (t *Tree) With(changes ...Change) (*Tree, error) {
	tx := t.Begin()
	for _, c := range changes {
		if c.Deleted {
			tx.Delete(c.Key)
		} else if err := tx.Set(c.Key, c.Value); err != nil {
			return nil, err
		}
	}
	return tx.Commit(), nil
}

// Diff calls yield, in key order, for each change that leads from t to newer, until yield returns false.
// What both trees share is passed over.
func (t *Tree) Diff(newer *Tree, yield func(Change) bool) { diff(t.root, newer.root, yield) }

// Build makes a tree of cells that come in strictly ascending key order, in linear time. Keys and values
// are copied. Errors are [ErrOrder], [ErrKeySize] and [ErrValueSize].
func Build(cells iter.Seq2[[]byte, []byte]) (*Tree, error) {
	// right holds the branches on the tree's right edge, the root first; last is the newest leaf, not yet
	// hung into the lowest of them.
	var right []*node
	var last *node
	count := 0
	for key, value := range cells {
		if err := check(key, value); err != nil {
			return nil, err
		}
		leaf := newLeaf(key, value)
		count++
		if last == nil {
			last = leaf
			continue
		}
		p, differ := firstDifference(last.key(), key)
		if !differ || bitAt(key, p) == 0 {
			return nil, fmt.Errorf("%w: cell %d is not above the one before it", ErrOrder, count)
		}
		closed := last
		for len(right) > 0 && right[len(right)-1].bit > p {
			branch := right[len(right)-1]
			branch.right, closed = closed, branch
			right = right[:len(right)-1]
		}
		right = append(right, &node{bit: p, left: closed})
		last = leaf
	}
	root := last
	for i := len(right) - 1; i >= 0; i-- {
		right[i].right, root = root, right[i]
	}
	return &Tree{root: root, count: count}, nil
}

func check(key, value []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w, seen %d", ErrKeySize, len(key))
	}
	if len(value) > MaxValue {
		return fmt.Errorf("%w, seen %d", ErrValueSize, len(value))
	}
	return nil
}
