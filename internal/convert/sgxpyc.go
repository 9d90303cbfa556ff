package convert

import (
	"encoding/binary"
	"io"
	"strings"
)

const (
	pycHeader = 16
	maxPyc    = 16 << 20
	// pycUnchecked marks a compiled file that is valid by a hash which nobody compares
	// (PEP 552: bit 0 without bit 1).
	pycUnchecked = 1
)

// compiled lists the chosen files that Python compiled.
func (e *enclave) compiled(into map[*inode]bool) {
	for i := range e.choice.files {
		if f := &e.choice.files[i]; strings.HasSuffix(f.path, ".pyc") && f.ino.size >= pycHeader && f.ino.size <= maxPyc {
			into[f.ino] = true
		}
	}
}

// mend writes compiled files into the added layer that are bound to their source by its time:
// Gramine shows time 0, so that Python would compile them again at each start.
func (e *enclave) mend() (bool, error) {
	n := 0
	fresh := map[*inode]*inode{}
	for i := range e.choice.files {
		f := &e.choice.files[i]
		if !strings.HasSuffix(f.path, ".pyc") || f.ino.size < pycHeader || f.ino.size > maxPyc {
			continue
		}
		if fresh[f.ino] == nil {
			b, err := io.ReadAll(e.spool.open(f.ino))
			if err != nil {
				return false, err
			}
			if !mendPyc(b) {
				continue
			}
			ino := regular(b, f.ino.mode)
			ino.uid, ino.gid = f.ino.uid, f.ino.gid
			id, err := e.fs.lookup(f.path)
			if err != nil {
				return false, err
			}
			if _, err := e.adds.place(e.fs.path(id), ino, b); err != nil {
				return false, err
			}
			fresh[f.ino] = ino
			e.spool.hold(ino, b)
			n++
		}
		f.ino = fresh[f.ino]
	}
	if e.archive != nil {
		for i := range e.archive.entries {
			if ino := fresh[e.archive.entries[i].ino]; ino != nil {
				e.archive.entries[i].ino = ino
			}
		}
	}
	if n > 0 {
		e.note.add("%d compiled Python files are mended in the added layer, so that they are used under Gramine", n)
	}
	return n > 0, nil
}

// mendPyc changes the header of a compiled file that is bound to its source by time and size
// (PEP 552: flags 0) and reports whether it did.
func mendPyc(b []byte) bool {
	if len(b) < pycHeader || b[2] != '\r' || b[3] != '\n' || binary.LittleEndian.Uint32(b[4:]) != 0 {
		return false
	}
	binary.LittleEndian.PutUint32(b[4:], pycUnchecked)
	clear(b[8:pycHeader])
	return true
}
