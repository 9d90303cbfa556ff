// Package imagetest makes container images and registries for tests: images from
// lists of files, in every media type and compression, and a registry that asks
// for passwords, speaks TLS and fails on command. Nothing here is for use
// outside tests.
package imagetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"time"
)

// Entry is one entry of a layer. The zero Type is a regular file; the zero Mode
// is 0644 for files and 0755 for directories.
type Entry struct {
	Name   string
	Type   byte // tar.TypeReg …
	Body   string
	Link   string
	Mode   int64
	UID    int
	GID    int
	Time   time.Time
	Xattrs map[string]string
	Major  int64
	Minor  int64
}

// File, Dir, Symlink and Hardlink are the common entries.
func File(name, body string) Entry { return Entry{Name: name, Body: body} }
func Dir(name string) Entry        { return Entry{Name: name, Type: tar.TypeDir} }
func Symlink(name, target string) Entry {
	return Entry{Name: name, Type: tar.TypeSymlink, Link: target}
}

func Hardlink(name, target string) Entry {
	return Entry{Name: name, Type: tar.TypeLink, Link: target}
}

// Program is an executable file.
func Program(name, body string) Entry { return Entry{Name: name, Body: body, Mode: 0o755} }

// Whiteout removes name of a lower layer; Opaque empties a lower folder.
func Whiteout(name string) Entry {
	return Entry{Name: path.Join(path.Dir(name), ".wh."+path.Base(name))}
}
func Opaque(dir string) Entry { return Entry{Name: path.Join(dir, ".wh..wh..opq")} }

// Tar writes entries as a layer.
func Tar(entries ...Entry) []byte {
	var b bytes.Buffer
	if err := WriteTar(&b, entries...); err != nil {
		panic(err) // a header that cannot be written: the test is wrong
	}
	return b.Bytes()
}

// WriteTar writes entries to w as a layer.
func WriteTar(w io.Writer, entries ...Entry) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.Name, Typeflag: e.Type, Linkname: e.Link, Mode: e.Mode, Uid: e.UID, Gid: e.GID,
			ModTime: e.Time, Devmajor: e.Major, Devminor: e.Minor,
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.Body))
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1700000000, 0)
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		for k, v := range e.Xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("entry %q: %w", e.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(tw, e.Body); err != nil {
				return fmt.Errorf("entry %q: %w", e.Name, err)
			}
		}
	}
	return tw.Close()
}
