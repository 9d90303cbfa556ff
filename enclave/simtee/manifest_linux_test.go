package simtee

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// A manifest that the converter may write is one that the simulated TEE measures.
func TestManifestSize(t *testing.T) {
	t.Parallel()
	for size, rule := range map[int64]string{
		0:                    "manifest_format",
		workload.MaxSize:     "manifest_format", // read to its end: it holds zeros
		workload.MaxSize + 1: "manifest_size",
	} {
		fd, err := unix.MemfdCreate("manifest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "manifest")
		defer f.Close()
		if err := f.Truncate(size); err != nil { // sparse: no memory is taken
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
			t.Fatal(err)
		}
		_, _, err = readManifest([]*os.File{f})
		wantRule(t, "manifest", rule, err)
	}
}
