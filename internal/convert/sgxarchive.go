package convert

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"hitoku.dev/internal/packed"
	"hitoku.dev/measure/workload"
)

const (
	archivePath = sgxFolder + "/packed.tar"
	// packedMany is how many chosen files make a folder worth packing.
	packedMany = 100
	// maxPackedFiles bounds the folders and files of the archive.
	maxPackedFiles = packed.MaxEntries
)

// archive is what the guest puts into enclave memory before the program starts: the folders
// that the image has where the enclave has memory, and the chosen files in them.
type archive struct {
	entries []archiveEntry // sorted by name
	spool   *spool
	size    int64
	sum     [32]byte
}

type archiveEntry struct {
	packed.Entry
	ino *inode
}

// newArchive collects what lies below the folders in memory: the image's folders, and those of
// the files that take chooses. It is nil when that is nothing.
func newArchive(t *imageTree, memory []string, files []chosenFile, take func(path string) bool) (*archive, error) {
	a := &archive{}
	seen := map[string]bool{}
	add := func(name string, e archiveEntry) {
		if !seen[name] {
			seen[name] = true
			e.Name = name[1:]
			a.entries = append(a.entries, e)
		}
	}
	fs := t.fs
	var folders func(id nodeID, name string)
	folders = func(id nodeID, name string) {
		for _, child := range t.children[id] {
			c := fs.child(id, child)
			if ino := fs.nodes[c].ino; ino.kind == kindDir && len(a.entries) <= maxPackedFiles {
				below := path.Join(name, child)
				add(below, archiveEntry{packed.Entry{Dir: true, Mode: modeOf(ino)}, nil})
				folders(c, below)
			}
		}
	}
	for _, m := range memory {
		id, err := fs.lookup(m)
		if err != nil || fs.nodes[id].ino.kind != kindDir || id == rootNode {
			continue
		}
		folders(id, m)
		real := fs.path(id)
		for i := range files {
			f := &files[i]
			if f.path == real || !workload.Within(f.path, real) || !take(f.path) {
				continue
			}
			add(m+strings.TrimPrefix(f.path, real), archiveEntry{packed.Entry{Mode: modeOf(f.ino), Size: f.ino.size}, f.ino})
		}
	}
	if len(a.entries) == 0 {
		return nil, nil
	}
	if len(a.entries) > maxPackedFiles {
		return nil, fail(KindLimit, "more than %d files and folders lie where the enclave has memory", maxPackedFiles).advise("leave some out with --exclude")
	}
	slices.SortFunc(a.entries, func(x, y archiveEntry) int { return strings.Compare(x.Name, y.Name) })
	return a, nil
}

func modeOf(ino *inode) fs.FileMode { return fs.FileMode(ino.mode) & fs.ModePerm }

// inodes are the files whose contents the archive needs.
func (a *archive) inodes(into map[*inode]bool) {
	for i := range a.entries {
		if ino := a.entries[i].ino; ino != nil && ino.size > 0 {
			into[ino] = true
		}
	}
}

// measure finds size and hash.
func (a *archive) measure(ctx context.Context) error {
	sum := &countingHash{Hash: sha256.New()}
	if err := a.write(ctx, sum); err != nil {
		return err
	}
	a.size, a.sum = sum.n, [32]byte(sum.Sum(nil))
	if a.size > workload.MaxPacked {
		return fail(KindLimit, "the packed archive has %d bytes, at most %d fit", a.size, int64(workload.MaxPacked)).advise("leave files out with --exclude, or use --files lean")
	}
	return nil
}

// write gives the same bytes each time.
func (a *archive) write(ctx context.Context, to io.Writer) error {
	buffered := bufio.NewWriterSize(to, 256<<10)
	w := packed.NewWriter(buffered)
	for i := range a.entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		e := &a.entries[i]
		var content io.Reader
		if e.ino != nil && e.ino.size > 0 {
			content = a.spool.open(e.ino)
		}
		if err := w.Add(e.Entry, content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func (a *archive) section() *workload.Packed {
	return &workload.Packed{Path: archivePath, Root: "/", SHA256: hex.EncodeToString(a.sum[:]), Size: a.size}
}

// notPacked are folders in which programs and libraries of the system lie side by side: they
// stay as they are, and what lies in them is judged folder by folder.
var notPacked = []string{
	"/", "/bin", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/proc", "/run", "/sbin", "/srv", "/sys", "/tmp",
	"/usr", "/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/local/sbin",
	"/usr/local/share", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/var/www",
}

// packedFolders chooses the folders that mode packed takes into the archive whole: the
// outermost ones with many chosen files, to or into which no link to a folder leads from
// elsewhere, since under Gramine that would be another folder.
func packedFolders(ch *choice, fs *rootfs) []string {
	count := map[string]int{}
	for i := range ch.files {
		for d := path.Dir(ch.files[i].path); d != "/"; d = path.Dir(d) {
			count[d]++
		}
	}
	linked := map[string]bool{}
	for _, l := range ch.links {
		if id, err := fs.lookup(l.Path); err == nil {
			for d := fs.path(id); d != "/"; d = path.Dir(d) {
				if !workload.Within(l.Path, d) {
					linked[d] = true
				}
			}
		}
	}
	var out []string
	for d, n := range count {
		if n < packedMany || linked[d] || slices.Contains(notPacked, d) || isMultiarch(d) || workload.Within(d, workload.Dir) {
			continue
		}
		out = append(out, d)
	}
	slices.Sort(out)
	var outermost []string
	for _, d := range out {
		if !slices.ContainsFunc(outermost, func(o string) bool { return workload.Within(d, o) }) {
			outermost = append(outermost, d)
		}
	}
	return outermost
}

// isMultiarch knows Debian's folders of libraries, such as /usr/lib/x86_64-linux-gnu.
func isMultiarch(dir string) bool {
	return strings.HasSuffix(dir, "-linux-gnu") || strings.HasSuffix(dir, "-linux-musl")
}

// describe says what is unpacked; nothing where it is folders only.
func (a *archive) describe() string {
	files := 0
	for i := range a.entries {
		if !a.entries[i].Dir {
			files++
		}
	}
	if files == 0 {
		return ""
	}
	return fmt.Sprintf("%d files and %d folders, %s, are unpacked into enclave memory at the start", files, len(a.entries)-files, megabytes(a.size))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
