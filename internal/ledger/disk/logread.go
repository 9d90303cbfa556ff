package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// errTorn means that a log ends inside a step, as a crash leaves it.
var errTorn = errors.New("the log ends inside a step")

// logReader reads the steps of one log file. Without an aead it follows the chain and the positions,
// and believes them.
type logReader struct {
	file    File
	size    int64
	aead    *aead
	header  header
	link    [32]byte
	offset  int64
	counter uint64
	chain   [32]byte // at offset
	sealed  []byte
	plain   []byte
}

func openLog(file File, a *aead, number uint64, ledger [32]byte) (*logReader, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	var b [logHeaderSize]byte
	if size < logHeaderSize {
		return nil, errTorn
	}
	if _, err := file.ReadAt(b[:], 0); err != nil {
		return nil, err
	}
	h, err := parseHeader(b[:], kindLog, ledger)
	if err != nil {
		return nil, err
	}
	if h.number != number {
		return nil, tampered("it is the log of generation %d, wanted %d", h.number, number)
	}
	return &logReader{
		file: file, size: size, aead: a, header: h, link: [32]byte(b[headerSize:]),
		offset: logHeaderSize, chain: sha256.Sum256(b[:]),
	}, nil
}

// goesOnFrom says whether the log continues the one that ended at a chain value.
func (l *logReader) goesOnFrom(end [32]byte) bool { return l.link == end && end != [32]byte{} }

type segmentHead struct {
	length   uint32
	last     byte
	position uint64
	sum      uint32
}

// head reads the head at an offset. Whatever does not fit is a torn end.
func (l *logReader) head(offset int64) (segmentHead, error) {
	var b [segmentHeadSize]byte
	if l.size-offset < segmentHeadSize {
		return segmentHead{}, errTorn
	}
	if _, err := l.file.ReadAt(b[:], offset); err != nil {
		return segmentHead{}, err
	}
	h := segmentHead{binary.BigEndian.Uint32(b[:]), b[4], binary.BigEndian.Uint64(b[5:]), binary.BigEndian.Uint32(b[13:])}
	if crc32.Checksum(b[:17], castagnoli) != binary.BigEndian.Uint32(b[17:]) {
		return h, errTorn
	}
	if h.length < tagSize || h.length > chunkSize+tagSize || h.last > 1 {
		return h, tampered("segment of %d bytes and mark %d at byte %d", h.length, h.last, offset)
	}
	if int64(h.length) > l.size-offset-segmentHeadSize {
		return h, errTorn
	}
	return h, nil
}

// segment reads the next one; io.EOF at the file's end.
func (l *logReader) segment() (segmentHead, error) {
	if l.offset == l.size {
		return segmentHead{}, io.EOF
	}
	h, err := l.head(l.offset)
	if err != nil {
		return h, err
	}
	if cap(l.sealed) < int(h.length) {
		l.sealed = make([]byte, h.length)
	}
	l.sealed = l.sealed[:h.length]
	if _, err := l.file.ReadAt(l.sealed, l.offset+segmentHeadSize); err != nil {
		return h, err
	}
	if crc32.Checksum(l.sealed, castagnoli) != h.sum {
		if l.followed() {
			return h, tampered("segment %d, at byte %d", l.counter, l.offset)
		}
		return h, errTorn
	}
	if l.aead != nil {
		l.plain, err = l.aead.open(l.plain[:0], counterNonce(domainLog, l.counter), l.sealed, segmentAAD(l.chain, h.last, h.position))
		if err != nil {
			return h, tampered("segment %d, at byte %d", l.counter, l.offset)
		}
	}
	l.chain = nextChain(l.chain, l.sealed)
	l.counter++
	l.offset += segmentHeadSize + int64(h.length)
	return h, nil
}

// followed says whether a later step begins behind the one at offset. Steps are made durable one after
// the other, so a crash damages the last alone.
func (l *logReader) followed() bool {
	ended := false
	for at := l.offset; ; {
		h, err := l.head(at)
		if err != nil {
			return false
		}
		if ended {
			return true
		}
		ended = h.last == 1
		at += segmentHeadSize + int64(h.length)
	}
}

// step is the plaintext of one step; it reads segment by segment.
type step struct {
	log      *logReader
	started  bool
	done     bool
	position uint64
	rest     []byte
}

func (s *step) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.done {
			return 0, io.EOF
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *step) next() error {
	h, err := s.log.segment()
	if err == io.EOF && s.started {
		err = errTorn
	}
	if err != nil {
		return err
	}
	if s.started && h.position != s.position {
		return tampered("a step of positions %d and %d", s.position, h.position)
	}
	s.started, s.position, s.done, s.rest = true, h.position, h.last == 1, s.log.plain
	return nil
}

// apply reads the next step on top of s; io.EOF after the last.
func (l *logReader) apply(s *Saved) (*Saved, error) {
	in := &step{log: l}
	if err := in.next(); err != nil {
		return nil, err
	}
	out, err := readChanges(in, s)
	switch {
	case err != nil:
		return nil, err
	case out.Position != in.position || out.Position <= s.Position:
		return nil, tampered("a step to position %d, marked %d, after %d", out.Position, in.position, s.Position)
	}
	return out, nil
}

// skip follows the next step without opening it and returns its position.
func (l *logReader) skip() (uint64, error) {
	in := &step{log: l}
	for !in.done {
		if err := in.next(); err != nil {
			return 0, err
		}
	}
	return in.position, nil
}
