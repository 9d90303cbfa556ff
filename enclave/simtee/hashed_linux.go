package simtee

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// hashed remembers the digest of a process's program, so that a request costs
// less than hashing the program twice.
//
// This is safe because every change of a file's content moves its ctime, which no
// call can set: write(2) does, and so does the first store to a page of a shared
// writable mapping. Three things could hide a change, and are excluded. A mapping
// with dirty pages made before: it holds the file open for writing, and such a
// file cannot be executed (ETXTBSY). A change within the clock tick of the
// last one: the ctime must be two seconds old when the file is hashed. Another file with
// the number of this one: the file stays open, so its inode stays taken. File
// systems whose attributes come from elsewhere (network, FUSE) are hashed every
// time.
type hashed struct {
	file    *os.File
	stat    unix.Stat_t
	program *program
}

const settled = 2 * time.Second

// remember keeps f and what was found in it, where that is safe. It reports
// whether f was kept.
func (p *process) remember(f *os.File, st *unix.Stat_t, prog *program, now time.Time) bool {
	if age := now.Sub(time.Unix(st.Ctim.Unix())); age < settled || !localFileSystem(f) {
		return false
	}
	var again unix.Stat_t // nothing changed while it was hashed
	if err := unix.Fstat(int(f.Fd()), &again); err != nil || !sameContent(st, &again) {
		return false
	}
	p.forget()
	p.hashed = &hashed{file: f, stat: *st, program: prog}
	return true
}

// forget closes the file that remember kept.
func (p *process) forget() {
	if p.hashed != nil {
		p.hashed.file.Close()
		p.hashed = nil
	}
}

// unchanged returns the program that was hashed before, if st is that file
// with that content.
func (p *process) unchanged(st *unix.Stat_t) *program {
	if p.hashed == nil || !sameContent(&p.hashed.stat, st) {
		return nil
	}
	return p.hashed.program
}

func sameContent(a, b *unix.Stat_t) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Size == b.Size && a.Ctim == b.Ctim && a.Mtim == b.Mtim
}

func localFileSystem(f *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}
