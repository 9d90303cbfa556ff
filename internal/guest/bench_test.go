package guest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// benchTree makes files of a size, 256 MB in all.
func benchTree(b *testing.B, size int) (string, *workload.Manifest) {
	b.Helper()
	root := b.TempDir()
	must(b, os.Chmod(root, 0o755))
	data := make([]byte, size)
	for i := range (256 << 20) / size {
		data[0], data[1] = byte(i), byte(i>>8)
		name := fmt.Sprintf("%s/%d/%d", root, i%100, i)
		must(b, os.MkdirAll(filepath.Dir(name), 0o755))
		must(b, os.WriteFile(name, data, 0o644))
	}
	return root, manifestOf(b, root)
}

// BenchmarkVerify is the guest's first walk: everything is hashed.
func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			root, m := benchTree(b, size)
			b.SetBytes(256 << 20)
			before := processorTime(b)
			for b.Loop() {
				if _, err := NewWorld(m).Verify(b.Context(), root); err != nil {
					b.Fatal(err)
				}
			}
			used := processorTime(b) - before
			b.ReportMetric(float64(b.N)*256*1.048576/used.Seconds(), "MB/cpu-s")
		})
	}
}

// processorTime is what this process has used; on a busy machine it says more than the clock.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkVerifyAgain is the second walk, which hashes what has moved.
func BenchmarkVerifyAgain(b *testing.B) {
	const root = "/usr/share"
	w := NewWorld(manifestOf(b, root))
	done, err := w.Verify(b.Context(), root)
	must(b, err)
	for b.Loop() {
		if _, err := w.Verify(b.Context(), root); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(done.Files), "files")
}

// BenchmarkSHA256 is the floor: one processor, no file.
func BenchmarkSHA256(b *testing.B) {
	data := make([]byte, 256<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		sha256.Sum256(data)
	}
}
