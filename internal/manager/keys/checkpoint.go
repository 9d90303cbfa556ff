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

// ErrRolledBack is wrapped when the audit log does not reach, or does not
// contain, what the checkpoint remembers.
var ErrRolledBack = errors.New("the audit log is older than its checkpoint")

// Checkpoint remembers, beside the master key, how far the audit log had come.
// An older database that is put back then shows itself, since its log ends too
// early (security decision S18).
//
// The file has two slots that are written in turn, so that a crash leaves at
// least one readable. Writes are not forced to disk: a checkpoint lost with the
// machine's power is an earlier one, which the log still satisfies.
type Checkpoint struct {
	mu   sync.Mutex
	file *os.File
	key  [Size]byte
	seq  uint64
	head [32]byte
	next int // slot that Advance writes
}

const (
	slotSize = 8 + 32 + 32 // sequence, head, code
	slots    = 2
)

// OpenCheckpoint opens the checkpoint file at path, which belongs beside the
// master key. create makes an empty one when it is missing and is for the first
// start only: with a database in use, a missing file is a refusal.
func OpenCheckpoint(path string, k *Keyring, create bool) (*Checkpoint, error) {
	c := &Checkpoint{key: k.Derive(labelAnchor)}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) && create {
		return c, c.create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w; restore it with the master key's backup, or accept the loss with `hitoku manager restore --accept-rollback`", err)
	}
	c.file = file
	if err := c.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoint %s: %w", path, err), file.Close())
	}
	return c, nil
}

func (c *Checkpoint) create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.file = file
	for range slots {
		if err := c.write(0, [32]byte{}); err != nil {
			return err
		}
	}
	return file.Sync()
}

func (c *Checkpoint) load() error {
	// One byte more than the slots, so that a longer file is noticed.
	raw := make([]byte, slots*slotSize+1)
	n, _ := c.file.ReadAt(raw, 0)
	if n != slots*slotSize {
		return fmt.Errorf("wanted %d bytes, seen %d or more; restore it with the master key's backup", slots*slotSize, n)
	}
	found := false
	for i := range slots {
		slot := raw[i*slotSize : (i+1)*slotSize]
		if !hmac.Equal(slot[40:], c.code(slot[:40])) {
			continue
		}
		if seq := binary.BigEndian.Uint64(slot); !found || seq > c.seq {
			c.seq, c.head, c.next = seq, [32]byte(slot[8:40]), (i+1)%slots
		}
		found = true
	}
	if !found {
		return errors.New("no slot was written under this master key; restore key and checkpoint from the same backup")
	}
	return nil
}

// Latest returns the sequence number and head of the audit log that were last
// remembered; zero before the first event.
func (c *Checkpoint) Latest() (seq uint64, head [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq, c.head
}

// Advance remembers that the audit log has reached seq with the given head (the
// hash of its chain). It is called after the event is committed. A lower
// sequence number is ignored, since two commits may report in either order.
func (c *Checkpoint) Advance(seq uint64, head [32]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq <= c.seq {
		return nil
	}
	return c.write(seq, head)
}

// AcceptRollback forgets what was remembered and takes the given state. Only a
// person may ask for it, and it must be audited.
func (c *Checkpoint) AcceptRollback(seq uint64, head [32]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range slots {
		if err := c.write(seq, head); err != nil {
			return err
		}
	}
	return c.file.Sync()
}

// Check compares the audit log with the checkpoint: last is the log's highest
// sequence number and at returns the chain's head after the event with the given
// number. Its error wraps ErrRolledBack unless at itself fails.
func (c *Checkpoint) Check(last uint64, at func(seq uint64) ([32]byte, error)) error {
	seq, head := c.Latest()
	const advice = "restore the newest backup, or accept the loss with `hitoku manager restore --accept-rollback`"
	if last < seq {
		return fmt.Errorf("%w: wanted at least %d events, seen %d; %s", ErrRolledBack, seq, last, advice)
	}
	if seq == 0 {
		return nil
	}
	seen, err := at(seq)
	if err != nil {
		return fmt.Errorf("audit event %d: %w", seq, err)
	}
	if seen != head {
		return fmt.Errorf("%w: event %d: wanted chain head %x, seen %x; %s", ErrRolledBack, seq, head, seen, advice)
	}
	return nil
}

// Close closes the file.
func (c *Checkpoint) Close() error { return c.file.Close() }

func (c *Checkpoint) write(seq uint64, head [32]byte) error {
	slot := make([]byte, 0, slotSize)
	slot = binary.BigEndian.AppendUint64(slot, seq)
	slot = append(slot, head[:]...)
	slot = append(slot, c.code(slot)...)
	if _, err := c.file.WriteAt(slot, int64(c.next*slotSize)); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.seq, c.head, c.next = seq, head, (c.next+1)%slots
	return nil
}

func (c *Checkpoint) code(data []byte) []byte { return hmacLV(c.key, []string{string(data)}) }
