package closure

import (
	"io"
	"os"
	"path/filepath"
	"slices"
)

// folderTree is a Tree over a real folder.
type folderTree struct{ root string }

func (t folderTree) Lstat(p string) (File, bool) {
	i, err := os.Lstat(t.root + p)
	if err != nil {
		return File{}, false
	}
	f := File{Size: i.Size(), Mode: uint16(i.Mode().Perm())}
	switch {
	case i.IsDir():
		f.Kind = Dir
	case i.Mode().IsRegular():
		f.Kind = Regular
		f.Facts = sniffFile(t.root+p, p, i.Size())
	case i.Mode()&os.ModeSymlink != 0:
		f.Kind = Symlink
		f.Link, _ = os.Readlink(t.root + p)
	default:
		f.Kind = Other
	}
	return f, true
}

func (t folderTree) Names(d string) []string {
	es, err := os.ReadDir(filepath.Join(t.root, d))
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(es))
	for _, e := range es {
		out = append(out, e.Name())
	}
	slices.Sort(out)
	return out
}

func sniffFile(real, p string, size int64) []byte {
	s := NewSniffer(p, size)
	if s == nil {
		return nil
	}
	f, err := os.Open(real)
	if err != nil {
		return nil
	}
	defer f.Close()
	_, _ = io.CopyBuffer(struct{ io.Writer }{s}, f, make([]byte, 32<<10))
	return s.Facts()
}
