package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/wire"
)

// Floor is the most that a client has seen of a ledger.
type Floor struct {
	Position uint64   // committed
	Chain    [32]byte // at Position
	Epoch    uint64
	T        [32]byte // of Epoch
}

// raised is the floor with what of another one is higher.
func (f Floor) raised(o Floor) Floor {
	if o.Position > f.Position {
		f.Position, f.Chain = o.Position, o.Chain
	}
	if o.Epoch > f.Epoch {
		f.Epoch, f.T = o.Epoch, o.T
	}
	return f
}

// FloorStore keeps the floor of one ledger.
type FloorStore interface {
	// Load returns the floor, zero when there is none yet.
	Load() (Floor, error)
	// Save keeps a floor; it must not go below what is kept.
	Save(Floor) error
}

// MemoryFloor keeps the floor until the process ends.
type MemoryFloor struct {
	mu    sync.Mutex
	floor Floor
}

// Load implements [FloorStore].
func (m *MemoryFloor) Load() (Floor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.floor, nil
}

// Save implements [FloorStore].
func (m *MemoryFloor) Save(f Floor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.floor = m.floor.raised(f)
	return nil
}

// FileFloor keeps the floor in a file, which is replaced as a whole. Two processes may use one file; of two
// that save at the same moment one may be lost, which lowers the floor to what one of them has seen.
type FileFloor struct {
	path   string
	ledger [32]byte
}

// NewFileFloor keeps the floor of a ledger in a file.
func NewFileFloor(path string, ledger [32]byte) *FileFloor {
	return &FileFloor{path, ledger}
}

const (
	floorFormat = "hitoku-ledger-floor/1"
	maxFloor    = 4096
)

// floorJSON is the file.
type floorJSON struct {
	Format   string       `json:"format"`
	Ledger   wire.HexHash `json:"ledger"`
	Position uint64       `json:"position"`
	Chain    wire.HexHash `json:"chain"`
	Epoch    uint64       `json:"epoch"`
	T        wire.HexHash `json:"t"`
}

// Load implements [FloorStore].
func (f *FileFloor) Load() (Floor, error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Floor{}, nil
	}
	if err != nil {
		return Floor{}, err
	}
	var v floorJSON
	if len(b) > maxFloor {
		return Floor{}, fmt.Errorf("%s: %d bytes, at most %d are allowed", f.path, len(b), maxFloor)
	}
	if err := wire.DecodeJSON("floor", b, &v); err != nil {
		return Floor{}, fmt.Errorf("%s: %w; without this file the client would trust any history again", f.path, err)
	}
	if v.Format != floorFormat || [32]byte(v.Ledger) != f.ledger {
		return Floor{}, fmt.Errorf("%s: format %.40q of ledger %x, wanted %q of ledger %x", f.path, v.Format, v.Ledger, floorFormat, f.ledger)
	}
	return Floor{v.Position, v.Chain, v.Epoch, v.T}, nil
}

// Save implements [FloorStore].
func (f *FileFloor) Save(floor Floor) error {
	kept, err := f.Load()
	if err != nil {
		return err
	}
	floor = kept.raised(floor)
	if floor == kept {
		return nil
	}
	b, err := json.Marshal(floorJSON{floorFormat, f.ledger, floor.Position, floor.Chain, floor.Epoch, floor.T})
	if err != nil {
		return err
	}
	return keyfile.Replace(f.path, append(b, '\n'), 0o600)
}
