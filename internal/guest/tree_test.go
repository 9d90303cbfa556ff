package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// manifestOf describes the tree at root as the converter would.
func manifestOf(t testing.TB, root string) *workload.Manifest {
	t.Helper()
	m := &workload.Manifest{
		CACertificates: []workload.CAFile{}, Certificates: []workload.Certificate{}, Fronts: []workload.Front{}, Folders: []workload.Folder{},
		Env:    workload.Env{Allowed: []string{}, Fixed: []string{}, Mutable: []string{}},
		Exec:   workload.Exec{Entry: []string{"/app"}, Args: []string{}, Groups: []uint32{}, WorkDir: "/"},
		Guest:  hex.EncodeToString(make([]byte, 32)),
		Schema: workload.Schema, Source: "linux/amd64", TEE: "sim",
	}
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := "/" + name[min(len(name), len(root)+1):]
		if rel == workload.Dir {
			return filepath.SkipDir
		}
		m.Files = append(m.Files, entryOf(t, name, rel, first))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sortFiles(m)
	return m
}

func entryOf(t testing.TB, name, rel string, first map[uint64]string) workload.File {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Fatal(err)
	}
	f := workload.File{UID: st.Uid, GID: st.Gid, Mode: st.Mode & 0o7777}
	f.SetName(rel)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Type = workload.TypeDir
	case unix.S_IFLNK:
		target, err := os.Readlink(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Type = workload.TypeSymlink
		f.SetTarget(target)
	case unix.S_IFREG:
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		f.Type, f.SHA256, f.Size = workload.TypeFile, hex.EncodeToString(sum[:]), int64(len(data))
		if first[st.Ino] != "" {
			f.Type = workload.TypeHardlink
			f.SetTarget(first[st.Ino])
		} else if st.Nlink > 1 {
			first[st.Ino] = rel
		}
	case unix.S_IFIFO:
		f.Type = workload.TypeFIFO
	case unix.S_IFCHR:
		f.Type, f.Rdev = workload.TypeChar, uint64(unix.Major(st.Rdev))<<32|uint64(unix.Minor(st.Rdev))
	default:
		t.Fatalf("%s: type %o", name, st.Mode&unix.S_IFMT)
	}
	return f
}
