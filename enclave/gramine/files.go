package gramine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Files are the pseudo files of the device, named relative to [Dir].
type Files interface {
	// Read returns a file's whole content as it is at the moment of opening. More than limit
	// bytes are an error.
	Read(name string, limit int) ([]byte, error)
	// Write hands data to a file that is there, in one call of write(2): Gramine takes each
	// call for the whole content.
	Write(name string, data []byte) error
}

// Folder is a device that is a folder of the file system; Folder(Dir) is Gramine's.
type Folder string

// Read implements [Files].
func (d Folder) Read(name string, limit int) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", f.Name(), limit)
	}
	return data, nil
}

// Write implements [Files].
func (d Folder) Write(name string, data []byte) error {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
