package agent

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDir makes sure that one agent uses a data folder at a time.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("agent: data folder %s is in use by another agent; stop that one or pass another --data-dir", dir)
	}
	return func() { f.Close() }, nil
}
