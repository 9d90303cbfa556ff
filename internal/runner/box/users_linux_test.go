package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindRange(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(file, []byte("# comment\nother:1:2\nbroken\nann:x:5\nann:0:5\nann:100000:65536\nann:1:1\n1000:200000:10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		user string
		uid  int
		want idRange
		ok   bool
	}{
		"by name":   {"ann", 5, idRange{100000, 65536}, true},
		"by number": {"bob", 1000, idRange{200000, 10}, true},
		"none":      {"bob", 7, idRange{}, false},
		"no name":   {"", 7, idRange{}, false},
	} {
		if got, ok := findRange(file, tc.user, tc.uid); ok != tc.ok || got != tc.want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	if _, ok := findRange(file+"x", "ann", 5); ok {
		t.Error("a missing file has a range")
	}
	if hint, single := (&Users{uid: 7}).Single(); !single || !strings.Contains(hint, "uidmap") {
		t.Errorf("%q %v", hint, single)
	}
	if _, single := (*Users)(nil).Single(); single {
		t.Error("root has every user")
	}
}

func FuzzLookUpUser(f *testing.F) {
	f.Add("www:extra", "www:x:33:34::/var/www:/bin/false\n", "extra:x:50:www\n")
	f.Add("33", ":::::::\nx", "x:y:-1:\n")
	f.Add("-1:99999999999999999999", "", "")
	f.Fuzz(func(t *testing.T, text, passwd, group string) {
		files := map[string][]string{"/etc/passwd": strings.Split(passwd, "\n"), "/etc/group": strings.Split(group, "\n")}
		who, err := lookUpUser(text, func(p string) []string { return files[p] })
		if err != nil {
			return
		}
		for _, id := range append(who.groups, who.uid, who.gid) {
			if id < 0 || id > maxID {
				t.Fatalf("%q: %+v", text, who)
			}
		}
	})
}
