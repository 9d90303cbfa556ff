package gramine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	pageSize = 0x1000
	// maxLoader bounds libpal.so, in bytes, on disk and in memory; Gramine's has 0.4 MB.
	maxLoader = 64 << 20
	maxLoads  = 16 // PT_LOADs that the untrusted loader takes (host_main.c)
)

// Segment access bits as ELF has them.
const (
	elfX = 1
	elfW = 2
	elfR = 4
)

// LoaderFile is Gramine's in-enclave loader, libpal.so of SGX: what of it is measured.
type LoaderFile struct {
	file     io.ReaderAt
	entry    uint64
	segments []segment
}

type segment struct {
	offset, vaddr, filesz, memsz uint64
	flags                        uint32 // elfR | elfW | elfX
}

// first and past are the addresses of the segment's pages.
func (s *segment) first() uint64 { return s.vaddr &^ (pageSize - 1) }
func (s *segment) past() uint64  { return roundUp(s.vaddr + s.memsz) }

func roundUp(n uint64) uint64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// ErrLoader is wrapped by every error about a file that cannot be Gramine's SGX loader.
var ErrLoader = errors.New("not a loader of Gramine for SGX (libpal.so)")

func loaderError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrLoader, fmt.Sprintf(format, a...))
}

// ReadLoader reads the headers of libpal.so, a file of size bytes: an ELF shared object for
// x86-64 with at most 16 PT_LOADs, the first of them at page 0. The content is read when it
// is measured.
func ReadLoader(r io.ReaderAt, size int64) (*LoaderFile, error) {
	if size < 64 || size > maxLoader {
		return nil, loaderError("%d bytes, wanted 64 to %d", size, maxLoader)
	}
	var h [64]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return nil, loaderError("%v", err)
	}
	le := binary.LittleEndian
	switch {
	case string(h[:4]) != "\x7fELF":
		return nil, loaderError("no ELF file")
	case h[4] != 2 || h[5] != 1:
		return nil, loaderError("ELF class %d, byte order %d; wanted 64 bits, little-endian", h[4], h[5])
	case le.Uint16(h[16:]) != 3:
		return nil, loaderError("ELF type %d, wanted 3, a shared object", le.Uint16(h[16:]))
	case le.Uint16(h[18:]) != 62:
		return nil, loaderError("machine %d, wanted 62, x86-64", le.Uint16(h[18:]))
	case le.Uint16(h[54:]) != 56:
		return nil, loaderError("program headers of %d bytes, wanted 56", le.Uint16(h[54:]))
	}
	at, n := le.Uint64(h[32:]), int(le.Uint16(h[56:]))
	if n > 128 || at > uint64(size) || at+uint64(n)*56 > uint64(size) {
		return nil, loaderError("%d program headers at %d do not fit the file", n, at)
	}
	table := make([]byte, n*56)
	if _, err := r.ReadAt(table, int64(at)); err != nil && n > 0 {
		return nil, loaderError("%v", err)
	}
	l := &LoaderFile{file: r, entry: le.Uint64(h[24:])}
	for i := range n {
		p := table[i*56:]
		if le.Uint32(p) != 1 { // PT_LOAD
			continue
		}
		s := segment{flags: le.Uint32(p[4:]), offset: le.Uint64(p[8:]), vaddr: le.Uint64(p[16:]), filesz: le.Uint64(p[32:]), memsz: le.Uint64(p[40:])}
		if err := l.add(s, uint64(size)); err != nil {
			return nil, err
		}
	}
	if len(l.segments) == 0 {
		return nil, loaderError("nothing to load in it")
	}
	if l.entry >= l.segments[len(l.segments)-1].past() {
		return nil, loaderError("entry point %#x lies behind the last segment", l.entry)
	}
	return l, nil
}

// add judges a PT_LOAD. The reference signer takes some that the loader or the processor does not.
func (l *LoaderFile) add(s segment, size uint64) error {
	i := len(l.segments)
	switch {
	case i == maxLoads:
		return loaderError("more than %d PT_LOADs", maxLoads)
	case s.memsz == 0 || s.memsz > maxLoader || s.vaddr > maxLoader:
		return loaderError("PT_LOAD %d has %#x bytes at %#x", i, s.memsz, s.vaddr)
	case s.filesz > s.memsz || s.offset > size || s.filesz > size-s.offset:
		return loaderError("PT_LOAD %d: %#x bytes at offset %#x of the file for %#x in memory", i, s.filesz, s.offset, s.memsz)
	case s.filesz > 0 && s.offset%pageSize != s.vaddr%pageSize:
		return loaderError("PT_LOAD %d: offset %#x and address %#x differ within a page", i, s.offset, s.vaddr)
	case s.flags&^(elfR|elfW|elfX) != 0:
		return loaderError("PT_LOAD %d: flags %#x", i, s.flags)
	case i == 0 && s.first() != 0:
		return loaderError("the first PT_LOAD begins at %#x: signer and loader would disagree about it", s.vaddr)
	case i > 0 && s.first() < l.segments[i-1].past():
		return loaderError("PT_LOAD %d begins at %#x, within a page of the one before", i, s.vaddr)
	}
	l.segments = append(l.segments, s)
	return nil
}

// size is how much of the enclave the loader takes, in bytes: whole pages.
func (l *LoaderFile) size() uint64 { return l.segments[len(l.segments)-1].past() }

// page reads the page of s at address at into out, 4096 bytes.
func (l *LoaderFile) page(s *segment, at uint64, out []byte) error {
	clear(out)
	from, to := max(at, s.vaddr), min(at+pageSize, s.vaddr+s.filesz)
	if from >= to {
		return nil
	}
	if _, err := l.file.ReadAt(out[from-at:to-at], int64(s.offset+from-s.vaddr)); err != nil {
		return fmt.Errorf("libpal.so: %w", err)
	}
	return nil
}
