package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Source is where a master key comes from: File or Command. A bare environment
// variable is not offered, because the checkpoint lies beside the key (ruling 22).
type Source interface {
	load(ctx context.Context, random io.Reader) ([Size]byte, error)
}

// textPrefix begins a master key's text; 64 lower-case hexadecimal digits and a line end follow.
const textPrefix = "hitoku-master-key-1:"

const textSize = len(textPrefix) + 2*Size

// File is a master key in a file of mode 0600 or stricter.
type File struct {
	Path string
	// Create makes a new key when the file is not there. It is for the first start only:
	// a new key opens nothing that an older one sealed.
	Create bool
	// Apart is the folder of the database. The key is refused in that same folder, where one
	// careless copy would take both.
	Apart string
}

func (f File) load(_ context.Context, random io.Reader) ([Size]byte, error) {
	if err := f.checkApart(); err != nil {
		return [Size]byte{}, err
	}
	file, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) && f.Create {
		return f.create(random)
	}
	if err != nil {
		return [Size]byte{}, fmt.Errorf("%w; restore the file from its backup", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return [Size]byte{}, err
	}
	if !info.Mode().IsRegular() {
		return [Size]byte{}, fmt.Errorf("%s: wanted a regular file, seen %s", f.Path, info.Mode().Type())
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return [Size]byte{}, fmt.Errorf("%s: wanted mode 0600 or stricter, seen %04o; run chmod 600 on it after asking who may have read it", f.Path, perm)
	}
	text, err := io.ReadAll(io.LimitReader(file, int64(textSize)+2))
	if err != nil {
		return [Size]byte{}, err
	}
	key, err := parseText(text)
	if err != nil {
		return key, fmt.Errorf("%s: %w; restore the file from its backup", f.Path, err)
	}
	return key, nil
}

func (f File) create(random io.Reader) (key [Size]byte, err error) {
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return key, fmt.Errorf("random source: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return key, err
	}
	file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return key, err
	}
	_, err = io.WriteString(file, textPrefix+hex.EncodeToString(key[:])+"\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		os.Remove(f.Path)
		return key, err
	}
	return key, nil
}

func (f File) checkApart() error {
	if f.Apart == "" {
		return nil
	}
	here, err := os.Stat(filepath.Dir(f.Path))
	if err != nil {
		return nil // made on first use, so it is no folder that holds a database
	}
	there, err := os.Stat(f.Apart)
	if err == nil && os.SameFile(here, there) {
		return fmt.Errorf("%s: lies in the database's folder; wanted a folder of its own, so that a copy of the database has no key", f.Path)
	}
	return nil
}

// Command runs a program that prints the master key, for example one that asks
// a hardware module or a key management service.
type Command struct {
	Argv []string
}

func (c Command) load(ctx context.Context, _ io.Reader) ([Size]byte, error) {
	if len(c.Argv) == 0 {
		return [Size]byte{}, errors.New("command is empty")
	}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	var out, errOut limited
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return [Size]byte{}, fmt.Errorf("command %s: %w: %s", c.Argv[0], err, strings.TrimSpace(string(errOut.kept)))
	}
	key, err := parseText(out.kept)
	if err != nil {
		return key, fmt.Errorf("command %s: output: %w", c.Argv[0], err)
	}
	return key, nil
}

// limited keeps the first 512 bytes of a program's output and drops the rest.
type limited struct{ kept []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p[:min(512-len(l.kept), len(p))]...)
	return len(p), nil
}

// parseText reads a key's text, with or without one line end. Its errors never show the text.
func parseText(text []byte) (key [Size]byte, err error) {
	body, ok := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), textPrefix)
	if !ok {
		return key, fmt.Errorf("wanted %q and %d hexadecimal digits, seen another beginning", textPrefix, 2*Size)
	}
	raw, err := hex.DecodeString(body)
	if err != nil || len(raw) != Size || hex.EncodeToString(raw) != body {
		return key, fmt.Errorf("wanted %d lower-case hexadecimal digits after %q, seen %d characters that are not", 2*Size, textPrefix, len(body))
	}
	key = [Size]byte(raw)
	if key == [Size]byte{} {
		return key, errors.New("the key is all zero")
	}
	return key, nil
}
