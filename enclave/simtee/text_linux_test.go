package simtee

import (
	"os"
	"strings"
	"testing"
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
		if err := checkText([]byte(c.smaps), "/.hitoku/init", true); (err == nil) != c.static {
			t.Errorf("%s, static: %v", c.name, err)
		}
		if err := checkText([]byte(c.smaps), "/.hitoku/init", false); (err == nil) != c.dynamicGood {
			t.Errorf("%s, dynamic: %v", c.name, err)
		}
	}
}

func FuzzCheckText(f *testing.F) {
	f.Add([]byte(program1Smaps))
	if b, err := os.ReadFile("/proc/self/smaps"); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { _ = checkText(b, "/x", true) })
}
