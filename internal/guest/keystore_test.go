package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

func TestKeyStore(t *testing.T) {
	t.Parallel()
	needRoot(t)
	s := &keyStore{root: t.TempDir(), uid: 1000, gid: 2000}
	must(t, os.MkdirAll(s.root+storeFolder, 0o755))
	for i := range 4 {
		text := []byte{'a' + byte(i)}
		must(t, s.put(1, i+1, files{key: text, cert: text, chain: text}))
		for _, name := range []string{workload.KeyFile, workload.CertFile, workload.ChainFile} {
			at := s.root + workload.KeyTarget(1, name)
			got, err := os.ReadFile(at)
			must(t, err)
			var st unix.Stat_t
			must(t, unix.Stat(at, &st))
			wantMode := uint32(0o644)
			if name == workload.KeyFile {
				wantMode = 0o600
			}
			if string(got) != string(text) || st.Uid != 1000 || st.Gid != 2000 || st.Mode&0o7777 != wantMode {
				t.Errorf("%s after %d: %q, owner %d:%d, mode %o", name, i, got, st.Uid, st.Gid, st.Mode)
			}
		}
	}
	must(t, s.put(0, 1, files{key: []byte("k"), cert: []byte("c"), chain: []byte("h")}))
	if got, err := os.ReadFile(s.root + workload.KeyTarget(1, workload.KeyFile)); err != nil || string(got) != "d" {
		t.Errorf("the other certificate's key is %q, %v", got, err)
	}
	left, err := os.ReadDir(s.root + storeFolder + "/1")
	must(t, err)
	if len(left) != 3 { // current and two generations
		t.Errorf("left in the store: %v", left)
	}
}

func TestKeyLinks(t *testing.T) {
	t.Parallel()
	needRoot(t)
	s := &keyStore{root: t.TempDir()}
	for _, c := range []certificateLink{{"/run/key.pem", "/dev/shm/hitoku/current/0/key.pem"}, {"/opt/app/certs/cert.pem", "/x"}, {"/opt/app/certs/cert.pem", "/y"}} {
		for range 2 { // a second start finds the first one's link
			must(t, s.link(c))
			if got, err := os.Readlink(s.root + c.path); err != nil || got != c.target {
				t.Errorf("%s leads to %q, %v", c.path, got, err)
			}
		}
	}
	write(t, s.root+"/etc/ssl/key.pem", "placeholder", 0o600)
	must(t, s.link(certificateLink{"/etc/ssl/key.pem", "/x"}))
	must(t, os.MkdirAll(s.root+"/etc/dir", 0o755))
	if err := s.link(certificateLink{"/etc/dir", "/x"}); err == nil || !strings.Contains(err.Error(), "a folder is there") {
		t.Errorf("over a folder: %v", err)
	}
}

// TestKeyPathOnBindMount needs a mount of its own, made in a namespace.
func TestKeyPathOnBindMount(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root, host := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(root+"/run", 0o755))
	must(t, os.MkdirAll(root+"/tmpfs", 0o755))
	inMountNamespace(t, func() {
		must(t, unix.Mount(host, root+"/run", "", unix.MS_BIND, ""))
		must(t, unix.Mount("tmpfs", root+"/tmpfs", "tmpfs", 0, ""))
		s := &keyStore{root: root}
		if got := refusedAs(t, s.link(certificateLink{"/run/key.pem", "/x"})); !slices.Equal(got, []string{"key_path /run/key.pem"}) {
			t.Errorf("bind mount: refused %q", got)
		}
		if err := s.link(certificateLink{"/tmpfs/key.pem", "/x"}); err != nil {
			t.Errorf("tmpfs: %v", err)
		}
		if err := os.MkdirAll(root+"/dev/shm", 0o755); err != nil {
			t.Error(err)
		}
		_, err := prepareStore(root) // on disk
		if got := refusedAs(t, err); !slices.Equal(got, []string{"key_storage /dev/shm"}) {
			t.Errorf("store on disk: refused %q", got)
		}
		must(t, unix.Mount("tmpfs", root+"/dev/shm", "tmpfs", 0, ""))
		write(t, root+storeFolder+"/9/old", "x", 0o600)
		lock, err := prepareStore(root)
		must(t, err)
		if left, _ := os.ReadDir(root + storeFolder); len(left) != 0 {
			t.Errorf("left from an earlier start: %v", left)
		}
		if _, err := prepareStore(root); err == nil || !strings.Contains(err.Error(), "in use by another container") {
			t.Errorf("second guest on the same /dev/shm: %v", err)
		}
		must(t, lock.Close())
		must(t, os.Chown(root+storeFolder, 1000, 1000))
		if _, err := prepareStore(root); err == nil || !strings.Contains(err.Error(), "belongs to user 1000") {
			t.Errorf("somebody else's folder: %v", err)
		}
	})
}

func TestEncryptedFolders(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "disk"), 0o755))
	must(t, os.MkdirAll(filepath.Join(root, "mem"), 0o755))
	inMountNamespace(t, func() {
		must(t, unix.Mount("tmpfs", root+"/mem", "tmpfs", 0, ""))
		var refused refusals
		checkEncrypted(root, []workload.Folder{
			{Mode: workload.FolderEncrypted, Path: "/disk"}, {Mode: workload.FolderEncrypted, Path: "/mem"}, {Mode: workload.FolderEncrypted, Path: "/none"}, {Mode: workload.FolderRW, Path: "/disk"},
		}, &refused)
		if got := refusedAs(t, refused.err()); !slices.Equal(got, []string{"encrypted_folder /disk", "encrypted_folder /none"}) {
			t.Errorf("refused %q", got)
		}
	})
}

func TestBasicDevices(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root := t.TempDir()
	must(t, os.MkdirAll(root+"/dev", 0o755))
	must(t, unix.Mknod(root+"/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(root+"/dev/random", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	write(t, root+"/dev/urandom", "chosen by the host", 0o666)
	var refused refusals
	checkDevices(root, &refused)
	if got := refusedAs(t, refused.err()); !slices.Equal(got, []string{"device /dev/random", "device /dev/urandom"}) {
		t.Errorf("refused %q", got)
	}
}
