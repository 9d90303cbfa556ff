package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testRing(t *testing.T, fill byte) *Keyring {
	t.Helper()
	k, err := newKeyring([Size]byte(bytes.Repeat([]byte{fill}, Size)), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestBoxOpensOnlyUnderItsName(t *testing.T) {
	t.Parallel()
	k := testRing(t, 1)
	sealed, err := k.Seal([]byte("key"), "zone-key", "a", "z")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := k.Open(sealed, "zone-key", "a", "z"); err != nil || string(plain) != "key" {
		t.Fatalf("Open = %q, %v", plain, err)
	}
	for _, names := range [][]string{nil, {"zone-key"}, {"zone-key", "az"}, {"zone-key", "z", "a"}, {"zone-keya", "z"}, {"zone-key", "a", "z", ""}} {
		if _, err := k.Open(sealed, names...); !errors.Is(err, ErrSealed) {
			t.Errorf("Open under %q = %v, wanted ErrSealed", names, err)
		}
	}
	if _, err := testRing(t, 2).Open(sealed, "zone-key", "a", "z"); !errors.Is(err, ErrSealed) {
		t.Errorf("other master key: %v", err)
	}
	if other, _ := k.Seal([]byte("key"), "zone-key", "a", "z"); bytes.Equal(other, sealed) {
		t.Error("two boxes of the same value are equal")
	}
}

func TestEveryFlippedBitOfABoxIsRefused(t *testing.T) {
	t.Parallel()
	k := testRing(t, 1)
	sealed, _ := k.Seal([]byte("value"), "x")
	for i := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := k.Open(bad, "x"); !errors.Is(err, ErrSealed) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for n := range sealed {
		if _, err := k.Open(sealed[:n], "x"); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestDeriveSeparatesLabels(t *testing.T) {
	t.Parallel()
	k := testRing(t, 1)
	seen := map[[Size]byte]string{}
	for _, in := range [][]string{{"a"}, {"a", ""}, {"a", "b"}, {"ab"}, {"", "ab"}, {labelBox}, {labelID}} {
		got := k.Derive(in[0], in[1:]...)
		if other, dup := seen[got]; dup {
			t.Errorf("%q and %s give the same key", in, other)
		}
		seen[got] = strings.Join(in, ",")
	}
	if k.ID() == testRing(t, 2).ID() || len(k.ID()) != 16 {
		t.Errorf("ID %q does not name the key", k.ID())
	}
}

func TestFileIsMadeOnceAndReadBack(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	path := filepath.Join(dir, "keys", "master.key")
	if _, err := Open(ctx, File{Path: path}, rand.Reader); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("missing file without Create: %v", err)
	}
	first, err := Open(ctx, File{Path: path, Create: true, Apart: dir}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(ctx, File{Path: path, Create: true, Apart: dir}, rand.Reader)
	if err != nil || first.ID() != second.ID() {
		t.Fatalf("read back: %v, ids %s and %s", err, first.ID(), second.ID())
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Open(ctx, File{Path: path, Apart: filepath.Dir(path)}, rand.Reader); err == nil || !strings.Contains(err.Error(), "database's folder") {
		t.Errorf("key beside the database: %v", err)
	}
	text, _ := os.ReadFile(path)
	asCommand, err := Open(ctx, Command{Argv: []string{"cat", path}}, rand.Reader)
	if err != nil || asCommand.ID() != first.ID() {
		t.Errorf("command: %v", err)
	}
	for name, bad := range map[string]string{
		"empty": "", "cut": string(text[:40]), "longer": string(text) + "x", "upper case": strings.ToUpper(string(text)),
		"no prefix": string(text[len(textPrefix):]), "zero": textPrefix + strings.Repeat("0", 64) + "\n", "two line ends": string(text) + "\n",
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(ctx, File{Path: path, Create: true}, rand.Reader)
		if err == nil || strings.Contains(err.Error(), string(text[25:60])) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, File{Path: path}, rand.Reader); err == nil || !strings.Contains(err.Error(), "seen 0640") {
		t.Errorf("group-readable file: %v", err)
	}
}

func TestCommandFailures(t *testing.T) {
	t.Parallel()
	for name, argv := range map[string][]string{
		"none": nil, "missing": {"/nonexistent/program"}, "fails": {"sh", "-c", "echo no such slot >&2; exit 3"},
		"endless": {"sh", "-c", "head -c 1000000 /dev/zero"},
	} {
		if _, err := Open(context.Background(), Command{Argv: argv}, rand.Reader); err == nil {
			t.Errorf("%s: accepted", name)
		} else if name == "fails" && !strings.Contains(err.Error(), "no such slot") {
			t.Errorf("%s: %v does not say why", name, err)
		}
	}
}
