package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// chunkSize is the most plaintext that is sealed at once, in bytes.
const chunkSize = 1 << 20

// A stream is chunks: u32 length of the ciphertext ‖ u8 1 for the last, else 0 ‖ ciphertext. A chunk's
// nonce is its number; its associated data are the SHA-256 of what the stream belongs to, and the mark.
const chunkHead = 4 + 1

// streamWriter seals what is written to it. Close seals the last chunk; it does not close w.
type streamWriter struct {
	w       io.Writer
	aead    *aead
	domain  uint32
	aad     [sha256.Size + 1]byte
	counter uint64
	plain   []byte
	out     []byte
	written int64
}

func newStreamWriter(w io.Writer, a *aead, domain uint32, context []byte) *streamWriter {
	s := &streamWriter{w: w, aead: a, domain: domain}
	sum := sha256.Sum256(context)
	copy(s.aad[:], sum[:])
	return s
}

func (s *streamWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(s.plain) == chunkSize {
			if err := s.chunk(0); err != nil {
				return 0, err
			}
		}
		k := min(len(p), chunkSize-len(s.plain))
		s.plain, p = append(s.plain, p[:k]...), p[k:]
	}
	return n, nil
}

func (s *streamWriter) Close() error { return s.chunk(1) }

func (s *streamWriter) chunk(last byte) error {
	s.aad[sha256.Size] = last
	b := binary.BigEndian.AppendUint32(s.out[:0], uint32(len(s.plain)+tagSize))
	b = s.aead.seal(append(b, last), counterNonce(s.domain, s.counter), s.plain, s.aad[:])
	s.out = b
	s.counter++
	clear(s.plain)
	s.plain = s.plain[:0]
	s.written += int64(len(b))
	_, err := s.w.Write(b)
	return err
}

// streamReader opens what streamWriter wrote. It gives out nothing that is not authenticated, and
// io.EOF only after the last chunk, with nothing behind it.
type streamReader struct {
	r       io.Reader
	aead    *aead
	domain  uint32
	aad     [sha256.Size + 1]byte
	counter uint64
	sealed  []byte
	buffer  []byte
	plain   []byte
	last    bool
}

func newStreamReader(r io.Reader, a *aead, domain uint32, context []byte) *streamReader {
	s := &streamReader{r: r, aead: a, domain: domain}
	sum := sha256.Sum256(context)
	copy(s.aad[:], sum[:])
	return s
}

func (s *streamReader) Read(p []byte) (int, error) {
	for len(s.plain) == 0 {
		if s.last {
			return 0, s.nothingMore()
		}
		if err := s.chunk(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.plain)
	s.plain = s.plain[n:]
	return n, nil
}

func (s *streamReader) chunk() error {
	var head [chunkHead]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return cut(err, s.counter)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < tagSize || n > chunkSize+tagSize || head[4] > 1 {
		return tampered("chunk %d of %d bytes and mark %d", s.counter, n, head[4])
	}
	if cap(s.sealed) < int(n) {
		s.sealed = make([]byte, n)
	}
	s.sealed = s.sealed[:n]
	if _, err := io.ReadFull(s.r, s.sealed); err != nil {
		return cut(err, s.counter)
	}
	s.aad[sha256.Size] = head[4]
	plain, err := s.aead.open(s.buffer[:0], counterNonce(s.domain, s.counter), s.sealed, s.aad[:])
	if err != nil {
		return tampered("chunk %d", s.counter)
	}
	s.buffer, s.plain, s.last = plain, plain, head[4] == 1
	s.counter++
	return nil
}

func (s *streamReader) nothingMore() error {
	var b [1]byte
	switch _, err := io.ReadFull(s.r, b[:]); err {
	case nil:
		return tampered("bytes after the last chunk")
	default:
		return err // io.EOF
	}
}

func cut(err error, chunk uint64) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return tampered("it ends in chunk %d", chunk)
	}
	return err
}
