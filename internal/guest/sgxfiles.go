package guest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"hitoku.dev/internal/packed"
	"hitoku.dev/measure/workload"
)

// store writes key, certificate and chain. The manifest's own check has made sure
// that they lie in enclave memory or below an encrypted mount.
func (g *sgxGuest) store(c *workload.Certificate, got *issued) error {
	f, err := got.files()
	if err != nil {
		return err
	}
	for _, x := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{{c.KeyPath, f.key, 0o600}, {c.CertPath, f.cert, 0o644}, {c.ChainPath, f.chain, 0o644}} {
		if x.name == "" {
			continue
		}
		if err := g.write(x.name, x.data, x.mode); err != nil {
			return fmt.Errorf("write %s: %w", x.name, err)
		}
	}
	return nil
}

// write replaces a file in one step: an encrypted folder may hold one of an earlier start.
func (g *sgxGuest) write(name string, data []byte, mode fs.FileMode) error {
	full := filepath.Join(g.Root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	fresh := full + ".hitoku-new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(fresh, bytes.NewReader(data), mode, nil); err != nil {
		return err
	}
	return os.Rename(fresh, full)
}

// unpack copies the packed archive into enclave memory. Its size bounds what is
// written; each name must lie in a folder that the manifest says is in memory. The
// archive's hash is compared before anything is started.
func (g *sgxGuest) unpack(ctx context.Context) error {
	p := g.manifest.SGX.Packed
	if p == nil {
		return nil
	}
	begun := g.Clock.Now()
	f, err := os.Open(filepath.Join(g.Root, p.Path))
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != p.Size {
		return errors.Join(fmt.Errorf("%s: wanted %d bytes, as measured: convert the image again", p.Path, p.Size), err)
	}
	hash := sha256.New()
	n, err := g.unpackTo(ctx, packed.NewReader(bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, p.Size), hash), 256<<10)))
	if err != nil {
		return fmt.Errorf("%s: %w", p.Path, err)
	}
	if sum := fmt.Sprintf("%x", hash.Sum(nil)); sum != p.SHA256 {
		return fmt.Errorf("%s: SHA-256 %s, wanted %s as measured", p.Path, sum, p.SHA256)
	}
	g.Log.Printf("%d files and folders, %.1f MB unpacked into memory in %v", n, float64(p.Size)/1e6, g.Clock.Now().Sub(begun).Round(1e6))
	return nil
}

func (g *sgxGuest) unpackTo(ctx context.Context, r *packed.Reader) (n int, err error) {
	s := g.manifest.SGX
	for ; ; n++ {
		e, err := r.Next()
		if err == io.EOF {
			return n, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return n, err
		}
		name := path.Join(s.Packed.Root, e.Name)
		if !s.InMemory(name) {
			return n, fmt.Errorf("%s is in no folder of enclave memory (%s)", name, strings.Join(s.Memory, ", "))
		}
		full := filepath.Join(g.Root, name)
		if !e.Dir {
			err = writeNew(full, r, e.Mode, nil)
		} else if err = os.Mkdir(full, 0o700); err == nil || errors.Is(err, fs.ErrExist) && isFolder(full) {
			err = os.Chmod(full, e.Mode|0o700) // its owner still has files to put into it
		}
		if err != nil {
			return n, fmt.Errorf("unpack: %w", err)
		}
	}
}

func isFolder(name string) bool {
	st, err := os.Lstat(name)
	return err == nil && st.IsDir()
}

// replace finds the program as execvp(3) does and lets it take this process.
func (g *sgxGuest) replace(context.Context) error {
	p := g.program
	dir := filepath.Join(g.Root, p.Dir)
	if !isFolder(dir) {
		if !g.manifest.SGX.Protected(p.Dir) {
			return fmt.Errorf("working folder %s is not there: an image for SGX needs it as a folder of its own, or in memory (--rw %s)", p.Dir, p.Dir)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("working folder: %w", err)
		}
	}
	found, err := g.find(p.Args[0])
	if err != nil {
		return err
	}
	p.Path = found
	err = g.Replace(p)
	err = fmt.Errorf("start %s: %w%s", p.Path, err, startHint(p.Path, err))
	return &startError{exitCode(err), err}
}

func (g *sgxGuest) find(name string) (string, error) {
	inRoot := func(p string) string {
		if !filepath.IsAbs(p) {
			p = filepath.Join(g.program.Dir, p)
		}
		return filepath.Join(g.Root, p)
	}
	if strings.Contains(name, "/") {
		name = inRoot(name)
	}
	folders := filepath.SplitList(envMap(g.program.Env)["PATH"])
	for i, folder := range folders {
		folders[i] = inRoot(folder)
	}
	found, err := lookProgram(name, "/", strings.Join(folders, ":"))
	if err != nil {
		return "", err
	}
	seen, _ := below(g.Root, found)
	return seen, nil
}

// ReplaceProcess is the Replace of a real enclave: it sets the supplementary
// groups, changes to the working folder and calls execve(2). Both belong to this
// thread, which is the one that Gramine keeps.
func ReplaceProcess(p *Replacement) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if !groupsStay(p.Groups, uint32(os.Getgid())) {
		ids := make([]int, len(p.Groups))
		for i, id := range p.Groups {
			ids[i] = int(id)
		}
		if err := unix.Setgroups(ids); err != nil {
			return fmt.Errorf("supplementary groups %v: %w", p.Groups, err)
		}
	}
	if err := os.Chdir(p.Dir); err != nil {
		return fmt.Errorf("working folder: %w", err)
	}
	return syscall.Exec(p.Path, p.Args, p.Env)
}
