package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// FS is one folder of files. Names have no slashes. Package disktest has one that fails and crashes.
type FS interface {
	// Create makes an empty file of mode 0600, in place of one that is there.
	Create(name string) (File, error)
	// Open opens a regular file for reading; it refuses one that others may read.
	Open(name string) (File, error)
	// Rename puts a file in the place of another at once.
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names of all files.
	List() ([]string, error)
	// SyncFolder makes creations, renames and removals durable.
	SyncFolder() error
	// Lock keeps other processes out until the result is closed; it returns ErrLocked.
	Lock() (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written durable.
	Sync() error
	// Size is the file's length in bytes.
	Size() (int64, error)
}

const lockName = "lock"

type folder struct{ root *os.Root }

// Folder is the folder of the file system at path, which must be there and be open to this user alone
// (mode 0700). Errors are [ErrFolder] and [ErrPermission].
func Folder(path string) (FS, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir():
		return nil, fmt.Errorf("%s: %w", path, ErrFolder)
	case err != nil:
		return nil, failed("open", path, err)
	}
	if err := onlyMine(path, info); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, failed("open", path, err)
	}
	return &folder{root}, nil
}

func onlyMine(name string, info fs.FileInfo) error {
	if mode := permissions(info); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: %w", name, mode, ErrPermission)
	}
	return nil
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *folder) Create(name string) (File, error) {
	file, err := f.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

func (f *folder) Open(name string) (File, error) {
	info, err := f.root.Lstat(name) // a pipe would block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: %w", name, ErrPermission)
	}
	if err := onlyMine(name, info); err != nil {
		return nil, err
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

func (f *folder) Rename(from, to string) error { return f.root.Rename(from, to) }
func (f *folder) Remove(name string) error     { return f.root.Remove(name) }

func (f *folder) List() ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	return names, errors.Join(err, dir.Close())
}

func (f *folder) Lock() (io.Closer, error) {
	file, err := f.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
