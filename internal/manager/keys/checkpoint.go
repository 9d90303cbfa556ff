package keys

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// CheckpointFile remembers, beside the master key, how far the audit log had
// come. An older database that is put back then shows itself, since its log
// ends too early (security decision S18). What follows from that is the store's to say.
//
// The file has two slots that are written in turn, so that a crash while
// writing leaves the one before.
type CheckpointFile struct {
	mu      sync.Mutex
	file    *os.File
	key     [Size]byte
	written uint64 // number of the newest slot
	count   int64
	head    []byte
}

const (
	headSize = 32
	slotBody = 8 + 8 + headSize // number of the write, count of events, hash of the last one
	slotSize = slotBody + 32    // and a code over these
	slots    = 2
)

// OpenCheckpoint opens the checkpoint file at path, which belongs beside the
// master key. create makes an empty one when it is missing and is for the first
// start only: with a database in use, a missing file is a refusal.
func OpenCheckpoint(path string, k *Keyring, create bool) (*CheckpointFile, error) {
	c := &CheckpointFile{key: k.Derive(labelCheckpoint)}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) && create {
		return c, c.create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w; restore it from the master key's backup", err)
	}
	c.file = file
	if err := c.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoint %s: %w", path, err), file.Close())
	}
	return c, nil
}

func (c *CheckpointFile) create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.file = file
	return errors.Join(c.write(0, nil), c.write(0, nil))
}

func (c *CheckpointFile) load() error {
	// One byte more than the slots, so that a longer file is noticed.
	raw := make([]byte, slots*slotSize+1)
	n, _ := c.file.ReadAt(raw, 0)
	if n != slots*slotSize {
		return fmt.Errorf("wanted %d bytes, seen %d or more; restore it from the master key's backup", slots*slotSize, n)
	}
	for i := range slots {
		slot := raw[i*slotSize : (i+1)*slotSize]
		body := slot[:slotBody]
		written := binary.BigEndian.Uint64(body)
		if !hmac.Equal(slot[slotBody:], c.code(body)) || written <= c.written {
			continue
		}
		c.written, c.count, c.head = written, int64(binary.BigEndian.Uint64(body[8:])), nil
		if c.count > 0 {
			c.head = body[16:slotBody]
		}
	}
	if c.written == 0 {
		return errors.New("no slot was written under this master key; restore key and checkpoint from the same backup")
	}
	return nil
}

// Latest returns the number of events and the hash of the last one that were
// saved last; zero and nil before the first event.
func (c *CheckpointFile) Latest() (count int64, head []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.head
}

// Save remembers that the audit log has count events and ends with the given
// hash of 32 bytes (none when count is 0). It returns once the disk has it.
func (c *CheckpointFile) Save(count int64, head []byte) error {
	if count < 0 || count > 0 && len(head) != headSize || count == 0 && len(head) != 0 {
		return fmt.Errorf("checkpoint: %d events with a hash of %d bytes cannot be saved", count, len(head))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(count, head)
}

func (c *CheckpointFile) write(count int64, head []byte) error {
	body := make([]byte, slotBody, slotSize)
	binary.BigEndian.PutUint64(body, c.written+1)
	binary.BigEndian.PutUint64(body[8:], uint64(count))
	copy(body[16:], head)
	slot := append(body, c.code(body)...)
	if _, err := c.file.WriteAt(slot, int64(c.written%slots)*slotSize); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := c.file.Sync(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.written, c.count, c.head = c.written+1, count, append([]byte(nil), head...)
	return nil
}

// Close closes the file.
func (c *CheckpointFile) Close() error { return c.file.Close() }

func (c *CheckpointFile) code(body []byte) []byte {
	return hmacLV(c.key, string(body))
}
