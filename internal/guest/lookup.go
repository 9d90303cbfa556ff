package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Exit codes that shells and engines use for a program that cannot be started.
const (
	exitCannotExecute = 126
	exitNotFound      = 127
)

// startError carries the exit code of a program that cannot be started.
type startError struct {
	code int
	err  error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// lookProgram finds the program as execvp(3) does: a name with a slash is a
// path relative to the working folder, others are looked for in PATH.
func lookProgram(name, workDir, searchPath string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(workDir, name)
		}
		if err := executable(name); err != nil {
			return "", notStarted(name, err)
		}
		return name, nil
	}
	var failed error = fs.ErrNotExist
	for _, folder := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(workDir, folder)
		}
		candidate := filepath.Join(folder, name)
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			failed = err
		}
	}
	return "", notStarted(name+" in PATH "+searchPath, failed)
}

func executable(name string) error {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return err
	case st.IsDir():
		return syscall.EISDIR
	case st.Mode()&0o111 == 0:
		return fs.ErrPermission
	}
	return nil
}

func notStarted(name string, err error) error {
	code := exitCannotExecute
	if errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	return &startError{code, fmt.Errorf("start %s: %w", name, err)}
}
