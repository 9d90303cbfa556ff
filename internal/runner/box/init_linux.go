package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initFailure is what stage "init" reports when the program could not be executed.
type initFailure struct {
	Error string `json:"error"`
	Code  int    `json:"code,omitempty"`
}

// Codes of an initFailure beside 126 and 127.
const codeOverlay = 1

type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// helperInit is stage "init": it builds the container around itself, gives up
// what the program must not have, and becomes the program.
func helperInit() error {
	unix.CloseOnExec(fdConfig)
	unix.CloseOnExec(fdControl)
	failed := os.NewFile(fdControl, "failures")
	err := becomeProgram()
	f := initFailure{Error: err.Error()}
	var coded *codedError
	if errors.As(err, &coded) {
		f.Code = coded.code
	}
	raw, _ := json.Marshal(f) // of strings and numbers: cannot fail
	failed.Write(raw)         // its reader died only together with us
	return &exitError{1}
}

func becomeProgram() error {
	config := os.NewFile(fdConfig, "configuration")
	raw, err := io.ReadAll(io.NewSectionReader(config, 0, maxSpec))
	if err != nil {
		return err
	}
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("container configuration: %w", err)
	}
	if err := enterRoot(&s); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("host name of the container: %w", err)
	}
	// The caller's session keyring may hold secrets. Where keyrings are missing there is nothing to leave.
	_, _ = unix.KeyctlJoinSessionKeyring("")
	for _, dir := range append(s.Folders, s.WorkDir) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("folder of the image: %w", err)
		}
	}
	who, err := lookUpUser(s.User, readPasswd)
	if err != nil {
		return err
	}
	env := s.Env
	if !hasEnv(env, "HOME") {
		env = append(env, "HOME="+who.home)
	}
	if err := dropPrivileges(who, s.UserNS); err != nil {
		return err
	}
	if err := os.Chdir(s.WorkDir); err != nil {
		return fmt.Errorf("working folder: %w", err)
	}
	path, err := lookPath(s.Args[0], env)
	if err != nil {
		return err
	}
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("closing files: %w", err)
	}
	err = unix.Exec(path, s.Args, env)
	code := 126
	if errors.Is(err, syscall.ENOENT) {
		code = 127
	}
	return &codedError{code, fmt.Errorf("%s: %w", path, explainExec(err))}
}

func explainExec(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%w (the program, or the interpreter that it names)", err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w (not a program for this machine; a script needs #! in its first line)", err)
	}
	return err
}

func hasEnv(env []string, name string) bool {
	for _, e := range env {
		if strings.HasPrefix(e, name+"=") {
			return true
		}
	}
	return false
}

func getEnv(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// lookPath finds a program as execvp(3) does, in the container's PATH.
func lookPath(file string, env []string) (string, error) {
	if strings.Contains(file, "/") {
		return file, nil
	}
	for _, dir := range filepath.SplitList(getEnv(env, "PATH")) {
		if dir == "" {
			dir = "."
		}
		path := filepath.Join(dir, file)
		if fi, err := os.Stat(path); err == nil && !fi.IsDir() && fi.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &codedError{127, fmt.Errorf("%s: no such program in the image's PATH", file)}
}
