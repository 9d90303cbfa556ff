package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A log file is its header (the position is where it begins) ‖ 32 bytes link ‖ segments. The link is
// the chain value at the end of the generation before, or zero when there is none that it goes on from.
//
// A segment is u32 length of the ciphertext ‖ u8 1 for the last of its step, else 0 ‖ u64 position of
// the step ‖ u32 CRC-32C of the ciphertext ‖ u32 CRC-32C of the 17 bytes before ‖ ciphertext. A segment's
// nonce is its number; its associated data are the chain value before it, the mark and the position.
// The chain value is SHA-256 of the value before and the ciphertext, at first of header and link.
// The two checksums protect nothing: they tell a torn end from a change.
const (
	logHeaderSize   = headerSize + 32
	segmentHeadSize = 4 + 1 + 8 + 4 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func segmentAAD(chain [32]byte, last byte, position uint64) []byte {
	b := append(make([]byte, 0, 41), chain[:]...)
	return binary.BigEndian.AppendUint64(append(b, last), position)
}

func nextChain(chain [32]byte, ciphertext []byte) [32]byte {
	h := sha256.New()
	h.Write(chain[:])
	h.Write(ciphertext)
	return [32]byte(h.Sum(nil))
}

// logWriter appends steps to one log file.
type logWriter struct {
	file    File
	name    string
	aead    *aead
	counter uint64
	chain   [32]byte
	end     int64  // all before it is durable
	pending []byte // sealed for this place; may be written in part
	broken  error  // an fsync failed: what lies on the disk cannot be told
}

// createLog makes a log file that is durable but for its name.
func createLog(fs FS, name string, a *aead, h header, link [32]byte) (*logWriter, error) {
	file, err := fs.Create(name)
	if err != nil {
		return nil, failed("create", name, err)
	}
	b := append(h.encode(), link[:]...)
	if _, err = file.WriteAt(b, 0); err == nil {
		err = file.Sync()
	}
	if err != nil {
		return nil, errors.Join(failed("write", name, err), file.Close())
	}
	return &logWriter{file: file, name: name, aead: a, chain: sha256.Sum256(b), end: int64(len(b))}, nil
}

// step seals one step's items behind what is pending.
func (l *logWriter) step(items []byte, position uint64) {
	for last := byte(0); last == 0; {
		n := min(len(items), chunkSize)
		if n == len(items) {
			last = 1
		}
		ciphertext := l.aead.seal(nil, counterNonce(domainLog, l.counter), items[:n], segmentAAD(l.chain, last, position))
		l.counter++
		l.chain = nextChain(l.chain, ciphertext)
		at := len(l.pending)
		b := binary.BigEndian.AppendUint32(l.pending, uint32(len(ciphertext)))
		b = binary.BigEndian.AppendUint64(append(b, last), position)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(ciphertext, castagnoli))
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
		l.pending = append(b, ciphertext...)
		items = items[n:]
	}
}

// flush makes what is pending durable. A write that failed is repeated at the next call with the same
// bytes in the same place; after a failed fsync nothing more is taken.
func (l *logWriter) flush() error {
	if l.broken != nil {
		return l.broken
	}
	if len(l.pending) == 0 {
		return nil
	}
	if _, err := l.file.WriteAt(l.pending, l.end); err != nil {
		return failed("write", l.name, err)
	}
	if err := l.file.Sync(); err != nil {
		l.broken = failed("fsync", l.name, err)
		return l.broken
	}
	l.end += int64(len(l.pending))
	l.pending = l.pending[:0]
	return nil
}
