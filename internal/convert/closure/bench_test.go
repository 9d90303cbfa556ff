package closure

import (
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkSniffer compares with SHA-256 over the same bytes: those of the system's libraries,
// or of the folder that HITOKU_SNIFF names.
func BenchmarkSniffer(b *testing.B) {
	root := os.Getenv("HITOKU_SNIFF")
	if root == "" {
		root = "/usr/lib/x86_64-linux-gnu"
	}
	type file struct {
		path string
		data []byte
	}
	var files []file
	total := 0
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && total < 300<<20 {
			if data, err := os.ReadFile(p); err == nil {
				files = append(files, file{p, data})
				total += len(data)
			}
		}
		return nil
	})
	feed := func(data []byte, to func(p []byte)) {
		for len(data) > 0 {
			n := min(len(data), 64<<10)
			to(data[:n])
			data = data[n:]
		}
	}
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(total))
		for b.Loop() {
			for _, f := range files {
				h := sha256.New()
				feed(f.data, func(p []byte) { h.Write(p) })
				h.Sum(nil)
			}
		}
	})
	b.Run("sniffer", func(b *testing.B) {
		b.SetBytes(int64(total))
		for b.Loop() {
			for _, f := range files {
				if s := NewSniffer(f.path, int64(len(f.data))); s != nil {
					feed(f.data, func(p []byte) { _, _ = s.Write(p) })
					s.Facts()
				}
			}
		}
	})
}
