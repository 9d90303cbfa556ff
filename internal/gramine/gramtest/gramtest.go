// Package gramtest makes folders and archives with the structure of an installed Gramine, for
// tests. The programs in them are ELF files that nothing can run; the tree is that of Debian's
// package, with links, files that no image needs, and the system's own libraries.
package gramtest

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Lib is the folder of Gramine's libraries in a root file system.
const Lib = "usr/lib/x86_64-linux-gnu/gramine"

// Tree is a root file system: contents by relative path. A value that begins with "-> " is a
// symbolic link.
type Tree map[string]string

// Root is a root file system with Gramine, for glibc and musl.
func Root(version string) Tree {
	const lib = "usr/lib/x86_64-linux-gnu"
	t := Tree{
		"lib":                             "-> usr/lib",
		"lib64":                           "-> usr/lib64",
		"usr/lib64/ld-linux-x86-64.so.2":  "-> /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
		lib + "/ld-linux-x86-64.so.2":     Library("host loader"),
		lib + "/libc.so.6":                Library("host libc"),
		lib + "/libprotobuf-c.so.1":       "-> libprotobuf-c.so.1.0.0",
		lib + "/libprotobuf-c.so.1.0.0":   Library("host protobuf-c"),
		lib + "/libunrelated.so.1":        Library("unrelated"),
		"usr/bin/gramine-sgx":             "#!/bin/sh\n",
		"usr/share/doc/gramine/copyright": "Gramine is licensed under the LGPL-3.0-or-later.\n",
		"usr/lib/python3/dist-packages/graminelibos/__init__.py":              "__version__ = '" + version + "'\n",
		"usr/lib/python3/dist-packages/graminelibos.dist-info/METADATA":       "Metadata-Version: 2.1\nName: graminelibos\nVersion: " + version + "\n",
		"usr/lib/python3/dist-packages/graminelibos/_graminelibos_offsets.py": "PAGESIZE = 0x1000\n",

		Lib + "/libsysdb.so":                      Library("library OS"),
		Lib + "/libsysdb.so.map":                  "map",
		Lib + "/sgx/loader":                       Program("SGX loader"),
		Lib + "/sgx/libpal.so":                    Library("SGX PAL " + version),
		Lib + "/direct/loader":                    Program("direct loader"),
		Lib + "/direct/libpal.so":                 Library("direct PAL"),
		Lib + "/runtime/glibc/crt1.o":             Library("object"),
		Lib + "/runtime/glibc/libc.a":             "!<arch>\n",
		Lib + "/runtime/glibc/ld.so":              Library("glibc loader"),
		Lib + "/runtime/musl/libc.so":             Library("musl"),
		Lib + "/runtime/musl/ld-musl-x86_64.so.1": "-> libc.so",
	}
	for name, content := range map[string]string{
		"ld-linux-x86-64.so.2": "glibc loader", "libc.so.6": "glibc", "libm.so.6": "libm", "libpthread.so.0": "libpthread", "libnss_files.so.2": "nss",
		"libthread_db.so.1": "for debuggers", "libm.so": "libm",
	} {
		t[Lib+"/runtime/glibc/"+name] = Library(content)
	}
	return t
}

// Library is an ELF shared object for x86-64 with code, data and zeros behind.
func Library(content string) string { return string(file("", content)) }

// Program is a dynamic ELF program for x86-64.
func Program(content string) string { return string(file("/lib64/ld-linux-x86-64.so.2\x00", content)) }

func file(interp, content string) []byte {
	const pages = 0x3000
	b := make([]byte, pages)
	le := binary.LittleEndian
	copy(b, elf.ELFMAG+"\x02\x01\x01")
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(elf.EM_X86_64))
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], 0x1010) // entry
	le.PutUint64(b[32:], 64)     // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	headers := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: 0x2345, Memsz: 0x2345, Align: 0x1000},
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: 0x2400, Vaddr: 0x3400, Paddr: 0x3400, Filesz: 0x800, Memsz: 0x1800, Align: 0x1000},
	}
	if interp != "" {
		const at = 0x400
		copy(b[at:], interp)
		headers = append(headers, elf.Prog64{Type: uint32(elf.PT_INTERP), Flags: uint32(elf.PF_R), Off: at, Vaddr: at, Paddr: at, Filesz: uint64(len(interp)), Memsz: uint64(len(interp)), Align: 1})
	}
	le.PutUint16(b[56:], uint16(len(headers)))
	var table bytes.Buffer
	binary.Write(&table, le, headers)
	copy(b[64:], table.Bytes())
	copy(b[0x1010:], content)
	return b
}

// Write puts the tree into a folder of the test and returns its name.
func (t Tree) Write(tb testing.TB) string {
	tb.Helper()
	root := tb.TempDir()
	if err := t.Put(root); err != nil {
		tb.Fatal(err)
	}
	return root
}

// Put writes the tree into a folder.
func (t Tree) Put(root string) error {
	for name, content := range t {
		full := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if target, ok := link(content); ok && err == nil {
			err = os.Symlink(target, full)
		} else if err == nil {
			err = os.WriteFile(full, []byte(content), 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Tar is the tree as an archive, sorted by name.
func (t Tree) Tar() []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		h := &tar.Header{Name: "./" + name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(t[name]))}
		target, isLink := link(t[name])
		if isLink {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		if err := w.WriteHeader(h); err != nil {
			panic(fmt.Sprintf("%s: %v", name, err))
		}
		if !isLink {
			w.Write([]byte(t[name]))
		}
	}
	w.Close()
	return b.Bytes()
}

func link(content string) (string, bool) {
	const mark = "-> "
	if len(content) > len(mark) && content[:len(mark)] == mark {
		return content[len(mark):], true
	}
	return "", false
}
