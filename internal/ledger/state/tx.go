package state

// Tx is a set of writes on top of a tree. It sees its own writes. It is for one goroutine; the tree below
// and all trees committed from it stay readable by others.
type Tx struct {
	base, root *node
	count      int
}

// Mark is a point of a transaction to roll back to.
type Mark struct {
	root  *node
	count int
}

// Get returns the value of key. The slice belongs to the tree: it must not be changed.
func (x *Tx) Get(key []byte) ([]byte, bool) { return x.root.get(key) }

// Scan calls yield as [Tree.Scan] does, for the cells as they are when it is called: writes that yield
// itself makes are not seen by it.
func (x *Tx) Scan(prefix []byte, yield func(key, value []byte) bool) { x.root.scan(prefix, nil, yield) }

// ScanFrom is [Tx.Scan] without the cells whose keys are below from.
func (x *Tx) ScanFrom(prefix, from []byte, yield func(key, value []byte) bool) {
	x.root.scan(prefix, from, yield)
}

// Len is the number of cells.
func (x *Tx) Len() int { return x.count }

// Set writes a cell; key and value are copied. Errors are [ErrKeySize] and [ErrValueSize].
func (x *Tx) Set(key, value []byte) error {
	if err := check(key, value); err != nil {
		return err
	}
	root, added := x.root.with(key, value)
	x.root = root
	if added {
		x.count++
	}
	return nil
}

// Delete removes a cell and says whether it was there.
func (x *Tx) Delete(key []byte) bool {
	root, found := x.root.without(key)
	x.root = root
	if found {
		x.count--
	}
	return found
}

// Mark returns a savepoint. Savepoints nest, and one may be rolled back to many times.
func (x *Tx) Mark() Mark { return Mark{x.root, x.count} }

// Rollback undoes all writes since m, which must come from the same transaction.
func (x *Tx) Rollback(m Mark) { x.root, x.count = m.root, m.count }

// Commit returns the tree with all writes. The transaction can go on; later writes do not touch that tree.
func (x *Tx) Commit() *Tree { return &Tree{root: x.root, count: x.count} }

// Changes calls yield, in key order, for each cell that differs from the tree the transaction began on,
// until yield returns false. A cell set back to its old value is no change.
func (x *Tx) Changes(yield func(Change) bool) { diff(x.base, x.root, yield) }
