package simtee

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const program1Smaps = `00400000-005e2000 r-xp 00000000 fe:01 123 /.hitoku/init
Size:               1928 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
005e2000-00700000 rw-p 001e2000 fe:01 123 /.hitoku/init
Anonymous:            64 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:           400 kB
7fff0000-7fff2000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
Anonymous:             0 kB
`

func TestCheckText(t *testing.T) {
	t.Parallel()
	with := func(line string) string { return program1Smaps + line + "\nAnonymous: 0 kB\n" }
	for _, c := range []struct {
		name, smaps         string
		static, dynamicGood bool
	}{
		{"honest", program1Smaps, true, true},
		{"a page of code changed", strings.Replace(program1Smaps, "Anonymous:             0", "Anonymous:             4", 1), false, false},
		{"the kernel's code changed", strings.Replace(program1Smaps, "[vdso]\nAnonymous:             0", "[vdso]\nAnonymous:             4", 1), false, false},
		{"anonymous code", with("7000-8000 r-xp 00000000 00:00 0"), false, false},
		{"named anonymous code", with("7000-8000 r-xp 00000000 00:00 0 [anon:x]"), false, false},
		{"code on the heap", with("7000-8000 rwxp 00000000 00:00 0 [heap]"), false, false},
		{"writable code of a file", with("7000-8000 rwxs 00000000 fe:01 9 /lib/x.so"), false, false},
		{"code of another file", with("7000-8000 r-xp 00000000 fe:01 9 /lib/x.so"), false, true},
		{"another file's only", strings.Replace(program1Smaps, "/.hitoku/init", "/tmp/x", 1), false, true},
		{"none", "", false, true},
	} {
		if _, err := checkText([]byte(c.smaps), "/.hitoku/init", true); (err == nil) != c.static {
			t.Errorf("%s, static: %v", c.name, err)
		}
		if _, err := checkText([]byte(c.smaps), "/.hitoku/init", false); (err == nil) != c.dynamicGood {
			t.Errorf("%s, dynamic: %v", c.name, err)
		}
	}
}

func FuzzCheckText(f *testing.F) {
	f.Add([]byte(program1Smaps))
	if b, err := os.ReadFile("/proc/self/smaps"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = checkText(b, "/x", true) })
}

// TestPrivatePages: a page of a mapped file that was changed in memory is told from one that was not.
func TestPrivatePages(t *testing.T) {
	t.Parallel()
	size := os.Getpagesize()
	path := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(path, make([]byte, 3*size), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 3*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer pagemap.Close()
	start := uint64(uintptr(unsafe.Pointer(&memory[0])))
	for _, c := range []struct {
		name       string
		touch      func()
		all, first bool // the whole mapping, its first page
	}{
		{"not in memory", func() {}, false, false},
		{"read", func() { _ = memory[0] + memory[2*size] }, false, false},
		{"last page written", func() { memory[2*size] = 1 }, true, false},
		{"first page written with what it held", func() { memory[0] = 0 }, true, true},
	} {
		c.touch()
		for to, want := range map[int]bool{3: c.all, 1: c.first} {
			got, err := privatePages(int(pagemap.Fd()), mapping{start: start, end: start + uint64(to*size), name: path})
			if errors.Is(err, errors.ErrUnsupported) && olderThan(t, 6, 7) {
				return // older kernels say so, and are asked for smaps
			}
			if err != nil || got != want {
				t.Errorf("%s, %d pages: %v, %v; wanted %v", c.name, to, got, err, want)
			}
		}
	}
}

func TestParseRange(t *testing.T) {
	t.Parallel()
	if m, err := parseRange("00400000-005e2000"); err != nil || m.start != 0x400000 || m.end != 0x5e2000 {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{"", "1", "1-", "-1", "1-x", "1-2-3", "1-10000000000000000"} {
		if _, err := parseRange(bad); err == nil {
			t.Errorf("%q was taken for a range", bad)
		}
	}
}
