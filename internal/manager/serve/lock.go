package serve

import (
	"fmt"
	"os"
	"path/filepath"
)

const lockFile = "manager.lock"

// lockDir makes sure that one process at a time serves a data folder or restores
// into it. The lock ends with the process, whatever happens to it.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("the data folder %s is in use by a manager that runs; stop that one first, or name another --data-dir", dir)
	}
	return f.Close, nil
}
