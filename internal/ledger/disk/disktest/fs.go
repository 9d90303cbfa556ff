// Package disktest is a file system in memory that fails and crashes as a real one does, for tests of
// what must survive that.
//
// What was written counts after a crash only where Sync and SyncFolder made it durable. Between, a crash
// may keep nothing of it, all of it, or pieces: blocks of a write in any choice, and names in the order in
// which they were made. A write that fails may have written its first half. After a failed Sync the
// data is gone for good, though later calls of Sync return nil, as the Linux kernel does it.
package disktest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"hitoku.dev/internal/ledger/disk"
)

// ErrCrashed is what everything returns after a crash.
var ErrCrashed = errors.New("disktest: the machine has crashed")

// Survival says what of the writes that were not durable is there after a crash.
type Survival int

const (
	Lost  Survival = iota // nothing, as after a power cut with an idle disk
	Kept                  // everything, as after kill -9
	Torn                  // pieces, chosen by the random numbers given
	Modes                 // number of the above
)

// Step is one operation that changes the disk.
type Step struct {
	N    int    // from 1
	Op   string // create, write, sync, rename, remove or folder
	Name string
}

// FS is the file system. The zero value is not usable; call New.
type FS struct {
	mu      sync.Mutex
	steps   int
	fault   func(Step) error
	crashed bool
	locked  bool
	names   map[string]*inode // as processes see them
	durable map[string]*inode
	journal []change // of names, since the last SyncFolder
	written [][]byte
}

type inode struct {
	data   []byte
	synced []byte
	lost   bool // a Sync has failed
}

type change struct {
	name string
	node *inode // nil: removed
}

// New makes an empty one.
func New() *FS { return &FS{names: map[string]*inode{}, durable: map[string]*inode{}} }

// Fault sets what is asked before each step: an error fails it. ErrCrashed crashes the machine there.
func (f *FS) Fault(fault func(Step) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Steps is the number of steps so far.
func (f *FS) Steps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps
}

// Written returns the bytes of all writes so far, one after the other, with all names: what the host has seen.
func (f *FS) Written() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Concat(f.written...)
}

// Files returns the contents of all files as processes see them. Changing them changes the files.
func (f *FS) Files() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string][]byte{}
	for name, n := range f.names {
		out[name] = n.data
	}
	return out
}

// Put sets a file's content, durably, as the host can.
func (f *FS) Put(name string, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &inode{data: slices.Clone(b), synced: slices.Clone(b)}
	f.names[name], f.durable[name] = n, n
}

// Clone returns a copy of the files as processes see them, unlocked and without faults.
func (f *FS) Clone() *FS {
	out := New()
	for name, b := range f.Files() {
		out.Put(name, b)
	}
	return out
}

// Crash ends this machine, and returns the disk as the next one finds it. random is needed for Torn alone.
func (f *FS) Crash(s Survival, random *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	names := maps.Clone(f.durable)
	switch s {
	case Kept:
		names = f.names
	case Torn:
		for _, c := range f.journal[:random.IntN(len(f.journal)+1)] {
			set(names, c)
		}
	}
	out := New()
	for name, n := range names {
		b := n.synced
		switch s {
		case Kept:
			b = n.data
		case Torn:
			b = n.torn(random)
		}
		out.names[name] = &inode{data: slices.Clone(b), synced: slices.Clone(b)}
	}
	out.durable = maps.Clone(out.names)
	return out
}

// torn keeps each block of what was not synced, or does not.
func (n *inode) torn(random *rand.Rand) []byte {
	const block = 64 // smaller than a disk's, to tear more places
	size := len(n.synced)
	if d := len(n.data) - size; d > 0 {
		size += random.IntN(d + 1)
	}
	b := make([]byte, size)
	copy(b, n.synced)
	for at := 0; at < size; at += block {
		if random.IntN(2) == 0 && at < len(n.data) {
			copy(b[at:min(at+block, size)], n.data[at:])
		}
	}
	return b
}

func set(names map[string]*inode, c change) {
	if c.node == nil {
		delete(names, c.name)
	} else {
		names[c.name] = c.node
	}
}

// step counts one, and returns its fault. The lock is held.
func (f *FS) step(op, name string) error {
	if f.crashed {
		return ErrCrashed
	}
	f.steps++
	if f.fault == nil {
		return nil
	}
	err := f.fault(Step{f.steps, op, name})
	if errors.Is(err, ErrCrashed) {
		f.crashed = true
	}
	return err
}

func (f *FS) name(c change) {
	set(f.names, c)
	f.journal = append(f.journal, c)
	f.written = append(f.written, []byte(c.name))
}

func (f *FS) Create(name string) (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step("create", name); err != nil {
		return nil, err
	}
	n := new(inode)
	f.name(change{name, n})
	return &file{f, n, name}, nil
}

func (f *FS) Open(name string) (disk.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return nil, ErrCrashed
	}
	n, ok := f.names[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &file{f, n, name}, nil
}

func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step("rename", to); err != nil {
		return err
	}
	n, ok := f.names[from]
	if !ok {
		return fs.ErrNotExist
	}
	// One step of the journal: a rename is never seen half.
	delete(f.names, from)
	f.name(change{to, n})
	return nil
}

func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step("remove", name); err != nil {
		return err
	}
	if _, ok := f.names[name]; !ok {
		return fs.ErrNotExist
	}
	f.name(change{name, nil})
	return nil
}

func (f *FS) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return nil, ErrCrashed
	}
	return slices.Sorted(maps.Keys(f.names)), nil
}

func (f *FS) SyncFolder() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step("folder", ""); err != nil {
		return err
	}
	f.durable, f.journal = maps.Clone(f.names), nil
	return nil
}

func (f *FS) Lock() (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return nil, ErrCrashed
	}
	if f.locked {
		return nil, disk.ErrLocked
	}
	f.locked = true
	return unlock{f}, nil
}

type unlock struct{ *FS }

func (u unlock) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.locked = false
	return nil
}

type file struct {
	fs   *FS
	node *inode
	name string
}

func (f *file) ReadAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.crashed {
		return 0, ErrCrashed
	}
	if at > int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.crashed {
		return 0, ErrCrashed
	}
	err := f.fs.step("write", f.name)
	if err != nil {
		p = p[:len(p)/2]
	}
	if short := int(at) + len(p) - len(f.node.data); short > 0 {
		f.node.data = append(f.node.data, make([]byte, short)...)
	}
	f.fs.written = append(f.fs.written, slices.Clone(p))
	return copy(f.node.data[at:], p), err
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("sync", f.name); err != nil {
		f.node.lost = true
		return err
	}
	if !f.node.lost {
		f.node.synced = slices.Clone(f.node.data)
	}
	return nil
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.crashed {
		return 0, ErrCrashed
	}
	return int64(len(f.node.data)), nil
}

func (f *file) Close() error { return nil }
