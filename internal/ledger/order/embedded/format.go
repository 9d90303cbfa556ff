package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"hitoku.dev/internal/ledger/order"
)

// The file is a header and then batches, each written by one write and made
// durable by one fsync before the next begins. All numbers are big-endian.
//
//	header:  "hitoku-order/1\n" padded with NUL to 16 bytes, 16 random bytes (the log's id)
//	batch:   id 16, first position u64, frames u32, length of the frames u32, CRC-32C of these 32 bytes u32
//	frame:   length of the record u32, time u64, record, CRC-32C of position u64 and of these u32
//
// The id before each batch makes batches recognisable: what looks like a batch
// behind a damaged one proves that the damaged one was complete once. No record
// can imitate a batch, since the id is random and does not leave this process but to readers.
const (
	headerSize      = 32
	idSize          = 16
	batchHeaderSize = idSize + 8 + 4 + 4 + 4
	frameHeadSize   = 4 + 8
	frameOverhead   = frameHeadSize + 4
	maxBatch        = 8 << 20 // bytes of frames in a batch
)

var (
	errTorn = errors.New("not a whole batch")
	// ErrCorrupt means that the file holds something that this program did not write, or that it was changed since.
	ErrCorrupt = errors.New("embedded: log is damaged")
)

type fileID [idSize]byte

func magic() []byte { return []byte("hitoku-order/1\n\x00") }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// frame is a record's place in the file.
type frame struct {
	offset int64 // of its head
	length uint32
	time   uint64
}

func appendFrame(b []byte, position, time uint64, record []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(record)))
	b = binary.BigEndian.AppendUint64(b, time)
	b = append(b, record...)
	return binary.BigEndian.AppendUint32(b, frameSum(position, b[start:]))
}

func frameSum(position uint64, frame []byte) uint32 {
	sum := crc32.Update(0, castagnoli(), binary.BigEndian.AppendUint64(nil, position))
	return crc32.Update(sum, castagnoli(), frame)
}

// putBatchHeader fills the room of batchHeaderSize bytes that was left before the frames.
func putBatchHeader(b []byte, id fileID, first uint64, frames int) {
	copy(b, id[:])
	binary.BigEndian.PutUint64(b[idSize:], first)
	binary.BigEndian.PutUint32(b[idSize+8:], uint32(frames))
	binary.BigEndian.PutUint32(b[idSize+12:], uint32(len(b)-batchHeaderSize))
	binary.BigEndian.PutUint32(b[idSize+16:], crc32.Checksum(b[:idSize+16], castagnoli()))
}

// parseBatchHeader returns errTorn for what is no header of the batch that begins at a position.
func parseBatchHeader(b []byte, id fileID, first uint64) (frames, length uint32, err error) {
	if len(b) < batchHeaderSize || !bytes.Equal(b[:idSize], id[:]) ||
		binary.BigEndian.Uint32(b[idSize+16:]) != crc32.Checksum(b[:idSize+16], castagnoli()) ||
		binary.BigEndian.Uint64(b[idSize:]) != first {
		return 0, 0, errTorn
	}
	frames, length = binary.BigEndian.Uint32(b[idSize+8:]), binary.BigEndian.Uint32(b[idSize+12:])
	if frames == 0 || length > maxBatch || uint64(frames)*(frameOverhead+1) > uint64(length) {
		return 0, 0, errTorn
	}
	return frames, length, nil
}

// parseFrames reads the frames of a whole batch; base is their offset in the file.
func parseFrames(b []byte, count uint32, base int64, first, lastTime uint64, maxRecord int) ([]frame, error) {
	list := make([]frame, 0, min(count, uint32(len(b)/frameOverhead)))
	at := 0
	for i := range count {
		record, time, n, err := parseFrame(b[at:], first+uint64(i), maxRecord)
		if err != nil {
			return nil, err
		}
		if time < lastTime {
			return nil, errTorn
		}
		lastTime = time
		list = append(list, frame{offset: base + int64(at), length: uint32(len(record)), time: time})
		at += n
	}
	if at != len(b) {
		return nil, errTorn
	}
	return list, nil
}

// parseFrame reads the frame at the beginning of b and returns its length in bytes.
func parseFrame(b []byte, position uint64, maxRecord int) (record []byte, time uint64, n int, err error) {
	if len(b) < frameOverhead {
		return nil, 0, 0, errTorn
	}
	length := binary.BigEndian.Uint32(b)
	if length == 0 || uint64(length) > uint64(maxRecord) || uint64(length) > uint64(len(b)-frameOverhead) {
		return nil, 0, 0, errTorn
	}
	n = frameOverhead + int(length)
	if binary.BigEndian.Uint32(b[n-4:]) != frameSum(position, b[:n-4]) {
		return nil, 0, 0, errTorn
	}
	return b[frameHeadSize : n-4], binary.BigEndian.Uint64(b[4:]), n, nil
}

// scan reads the whole file and returns its frames and the offset behind the last whole batch.
// What follows that is a torn tail, unless a later batch shows that it was whole once: ErrCorrupt.
func scan(r io.ReaderAt, size int64, maxRecord int) (id fileID, list []frame, end int64, err error) {
	head := make([]byte, headerSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return id, nil, 0, fmt.Errorf("embedded: read the header of the log: %w", err)
	}
	if !bytes.Equal(head[:len(magic())], magic()) {
		return id, nil, 0, fmt.Errorf("%w: it does not begin with %q; is this another file?", ErrCorrupt, magic()[:14])
	}
	copy(id[:], head[len(magic()):])
	end = headerSize
	lastTime := uint64(0)
	for end < size {
		found, n, err := readBatch(r, size, end, id, uint64(len(list))+1, lastTime, maxRecord)
		if errors.Is(err, errTorn) {
			at, err := findBatch(r, end+1, size, id)
			if err != nil {
				return id, nil, 0, err
			}
			if at >= 0 {
				return id, nil, 0, fmt.Errorf("%w: the batch after position %d, at byte %d, is damaged, but another follows at byte %d; restore the file from a copy",
					ErrCorrupt, len(list), end, at)
			}
			return id, list, end, nil
		}
		if err != nil {
			return id, nil, 0, err
		}
		list = append(list, found...)
		lastTime = found[len(found)-1].time
		end += n
	}
	return id, list, end, nil
}

func readBatch(r io.ReaderAt, size, at int64, id fileID, first, lastTime uint64, maxRecord int) ([]frame, int64, error) {
	head := make([]byte, min(batchHeaderSize, size-at))
	if _, err := r.ReadAt(head, at); err != nil {
		return nil, 0, fmt.Errorf("embedded: read the log at byte %d: %w", at, err)
	}
	count, length, err := parseBatchHeader(head, id, first)
	if err != nil {
		return nil, 0, err
	}
	if int64(length) > size-at-batchHeaderSize {
		return nil, 0, errTorn
	}
	body := make([]byte, length)
	if _, err := r.ReadAt(body, at+batchHeaderSize); err != nil {
		return nil, 0, fmt.Errorf("embedded: read the log at byte %d: %w", at+batchHeaderSize, err)
	}
	list, err := parseFrames(body, count, at+batchHeaderSize, first, lastTime, maxRecord)
	return list, batchHeaderSize + int64(length), err
}

// findBatch returns the offset of the next thing that is the header of some batch, or -1.
func findBatch(r io.ReaderAt, from, size int64, id fileID) (int64, error) {
	const window = 1 << 20
	b := make([]byte, window)
	for from < size {
		n := min(window, size-from)
		if _, err := r.ReadAt(b[:n], from); err != nil {
			return 0, fmt.Errorf("embedded: read the log at byte %d: %w", from, err)
		}
		for at := 0; at+batchHeaderSize <= int(n); at++ {
			i := bytes.Index(b[at:n], id[:])
			if i < 0 || at+i+batchHeaderSize > int(n) {
				break
			}
			at += i
			first := binary.BigEndian.Uint64(b[at+idSize:])
			if _, _, err := parseBatchHeader(b[at:n], id, first); err == nil {
				return from + int64(at), nil
			}
		}
		if n < window {
			break
		}
		from += n - batchHeaderSize + 1
	}
	return -1, nil
}

// entry reads one frame again and checks that it is still what was written.
func (l *Log) entry(position uint64, f frame) (order.Entry, error) {
	b := make([]byte, frameOverhead+int(f.length))
	if _, err := l.file.ReadAt(b, f.offset); err != nil {
		return order.Entry{}, fmt.Errorf("embedded: read position %d: %w", position, err)
	}
	record, time, _, err := parseFrame(b, position, l.maxRecord)
	if err != nil || time != f.time {
		return order.Entry{}, fmt.Errorf("%w: position %d at byte %d was changed; restore the file from a copy", ErrCorrupt, position, f.offset)
	}
	return order.Entry{Position: position, Time: time, Record: record}, nil
}
