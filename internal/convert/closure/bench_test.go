package closure

import (
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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
		if err == nil && d.Type().IsRegular() && total < 900<<20 {
			if data, err := os.ReadFile(p); err == nil {
				files = append(files, file{strings.TrimPrefix(p, strings.TrimSuffix(os.Getenv("HITOKU_SNIFF"), "/")), data})
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
	run := func(name string, one func(f file)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(total))
			before := processorTime(b)
			for b.Loop() {
				for _, f := range files {
					one(f)
				}
			}
			spent := processorTime(b) - before
			b.ReportMetric(float64(total)*float64(b.N)/1e6/spent.Seconds(), "MB/cpu-s")
		})
	}
	run("sha256", func(f file) {
		h := sha256.New()
		feed(f.data, func(p []byte) { h.Write(p) })
		h.Sum(nil)
	})
	run("sniffer", func(f file) {
		if s := NewSniffer(f.path, int64(len(f.data))); s != nil {
			feed(f.data, func(p []byte) { _, _ = s.Write(p) })
			s.Facts()
		}
	})
}

// processorTime is what this process took: other work on the machine changes it little.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
