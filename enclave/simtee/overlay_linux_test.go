package simtee

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestContainerFileSystem runs the guest as a container engine does: from a
// layer of an overlay file system, as process 1, with that as its root.
func TestContainerFileSystem(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount an overlay file system")
	}
	s := newStage(t)
	at := func(name string) string { return filepath.Join(s.dir, name) }
	for _, d := range []string{"disk", "merged"} {
		if err := os.Mkdir(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "tmpfs", at("disk"), "tmpfs", "")
	for _, d := range []string{"disk/lower", "disk/upper", "disk/work", "disk/lower/.hitoku", "disk/lower/tee"} {
		if err := os.Mkdir(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install(t, at("disk/lower/.hitoku/init"), read(t, s.genuine))
	s.write("disk/lower/manifest.json", read(t, s.manifest))
	s.write("disk/lower/sigstruct", read(t, s.sigstruct))
	mount(t, "overlay", at("merged"), "overlay", "lowerdir="+at("disk/lower")+",upperdir="+at("disk/upper")+",workdir="+at("disk/work"))
	mountBind(t, filepath.Dir(s.socket), at("merged/tee"))

	a := s.start(t, "/.hitoku/init", func(attr *syscall.SysProcAttr) {
		attr.Chroot = at("merged")
		attr.Cloneflags |= syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
	})
	a.must("dial", "/tee/"+SocketName)
	a.must("measure", "/manifest.json", "/sigstruct")
	a.must("evidence", "app-tls")
}

func mount(t *testing.T, source, at, kind, options string) {
	t.Helper()
	if err := unix.Mount(source, at, kind, 0, options); err != nil {
		t.Fatalf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
}

func mountBind(t *testing.T, from, at string) {
	t.Helper()
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("bind mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
}
