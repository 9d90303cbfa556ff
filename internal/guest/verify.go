package guest

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// Verified says what a walk has covered.
type Verified struct {
	Files int64 // regular files whose content is right
	Bytes int64 // bytes hashed in this walk
}

// verifier walks the root file system by folder descriptors, never following a
// link, and compares everything with the world.
type verifier struct {
	world   *World
	refused *refusals
	queue   *queue
	now     unix.Timespec
	files   atomic.Int64
	bytes   atomic.Int64
}

// folder is an open folder, shared by the tasks that look into it.
type folder struct {
	fd    int
	path  string
	dev   device
	users atomic.Int32
}

func (f *folder) release() {
	if f.users.Add(-1) == 0 {
		unix.Close(f.fd)
	}
}

func (f *folder) join(name string) string {
	if f.path == "/" {
		return "/" + name
	}
	return f.path + "/" + name
}

// Verify compares the file system at root with the world and returns a
// [*RefusedError] that lists what differs. A second call hashes only files
// whose inode, size or times have moved since the first.
func (w *World) Verify(ctx context.Context, root string) (Verified, error) {
	refused := &refusals{}
	done, err := w.verify(ctx, root, refused)
	if err != nil {
		return done, err
	}
	return done, refused.err()
}

func (w *World) verify(ctx context.Context, root string, refused *refusals) (Verified, error) {
	v := &verifier{world: w, refused: refused, queue: newQueue()}
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &v.now); err != nil {
		return Verified{}, fmt.Errorf("clock: %w", err)
	}
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Verified{}, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	if err := v.start(ctx, fd); err != nil {
		unix.Close(fd)
		return Verified{}, err
	}
	var workers sync.WaitGroup
	for range max(4, 2*runtime.NumCPU()) { // more than processors: on a cold disk they wait
		workers.Go(func() { v.work(ctx) })
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return Verified{}, err
	}
	v.checkHardlinks()
	return Verified{Files: v.files.Load(), Bytes: v.bytes.Load()}, nil
}

// start judges the root folder itself. Engines make it themselves, so that only
// its type and that no other user can write to it are checked.
func (v *verifier) start(ctx context.Context, fd int) error {
	var st unix.Statx_t
	if err := statxFD(fd, &st); err != nil {
		return &fs.PathError{Op: "statx", Path: "/", Err: err}
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		if f := v.world.root.file; f == nil || uint32(st.Mode)&0o7777 != f.Mode || st.Uid != f.UID {
			v.refuse("file_mode", "/", "owner 0, not writable by others", fmt.Sprintf("owner %d, mode %04o", st.Uid, st.Mode&0o7777), "")
		}
	}
	root := &folder{fd: fd, path: "/", dev: deviceOf(&st)}
	root.users.Store(1)
	v.read(ctx, root, v.world.root)
	return nil
}

func (v *verifier) work(ctx context.Context) {
	h := newHasher()
	for {
		t, ok := v.queue.next()
		if !ok {
			return
		}
		switch {
		case ctx.Err() != nil || v.refused.full(): // drain
		case t.folder:
			v.enter(ctx, t)
		default:
			v.content(ctx, h, t)
		}
		t.parent.release()
		v.queue.done()
	}
}

// enter opens a folder and makes sure that it is the one that was judged.
func (v *verifier) enter(ctx context.Context, t task) {
	name := t.parent.join(t.name)
	fd, err := unix.Openat(t.parent.fd, t.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		v.unreadable(name, err)
		return
	}
	var st unix.Statx_t
	if err := statxFD(fd, &st); err != nil {
		v.unreadable(name, err)
		unix.Close(fd)
		return
	}
	if inodeOf(&st) != t.seen.inode {
		v.changed(name)
		unix.Close(fd)
		return
	}
	if t.node.file != nil {
		v.xattrs(name, t.node.file, openXattr(fd), true)
	}
	f := &folder{fd: fd, path: name, dev: deviceOf(&st)}
	f.users.Store(1)
	v.read(ctx, f, t.node)
}

// read judges every entry of a folder and looks for missing ones. It takes over f.
func (v *verifier) read(ctx context.Context, f *folder, n *node) {
	defer f.release()
	names, err := entries(f.fd)
	if err != nil {
		v.unreadable(f.path, err)
		return
	}
	for _, name := range names {
		v.entry(ctx, f, name, n.children[name])
	}
	v.missing(f, n, names)
}

func (v *verifier) missing(f *folder, n *node, names []string) {
	wanted := 0
	for _, c := range n.children {
		if c.mustExist() {
			wanted++
		}
	}
	for _, name := range names {
		if c := n.children[name]; c != nil && c.mustExist() {
			wanted--
		}
	}
	if wanted == 0 {
		return
	}
	slices.Sort(names)
	for name, c := range n.children {
		if _, there := slices.BinarySearch(names, name); !there && c.mustExist() {
			v.refuse("file_missing", f.join(name), c.file.Type, "nothing", "the image was changed after conversion: convert it again, or pull it again")
		}
	}
}

func (n *node) mustExist() bool { return n.file != nil && n.allow&allowAnything == 0 }

func (v *verifier) entry(ctx context.Context, f *folder, name string, n *node) {
	var st unix.Statx_t
	full := f.join(name)
	if err := statxAt(f.fd, name, &st); err != nil {
		v.unreadable(full, err)
		return
	}
	if n == nil {
		v.refuse("closed_world", full, "no such entry", kind(&st), "not in the measured image: remove it, or convert with --rw "+full)
		return
	}
	if mountRoot(&st, f.dev) {
		if n.allow&(allowMount|allowAnything) == 0 {
			v.refuse("mount", full, "no mount", "a mount of "+kind(&st), "remove the mount, or convert with --rw "+full)
		}
		return
	}
	switch {
	case n.allow&allowOwn != 0:
		v.own(ctx, f, name, n, &st)
	case n.allow&allowAnything != 0 && n.writable(&st):
	case n.file != nil && v.metadata(f, name, n, &st, false):
		v.descend(f, name, n, &st)
	case v.allowed(f, name, n, &st):
		if kind(&st) == workload.TypeDir {
			v.descend(f, name, n, &st)
		}
	case n.file != nil:
		v.metadata(f, name, n, &st, true)
	default:
		v.refuse("closed_world", full, "no such entry, or the one that engines make", kind(&st), "remove it, or convert with --rw "+full)
	}
}

// writable reports whether st may stand at a writable path: what the image had
// there, and for a path that it had not, a folder or a file.
func (n *node) writable(st *unix.Statx_t) bool {
	k := kind(st)
	if n.file != nil {
		return k == n.file.Type && (k == workload.TypeDir || k == workload.TypeFile)
	}
	return k == workload.TypeDir || k == workload.TypeFile
}

// allowed reports whether an engine, or this guest at an earlier start of the
// same container, made the entry.
func (v *verifier) allowed(f *folder, name string, n *node, st *unix.Statx_t) bool {
	switch kind(st) {
	case workload.TypeDir:
		return n.allow&allowFolder != 0 && n.file == nil
	case workload.TypeFile:
		return n.allow&allowFile != 0 || n.allow&allowEmpty != 0 && st.Size == 0
	case kindSocket:
		return n.allow&allowSocket != 0
	case workload.TypeSymlink:
		target, err := readlink(f.fd, name)
		return err == nil && n.allow&allowLink != 0 && target == n.link
	}
	return false
}

func (v *verifier) descend(f *folder, name string, n *node, st *unix.Statx_t) {
	t := task{parent: f, name: name, node: n, seen: fingerprintOf(st)}
	switch kind(st) {
	case workload.TypeDir:
		t.folder = true
	case workload.TypeFile:
		n.inode = t.seen.inode
		if n.print == t.seen && n.print != (fingerprint{}) {
			v.files.Add(1)
			return
		}
	default:
		return
	}
	f.users.Add(1)
	v.queue.push(t)
}

func (v *verifier) checkHardlinks() {
	for _, l := range v.world.links {
		a, b := l.node.inode, l.firstTarget.inode
		if a != b && a != (inode{}) && b != (inode{}) {
			v.refuse("hard_link", l.path, "the same inode as "+l.first, "another file", "the engine or a later layer has split the two names")
		}
	}
}

func (v *verifier) refuse(rule, name, wanted, seen, advice string) {
	v.refused.add(Refusal{Rule: rule, Path: name, Wanted: wanted, Seen: seen, Advice: advice})
}

func (v *verifier) unreadable(name string, err error) {
	v.refuse("file_readable", name, "to be read", err.Error(), "")
}

func (v *verifier) changed(name string) {
	v.refuse("file_unchanged", name, "no change while it is checked", "another file, size or time", "something writes to the container's files while it starts")
}
