package disk

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/state"
)

// Saved is a node's state at one position.
type Saved struct {
	Position uint64
	Chain    [32]byte // C of the position
	Outcomes [32]byte // Q of the newest checkpoint position up to it
	// Control is the state of the public control plane, which this package does not read. At most
	// MaxControl bytes. Nil in Append means: as before.
	Control []byte
	Tree    *state.Tree // nil: no cell
	// Epochs are the epoch keys that the log's records after the position need. They come from the
	// ring, or from an exported file; Begin and Append pass over them.
	Epochs []keys.Epoch
}

// Options say how a folder is used. FS, Ledger and Random are required.
type Options struct {
	FS     FS
	Ledger [32]byte
	Random io.Reader // of the TEE; for keys and nonces
	// Recorder, when set, sees every encryption; for tests. It is called by several goroutines.
	Recorder keys.Recorder
	// Compact is the least size in bytes of a log before it is folded into a new base. It is folded
	// when it is larger than its base too. 0 means 16 MiB.
	Compact int64
}

// Dir is the folder of sealed files of one node. Its methods may be called from several goroutines.
type Dir struct {
	o      Options
	unlock io.Closer

	pending sync.Mutex // guards what Append touches, and is never held during writing
	last    *Saved     // what was appended, or begun with, last
	unsaved bool       // last is not sealed yet
	control []byte     // new control state among what is not sealed yet

	mu        sync.Mutex // guards the rest
	closed    bool
	begun     bool
	gens      []generation // that a load may need, rising; the last is the one written
	sealed    *Saved       // newest state in the log's steps
	log       *logWriter
	linked    bool     // the log goes on from the generation before, so it counts before its base is there
	base      *baseJob // writes the newest generation's base
	baseDone  bool     // that base is there
	baseSize  int64
	fault     error  // why the newest base or compaction failed
	retry     int64  // size of the log at which a base that failed is tried again
	highest   uint64 // number of the newest generation, also of those given up
	ring      *ring  // the newest that this process wrote
	wanted    *ring  // a newer one that may not have been written whole
	ringKnows bool   // ring may carry the keys of new generations
}

// generation is a base file and a log file under one key.
type generation struct {
	number uint64
	key    [keySize]byte
}

// Open locks the folder, checks that it can be written, and removes what a crash left half written.
// Errors are [ErrLocked], [ErrPermission], [ErrReadOnly] and [ErrFull].
func Open(o Options) (*Dir, error) {
	if o.Compact == 0 {
		o.Compact = 16 << 20
	}
	unlock, err := o.FS.Lock()
	if err != nil {
		return nil, failed("lock", lockName, err)
	}
	names, err := o.FS.List()
	if err != nil {
		return nil, errors.Join(failed("read", "folder", err), unlock.Close())
	}
	for _, name := range names {
		if strings.HasSuffix(name, suffixPart) {
			if err := o.FS.Remove(name); err != nil {
				return nil, errors.Join(failed("remove", name, err), unlock.Close())
			}
		}
	}
	return &Dir{o: o, unlock: unlock}, nil
}

// Close stops what is being written in the background, forgets the keys and unlocks the folder. What
// was appended and not synced is lost.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.stopBase()
	var err error
	if d.log != nil {
		err = failed("close", d.log.name, d.log.file.Close())
	}
	for i := range d.gens {
		d.gens[i].key = [keySize]byte{}
	}
	d.ring.erase()
	d.wanted.erase()
	d.ring, d.wanted = nil, nil
	return errors.Join(err, d.unlock.Close())
}

// numbers lists the numbers of the files with a prefix, rising.
func (d *Dir) numbers(prefixes ...string) ([]uint64, error) {
	names, err := d.o.FS.List()
	if err != nil {
		return nil, failed("read", "folder", err)
	}
	var out []uint64
	for _, name := range names {
		for _, p := range prefixes {
			if n, ok := numberOf(p, name); ok {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// replace writes a file so that after a crash either the old or the new one is there, whole.
func (d *Dir) replace(name string, write func(w io.Writer) error) error {
	part := name + suffixPart
	file, err := d.o.FS.Create(part)
	if err != nil {
		return failed("create", name, err)
	}
	if err = write(io.NewOffsetWriter(file, 0)); err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = d.o.FS.Rename(part, name)
	}
	if err != nil {
		_ = d.o.FS.Remove(part) // Open removes what stays
		return failed("write", name, err)
	}
	return failed("fsync folder of", name, d.o.FS.SyncFolder())
}

func (d *Dir) replaceBytes(name string, b []byte) error {
	return d.replace(name, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// read reads a whole file of at most limit bytes.
func (d *Dir) read(name string, limit int64) ([]byte, error) {
	file, err := d.o.FS.Open(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	size, err := file.Size()
	if err != nil {
		return nil, failed("read", name, err)
	}
	if size > limit {
		return nil, failed("read", name, tampered("%d bytes, wanted at most %d", size, limit))
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(file, 0, size), b); err != nil {
		return nil, failed("read", name, cut(err, 0))
	}
	return b, nil
}
