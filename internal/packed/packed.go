// Package packed defines the archive that stands for many small files of an
// image for SGX: one measured file, which the guest unpacks into enclave memory
// before the program starts, in place of thousands of entries that Gramine would
// read slowly.
//
// The form is a strict part of POSIX tar (ustar, IEEE Std 1003.1), so that every
// tar program reads it and there is one archive for one tree:
//
//   - regular files and folders only: Gramine's memory file system knows neither
//     symbolic nor hard links, so whoever packs writes a file under each of its names;
//   - names sorted bytewise, each once, relative, clean, folders with a final '/';
//     a name of more than 100 bytes stands in an extended header of its own, whose
//     one record is "path";
//   - owner 0, time 0, permission bits only; numbers in octal as fields of full width;
//   - two blocks of zeros, and nothing after them.
//
// The guest imports this package, so it is part of everybody's trusted base. It
// trusts no byte: limits come before allocation, and [Reader] refuses every other
// form, naming offset, seen and wanted.
package packed

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Limits of an archive.
const (
	MaxEntries = 1_000_000
	MaxName    = 4096      // bytes, as PATH_MAX
	MaxFile    = 1<<33 - 1 // bytes of one file: eleven octal digits

	maxElement = 255 // bytes, as NAME_MAX
	blockSize  = 512
	nameField  = 100
)

// Entry is one file or folder.
type Entry struct {
	Name string // relative and clean, with "/" as separator and no final one
	Dir  bool
	Mode fs.FileMode // permission bits, at most 0777
	Size int64       // bytes; 0 for folders
}

func (e *Entry) check() error {
	switch {
	case e.Name == "" || len(e.Name) > MaxName:
		return fmt.Errorf("a name of %d bytes, wanted 1 to %d", len(e.Name), MaxName)
	case e.Name[0] == '/' || path.Clean(e.Name) != e.Name || e.Name == "." || e.Name == ".." || strings.HasPrefix(e.Name, "../"):
		return fmt.Errorf("name %q is not relative and clean", e.Name)
	case strings.IndexByte(e.Name, 0) >= 0:
		return fmt.Errorf("name %q has a zero byte", e.Name)
	case e.Mode&^fs.ModePerm != 0:
		return fmt.Errorf("%s: mode %o, wanted permission bits only", e.Name, uint32(e.Mode))
	case e.Size < 0 || e.Size > MaxFile:
		return fmt.Errorf("%s: %d bytes, wanted 0 to %d", e.Name, e.Size, int64(MaxFile))
	case e.Dir && e.Size != 0:
		return fmt.Errorf("%s: a folder with content", e.Name)
	}
	for element := range strings.SplitSeq(e.Name, "/") {
		if len(element) > maxElement {
			return fmt.Errorf("%s: an element of %d bytes, at most %d", e.Name, len(element), maxElement)
		}
	}
	return nil
}

// order judges that entries come sorted, each name once.
type order struct {
	n    int
	last string
}

func (o *order) next(e *Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	if o.n++; o.n > MaxEntries {
		return fmt.Errorf("more than %d entries", MaxEntries)
	}
	if e.Name <= o.last {
		return fmt.Errorf("%s after %s: names are sorted bytewise, each once", e.Name, o.last)
	}
	o.last = e.Name
	return nil
}

var errEnded = errors.New("packed archive: already at its end")

// header builds the block of one entry or, with typeflag 'x', of its extended header.
func header(name string, typeflag byte, mode fs.FileMode, size int64) [blockSize]byte {
	var b [blockSize]byte
	copy(b[:nameField], name)
	copy(b[100:], fmt.Sprintf("%07o", uint32(mode.Perm())))
	copy(b[108:], "0000000")
	copy(b[116:], "0000000")
	copy(b[124:], fmt.Sprintf("%011o", size))
	copy(b[136:], "00000000000")
	copy(b[148:], "        ")
	b[156] = typeflag
	copy(b[257:], "ustar\x0000")
	copy(b[329:], "0000000")
	copy(b[337:], "0000000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// extendedName is what the name field of an extended header holds.
const extendedName = "././@PaxHeader"

// pathRecord is the content of an extended header (IEEE Std 1003.1, pax, "%d %s=%s\n").
func pathRecord(name string) string {
	rest := " path=" + name + "\n"
	n := len(rest) + 1
	for len(fmt.Sprint(n))+len(rest) != n {
		n = len(fmt.Sprint(n)) + len(rest)
	}
	return fmt.Sprint(n) + rest
}

// fullName is the name as the archive writes it.
func (e *Entry) fullName() string {
	if e.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func (e *Entry) blocks() []byte {
	name := e.fullName()
	var out []byte
	if len(name) > nameField {
		record := pathRecord(name)
		h := header(extendedName, 'x', 0o644, int64(len(record)))
		out = append(append(out, h[:]...), record...)
		out = append(out, make([]byte, padding(int64(len(record))))...)
		name = name[:nameField]
	}
	kind := byte('0')
	if e.Dir {
		kind = '5'
	}
	h := header(name, kind, e.Mode, e.Size)
	return append(out, h[:]...)
}

func padding(size int64) int64 { return -size & (blockSize - 1) }
