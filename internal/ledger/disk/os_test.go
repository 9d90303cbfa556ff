package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"hitoku.dev/internal/ledger/disk"
)

func private(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFolder(t *testing.T) {
	t.Parallel()
	h := history(50)
	path := private(t)
	fs, err := disk.Folder(path)
	must(t, err)
	d := open(t, fs, 1, nil)
	must(t, d.Begin(h[0]))
	must(t, d.WriteRing(1, snapOf(1), epochs(1)))
	for _, s := range h[1:] {
		must(t, d.Append(s))
		must(t, d.Sync())
	}
	must(t, d.Settle())
	if _, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(2)}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	must(t, d.Close())
	list, err := os.ReadDir(path)
	must(t, err)
	if len(list) > 6 {
		t.Errorf("%d files stay", len(list))
	}
	for _, f := range list {
		info, err := f.Info()
		must(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %o", f.Name(), info.Mode())
		}
	}
	d = open(t, fs, 3, nil)
	if e, p := d.FileEpoch(), d.FilePosition(); e != 1 || p != 50 {
		t.Errorf("epoch %d, position %d", e, p)
	}
	equal(t, load(t, d, 1), h[50])
	must(t, d.Close())
}

func TestFolderRefuses(t *testing.T) {
	t.Parallel()
	path := private(t)
	file := filepath.Join(path, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	wide := filepath.Join(path, "wide")
	must(t, os.Mkdir(wide, 0o700))
	must(t, os.Chmod(wide, 0o750))
	for name, c := range map[string]struct {
		path string
		want error
	}{
		"missing": {filepath.Join(path, "missing"), disk.ErrFolder},
		"a file":  {file, disk.ErrFolder},
		"wide":    {wide, disk.ErrPermission},
	} {
		if _, err := disk.Folder(c.path); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFilesThatAreNotOurs: files that others may read, pipes and links out of the folder are refused.
func TestFilesThatAreNotOurs(t *testing.T) {
	t.Parallel()
	path := private(t)
	fs, err := disk.Folder(path)
	must(t, err)
	d := open(t, fs, 1, nil)
	must(t, d.SaveControl(snapOf(1), 1, snapOf(1), nil))
	control := filepath.Join(path, "control")
	loadControl := func() error {
		_, _, _, err := d.LoadControl(snapOf(1))
		return err
	}
	must(t, loadControl())
	must(t, os.Chmod(control, 0o640))
	if err := loadControl(); !errors.Is(err, disk.ErrPermission) {
		t.Errorf("a file of mode 0640: %v", err)
	}
	must(t, os.Rename(control, filepath.Join(t.TempDir(), "away")))
	must(t, os.Symlink("/dev/zero", control))
	if err := loadControl(); !errors.Is(err, disk.ErrPermission) {
		t.Errorf("a link: %v", err)
	}
	must(t, os.Remove(control))
	must(t, os.Mkdir(control, 0o700))
	if err := loadControl(); !errors.Is(err, disk.ErrPermission) {
		t.Errorf("a folder: %v", err)
	}
	must(t, d.Close())
}
