package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

func sortFiles(m *workload.Manifest) {
	slices.SortFunc(m.Files, func(a, b workload.File) int { return strings.Compare(a.Name(), b.Name()) })
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices and mounts are made for real")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name, data string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, []byte(data), mode))
	must(t, os.Chmod(name, mode))
}

// sampleTree makes a small root file system with one of everything.
func sampleTree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	must(t, os.Chmod(root, 0o755))
	write(t, root+"/app", "#!/bin/sh\nexit 0\n", 0o755)
	write(t, root+"/bin/su", "set-uid", 0o755)
	must(t, os.Chmod(root+"/bin/su", 0o755|os.ModeSetuid))
	write(t, root+"/etc/app/conf.d/10-base.conf", "a = 1\n", 0o644)
	write(t, root+"/etc/secret", "private", 0o600)
	must(t, os.Chown(root+"/etc/secret", 1000, 1000))
	write(t, root+"/usr/lib/python3/site.py", "pass\n", 0o644)
	write(t, root+"/usr/lib/empty", "", 0o644)
	must(t, os.Link(root+"/usr/lib/python3/site.py", root+"/usr/lib/python3/site2.py"))
	must(t, os.Symlink("python3", root+"/usr/lib/python"))
	must(t, os.Symlink("/run", root+"/var-run"))
	write(t, root+"/usr/lib/b\xffd", "name is not UTF-8", 0o644)
	for _, d := range []string{"/tmp", "/run", "/dev", "/proc", "/sys", "/srv/data", "/lib64/empty-dir"} {
		must(t, os.MkdirAll(root+d, 0o755))
	}
	must(t, os.Chmod(root+"/tmp", 0o777|os.ModeSticky))
	must(t, unix.Mkfifo(root+"/usr/lib/fifo", 0o644))
	must(t, unix.Mknod(root+"/usr/lib/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Chmod(root+"/usr/lib/null", 0o666))
	must(t, unix.Setxattr(root+"/bin/su", capability, capNetBind, 0))
	return root
}

// capNetBind is VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE, permitted and effective.
var capNetBind = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func sampleManifest(t testing.TB, root string) *workload.Manifest {
	t.Helper()
	m := manifestOf(t, root)
	for i := range m.Files {
		if m.Files[i].Path == "/bin/su" {
			m.Files[i].Xattrs = map[string]string{capability: "AQAAAgAEAAAAAAAAAAAAAAAAAAA="}
		}
	}
	m.Folders = []workload.Folder{{Mode: workload.FolderRW, Path: "/run"}, {Mode: workload.FolderRW, Path: "/srv/data"}, {Mode: workload.FolderRW, Path: "/tmp"}, {Mode: workload.FolderRW, Path: "/vol/new"}}
	data, err := workload.Encode(m)
	must(t, err)
	m, err = workload.Decode(data)
	must(t, err)
	return m
}

// refusedAs returns rule and path of every refusal in err.
func refusedAs(t testing.TB, err error) []string {
	t.Helper()
	var r *RefusedError
	if err == nil {
		return nil
	}
	if !errors.As(err, &r) {
		t.Fatalf("%v is not a refusal", err)
	}
	var out []string
	for _, x := range r.Refusals {
		if x.Wanted == "" || x.Seen == "" {
			t.Errorf("%v does not say wanted and seen", x)
		}
		out = append(out, x.Rule+" "+x.Path)
	}
	return out
}

func TestVerifyAcceptsTheMeasuredTree(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root := sampleTree(t)
	w := NewWorld(sampleManifest(t, root))
	done, err := w.Verify(t.Context(), root)
	must(t, err)
	if done.Files != 8 {
		t.Errorf("%d files verified, wanted 8", done.Files)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	needRoot(t)
	file := func(name string) func(testing.TB, string) {
		return func(t testing.TB, root string) { write(t, root+name, "x", 0o644) }
	}
	for name, c := range map[string]struct {
		change func(t testing.TB, root string)
		want   []string
	}{
		"ld.so.preload": {file("/etc/ld.so.preload"), []string{"closed_world /etc/ld.so.preload"}},
		"pth file":      {file("/usr/lib/python3/evil.pth"), []string{"closed_world /usr/lib/python3/evil.pth"}},
		"conf.d":        {file("/etc/app/conf.d/99-evil.conf"), []string{"closed_world /etc/app/conf.d/99-evil.conf"}},
		"extra folder":  {func(t testing.TB, root string) { must(t, os.Mkdir(root+"/opt", 0o755)) }, []string{"closed_world /opt"}},
		"extra name in a folder that is not UTF-8": {file("/usr/lib/\xff"), []string{"closed_world /usr/lib/\xff"}},
		"content": {file("/usr/lib/python3/../b\xffd"), []string{"file_size /usr/lib/b\xffd"}},
		"content of the same size": {
			func(t testing.TB, root string) { write(t, root+"/etc/app/conf.d/10-base.conf", "a = 2\n", 0o644) },
			[]string{"file_content /etc/app/conf.d/10-base.conf"},
		},
		"empty file filled":   {file("/usr/lib/empty"), []string{"file_size /usr/lib/empty"}},
		"missing file":        {func(t testing.TB, root string) { must(t, os.Remove(root+"/etc/secret")) }, []string{"file_missing /etc/secret"}},
		"missing folder":      {func(t testing.TB, root string) { must(t, os.Remove(root+"/lib64/empty-dir")) }, []string{"file_missing /lib64/empty-dir"}},
		"mode":                {func(t testing.TB, root string) { must(t, os.Chmod(root+"/app", 0o777)) }, []string{"file_mode /app"}},
		"set-uid gone":        {func(t testing.TB, root string) { must(t, os.Chmod(root+"/bin/su", 0o755)) }, []string{"file_mode /bin/su"}},
		"folder mode":         {func(t testing.TB, root string) { must(t, os.Chmod(root+"/etc", 0o777)) }, []string{"file_mode /etc"}},
		"owner":               {func(t testing.TB, root string) { must(t, os.Chown(root+"/etc/secret", 1001, 1000)) }, []string{"file_owner /etc/secret"}},
		"owner of a link":     {func(t testing.TB, root string) { must(t, os.Lchown(root+"/usr/lib/python", 5, 5)) }, []string{"file_owner /usr/lib/python"}},
		"extra link":          {func(t testing.TB, root string) { must(t, os.Link(root+"/app", root+"/bin/app")) }, []string{"closed_world /bin/app"}},
		"extra symbolic link": {func(t testing.TB, root string) { must(t, os.Symlink("/app", root+"/bin/sh")) }, []string{"closed_world /bin/sh"}},
		"link target": {func(t testing.TB, root string) {
			must(t, os.Remove(root+"/usr/lib/python"))
			must(t, os.Symlink("/tmp/python", root+"/usr/lib/python"))
		}, []string{"link_target /usr/lib/python"}},
		"file becomes a link to itself elsewhere": {func(t testing.TB, root string) {
			must(t, os.Rename(root+"/app", root+"/tmp/app"))
			must(t, os.Symlink("/tmp/app", root+"/app"))
		}, []string{"file_type /app"}},
		"folder becomes a link": {func(t testing.TB, root string) {
			must(t, os.Rename(root+"/usr/lib/python3", root+"/tmp/python3"))
			must(t, os.Symlink("/tmp/python3", root+"/usr/lib/python3"))
		}, []string{"file_type /usr/lib/python3"}},
		"hard link split": {func(t testing.TB, root string) {
			must(t, os.Remove(root+"/usr/lib/python3/site2.py"))
			write(t, root+"/usr/lib/python3/site2.py", "pass\n", 0o644)
		}, []string{"hard_link /usr/lib/python3/site2.py"}},
		"FIFO": {func(t testing.TB, root string) { must(t, unix.Mkfifo(root+"/etc/fifo", 0o644)) }, []string{"closed_world /etc/fifo"}},
		"file becomes a FIFO": {func(t testing.TB, root string) {
			must(t, os.Remove(root+"/usr/lib/empty"))
			must(t, unix.Mkfifo(root+"/usr/lib/empty", 0o644))
		}, []string{"file_type /usr/lib/empty"}},
		"device": {func(t testing.TB, root string) {
			must(t, unix.Mknod(root+"/etc/mem", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))))
		}, []string{"closed_world /etc/mem"}},
		"another device number": {func(t testing.TB, root string) {
			must(t, os.Remove(root+"/usr/lib/null"))
			must(t, unix.Mknod(root+"/usr/lib/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))))
			must(t, os.Chmod(root+"/usr/lib/null", 0o666))
		}, []string{"device_number /usr/lib/null"}},
		"whiteout": {func(t testing.TB, root string) {
			must(t, os.Remove(root+"/etc/secret"))
			must(t, unix.Mknod(root+"/etc/secret", unix.S_IFCHR, 0))
		}, []string{"file_type /etc/secret"}},
		"whiteout of nothing": {func(t testing.TB, root string) { must(t, unix.Mknod(root+"/etc/.wh.x", unix.S_IFCHR, 0)) }, []string{"closed_world /etc/.wh.x"}},
		"capability added":    {func(t testing.TB, root string) { must(t, unix.Setxattr(root+"/app", capability, capNetBind, 0)) }, []string{"file_xattr /app"}},
		"capability gone":     {func(t testing.TB, root string) { must(t, unix.Removexattr(root+"/bin/su", capability)) }, []string{"file_xattr /bin/su"}},
		"capability changed": {func(t testing.TB, root string) {
			must(t, unix.Setxattr(root+"/bin/su", capability, append([]byte{1, 0, 0, 2, 255}, capNetBind[5:]...), 0))
		}, []string{"file_xattr /bin/su"}},
		"writable folder becomes a link": {func(t testing.TB, root string) {
			must(t, os.Remove(root+"/srv/data"))
			must(t, os.Symlink("/etc", root+"/srv/data"))
		}, []string{"file_type /srv/data"}},
		"engine's file with content": {file("/.dockerenv"), []string{"closed_world /.dockerenv"}},
		"mtab elsewhere":             {func(t testing.TB, root string) { must(t, os.Symlink("/tmp/mtab", root+"/etc/mtab")) }, []string{"closed_world /etc/mtab"}},
		"beside the guest":           {file("/.hitoku/more"), []string{"closed_world /.hitoku/more"}},
		"the guest itself":           {file("/.hitoku/init"), []string{"guest_program /.hitoku/init"}},
		"the manifest as a link": {func(t testing.TB, root string) {
			must(t, os.Mkdir(root+"/.hitoku", 0o755))
			must(t, os.Symlink("/tmp/m", root+"/.hitoku/manifest.json"))
		}, []string{"own_file /.hitoku/manifest.json"}},
		"file above a new volume": {file("/vol/file"), []string{"closed_world /vol/file"}},
		"several at once": {func(t testing.TB, root string) {
			write(t, root+"/etc/ld.so.preload", "/tmp/x.so", 0o644)
			must(t, os.Remove(root+"/etc/secret"))
			must(t, os.Chmod(root+"/app", 0o700))
		}, []string{"file_mode /app", "closed_world /etc/ld.so.preload", "file_missing /etc/secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := sampleTree(t)
			w := NewWorld(sampleManifest(t, root))
			c.change(t, root)
			_, err := w.Verify(t.Context(), root)
			if got := refusedAs(t, err); !slices.Equal(got, c.want) {
				t.Errorf("refused %q, wanted %q", got, c.want)
			}
		})
	}
}

func TestVerifyAllows(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for name, change := range map[string]func(t testing.TB, root string){
		"anything in writable folders": func(t testing.TB, root string) {
			write(t, root+"/srv/data/db/1", "x", 0o600)
			write(t, root+"/run/app.pid", "1", 0o644)
			must(t, os.Chown(root+"/srv/data", 999, 999))
			must(t, os.Chmod(root+"/srv/data", 0o700))
		},
		"a volume that the image had not": func(t testing.TB, root string) { write(t, root+"/vol/new/file", "x", 0o644) },
		"what Docker makes": func(t testing.TB, root string) {
			write(t, root+"/.dockerenv", "", 0o755)
			for _, n := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/console"} {
				write(t, root+n, "", 0o755)
			}
			must(t, os.MkdirAll(root+"/dev/pts", 0o755))
			must(t, os.MkdirAll(root+"/dev/shm", 0o755))
			must(t, os.Symlink("/proc/mounts", root+"/etc/mtab"))
		},
		"the guest's socket folder": func(t testing.TB, root string) { must(t, os.MkdirAll(root+"/run/hitoku/tee", 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := sampleTree(t)
			w := NewWorld(sampleManifest(t, root))
			change(t, root)
			_, err := w.Verify(t.Context(), root)
			must(t, err)
		})
	}
}

// TestVerifyEveryByte changes each byte of each file in turn.
func TestVerifyEveryByte(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root := sampleTree(t)
	m := sampleManifest(t, root)
	for _, f := range m.Files {
		if f.Type != workload.TypeFile {
			continue
		}
		name := root + f.Name()
		data, err := os.ReadFile(name)
		must(t, err)
		for i := range data {
			data[i] ^= 1 << (i % 8)
			overwrite(t, name, data)
			_, err := NewWorld(m).Verify(t.Context(), root)
			if got := refusedAs(t, err); !slices.Contains(got, "file_content "+f.Name()) {
				t.Errorf("%s byte %d: refused %q", f.Name(), i, got)
			}
			data[i] ^= 1 << (i % 8)
		}
		overwrite(t, name, data)
		if f.Path == "/bin/su" { // the kernel takes the capability away on each write
			must(t, os.Chmod(name, 0o755|os.ModeSetuid))
			must(t, unix.Setxattr(name, capability, capNetBind, 0))
		}
	}
	_, err := NewWorld(m).Verify(t.Context(), root)
	must(t, err)
}

// overwrite changes a file's content in place and keeps mode and owner.
func overwrite(t testing.TB, name string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	must(t, err)
	st, err := f.Stat()
	must(t, err)
	_, err = f.WriteAt(data, 0)
	must(t, err)
	must(t, f.Chmod(st.Mode()))
	if filepath.Base(name) == "su" {
		must(t, unix.Setxattr(name, capability, capNetBind, 0))
	}
	must(t, f.Close())
}

// TestVerifyAgain is the second walk before the program starts.
func TestVerifyAgain(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root := sampleTree(t)
	w := NewWorld(sampleManifest(t, root))
	_, err := w.Verify(t.Context(), root)
	must(t, err)
	write(t, root+"/usr/lib/python3/site.py", "evil\n", 0o644) // after hashing, same size
	_, err = w.Verify(t.Context(), root)
	want := []string{"file_content /usr/lib/python3/site.py", "file_content /usr/lib/python3/site2.py"}
	if got := refusedAs(t, err); !slices.Equal(got, want) {
		t.Errorf("refused %q, wanted %q", got, want)
	}
}

// TestVerifyAgainReadsOnlyWhatMoved uses files that were not written just now.
func TestVerifyAgainReadsOnlyWhatMoved(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const root = "/usr/share/zoneinfo"
	if _, err := os.Stat(root); err != nil {
		t.Skip("needs /usr/share/zoneinfo: files older than two seconds")
	}
	w := NewWorld(manifestOf(t, root))
	first, err := w.Verify(t.Context(), root)
	must(t, err)
	second, err := w.Verify(t.Context(), root)
	must(t, err)
	if first.Bytes == 0 || second.Bytes != 0 || first.Files != second.Files {
		t.Errorf("first %+v, second %+v: wanted nothing hashed twice", first, second)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root := sampleTree(t)
	m := sampleManifest(t, root)
	for i := range 200 {
		write(t, fmt.Sprintf("%s/etc/extra-%03d", root, i), "", 0o644)
	}
	_, err := NewWorld(m).Verify(t.Context(), root)
	var r *RefusedError
	if !errors.As(err, &r) || len(r.Refusals) != MaxRefusals || r.More == 0 {
		t.Errorf("%v", err)
	}
}
