package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"hitoku.dev/internal/ledger/order"
)

// The socket's protocol: each side sends messages of u32 length and so many bytes,
// big-endian; one reply to each request, in order. The first byte is what it is.
//
//	hello  → 'h' u8 version          ← 'h' id 16, longest record u32
//	submit → 's' sender 32, n u64, record to the end     ← 'k'
//	read   → 'r' after u64, limit u32    ← 'e' then entries: position u64, time u64, length u32, record
//	wait   → 'w' after u64           ← 'k' when there is one or after a while
//	head   → 'q'                     ← 'q' position u64, time u64
//	any    ← 'x' code u8, text: it failed; 1 too large, 2 closed, 0 anything else
const (
	protoVersion = 1
	maxRequest   = 1 + 32 + 8 + 4<<20
	// A reply holds at most the longest record and readBytes of others.
	maxReply     = 1 + 4<<20 + readBytes + maxPage*entryHead
	maxPage      = 4096
	entryHead    = 8 + 8 + 4
	maxErrorText = 1000

	codeOther, codeTooLarge, codeClosed = 0, 1, 2
)

func writeMessage(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

func readMessage(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || uint64(n) > uint64(limit) {
		return nil, fmt.Errorf("embedded: message of %d bytes on the socket; 1 to %d wanted", n, limit)
	}
	// Memory grows with what arrives, not with what is announced.
	b := make([]byte, min(int(n), 64<<10))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	for len(b) < int(n) {
		more := min(int(n)-len(b), len(b))
		b = append(b, make([]byte, more)...)
		if _, err := io.ReadFull(r, b[len(b)-more:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// request is one parsed request.
type request struct {
	kind       byte
	version    byte
	submission order.Submission
	after      uint64
	limit      uint32
}

var errRequest = errors.New("embedded: request is malformed")

func parseRequest(b []byte) (request, error) {
	if len(b) == 0 {
		return request{}, errRequest
	}
	q, b := request{kind: b[0]}, b[1:]
	switch {
	case q.kind == 'h' && len(b) == 1:
		q.version = b[0]
	case q.kind == 's' && len(b) > 40:
		q.submission.Sender = [32]byte(b)
		q.submission.N = binary.BigEndian.Uint64(b[32:])
		q.submission.Record = b[40:]
	case q.kind == 'r' && len(b) == 12:
		q.after, q.limit = binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	case q.kind == 'w' && len(b) == 8:
		q.after = binary.BigEndian.Uint64(b)
	case q.kind == 'q' && len(b) == 0:
	default:
		return request{}, errRequest
	}
	return q, nil
}

func (q request) bytes() []byte {
	b := []byte{q.kind}
	switch q.kind {
	case 'h':
		b = append(b, q.version)
	case 's':
		b = append(b, q.submission.Sender[:]...)
		b = binary.BigEndian.AppendUint64(b, q.submission.N)
		b = append(b, q.submission.Record...)
	case 'r':
		b = binary.BigEndian.AppendUint64(b, q.after)
		b = binary.BigEndian.AppendUint32(b, q.limit)
	case 'w':
		b = binary.BigEndian.AppendUint64(b, q.after)
	}
	return b
}

func entriesReply(list []order.Entry) []byte {
	b := []byte{'e'}
	for _, e := range list {
		b = binary.BigEndian.AppendUint64(b, e.Position)
		b = binary.BigEndian.AppendUint64(b, e.Time)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.Record)))
		b = append(b, e.Record...)
	}
	return b
}

// parseEntries reads the entries after a position; their records share b.
func parseEntries(b []byte, after uint64, limit, maxRecord int) ([]order.Entry, error) {
	var list []order.Entry
	time := uint64(0)
	for len(b) > 0 {
		if len(b) < entryHead || len(list) == limit {
			return nil, errReply
		}
		e := order.Entry{Position: binary.BigEndian.Uint64(b), Time: binary.BigEndian.Uint64(b[8:])}
		n := binary.BigEndian.Uint32(b[16:])
		b = b[entryHead:]
		if n == 0 || uint64(n) > uint64(maxRecord) || uint64(n) > uint64(len(b)) || e.Position != after+1 || e.Time < time {
			return nil, errReply
		}
		e.Record, b = b[:n:n], b[n:]
		after, time = e.Position, e.Time
		list = append(list, e)
	}
	return list, nil
}

var errReply = errors.New("embedded: the log's process answers what is no answer; is it of another version?")

func errorReply(err error) []byte {
	code := byte(codeOther)
	switch {
	case errors.Is(err, order.ErrTooLarge):
		code = codeTooLarge
	case errors.Is(err, order.ErrClosed):
		code = codeClosed
	}
	text := err.Error()
	return append([]byte{'x', code}, text[:min(len(text), maxErrorText)]...)
}

// refusal is an error that the log's process answered: it was asked, and said no.
type refusal struct {
	code byte
	text string
}

func (r refusal) Error() string { return fmt.Sprintf("the log's process answers: %q", r.text) }

func (r refusal) Is(target error) bool { return r.code == codeTooLarge && target == order.ErrTooLarge }

// parseReply returns what follows the byte that was wanted, or the error that the reply tells.
func parseReply(b []byte, kind byte) ([]byte, error) {
	switch {
	case len(b) >= 2 && b[0] == 'x' && len(b) <= 2+maxErrorText:
		return nil, refusal{b[1], string(b[2:])}
	case len(b) >= 1 && b[0] == kind:
		return b[1:], nil
	}
	return nil, errReply
}

func helloReply(id fileID, maxRecord int) []byte {
	return binary.BigEndian.AppendUint32(append([]byte{'h'}, id[:]...), uint32(maxRecord))
}

func headReply(position, time uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{'q'}, position), time)
}

func parseHello(b []byte) (id fileID, maxRecord int, err error) {
	if len(b) != idSize+4 {
		return id, 0, errReply
	}
	n := binary.BigEndian.Uint32(b[idSize:])
	if n == 0 || n > 4<<20 {
		return id, 0, errReply
	}
	return fileID(b), int(n), nil
}

func parseHead(b []byte) (position, time uint64, err error) {
	if len(b) != 16 {
		return 0, 0, errReply
	}
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), nil
}
