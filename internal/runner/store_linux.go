package runner

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/runner/box"
	"hitoku.dev/internal/runner/rootfs"
)

// store is the built-in runner's folder: unpacked images under images/, each with
// a lock beside it that its containers share, and running containers under runs/,
// each with a lock that it alone holds. What a killed runner left is removed by
// the next.
type store struct {
	dir   string
	users *box.Users
	logf  func(string, ...any)
}

const (
	keptImages = 5
	reportFile = "report.json"
)

func openStore(dir string, users *box.Users, logf func(string, ...any)) (*store, error) {
	for _, d := range []string{dir, filepath.Join(dir, "images"), filepath.Join(dir, "runs")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("run: %w", err)
		}
	}
	s := &store{dir: dir, users: users, logf: logf}
	s.sweep()
	return s, nil
}

// lockFile opens a lock file and locks it; nil when another holds it and wait is not set.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	err = unix.Flock(int(f.Fd()), how)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), how)
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("run: lock %s: %w", path, err)
}

// sweep removes containers whose runner is gone, and images that nobody used lately.
func (s *store) sweep() {
	locks, _ := filepath.Glob(filepath.Join(s.dir, "runs", "*.lock"))
	for _, lock := range locks {
		f, err := lockFile(lock, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil || f == nil {
			continue
		}
		if err := box.Remove(s.users, strings.TrimSuffix(lock, ".lock")); err != nil {
			s.logf("left over from an earlier run: %v", err)
		} else {
			os.Remove(lock)
		}
		f.Close()
	}
}

// prune removes the unpacked images beyond those used last.
func (s *store) prune() {
	entries, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return
	}
	type used struct {
		name string
		at   time.Time
	}
	var images []used
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && e.IsDir() && !strings.HasSuffix(e.Name(), ".part") {
			images = append(images, used{e.Name(), fi.ModTime()})
		}
	}
	slices.SortFunc(images, func(a, b used) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.name, b.name)) })
	for i, img := range images {
		if i < keptImages {
			continue
		}
		dir := filepath.Join(s.dir, "images", img.name)
		if f, err := lockFile(dir+".lock", unix.LOCK_EX|unix.LOCK_NB); err == nil && f != nil {
			if err := box.Remove(s.users, dir); err != nil {
				s.logf("old image: %v", err)
			}
			f.Close() // the lock file stays: another runner may be waiting for it
		}
	}
}

// unpacked is an image in the store, held against removal.
type unpacked struct {
	rootfs string
	lock   *os.File
}

func (u *unpacked) release() error { return u.lock.Close() }

// image returns the unpacked root file system of an image.
func (s *store) image(ctx context.Context, src *image.Source) (*unpacked, error) {
	name := src.Digest().Hex
	if _, single := s.users.Single(); single {
		name += "-single"
	}
	dir := filepath.Join(s.dir, "images", name)
	lock, err := lockFile(dir+".lock", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	if err := s.ensure(ctx, src, dir); err != nil {
		lock.Close()
		return nil, err
	}
	now := time.Now()
	err = os.Chtimes(dir, now, now)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("run: %w", err)
	}
	s.prune()
	s.warn(dir)
	return &unpacked{filepath.Join(dir, "rootfs"), lock}, nil
}

// ensure unpacks an image unless it is there already. It is moved into place when
// it is complete.
func (s *store) ensure(ctx context.Context, src *image.Source, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	part := dir + ".part"
	if err := box.Remove(s.users, part); err != nil {
		return err
	}
	fail := func(err error) error { return errors.Join(err, box.Remove(s.users, part)) }
	if err := os.Mkdir(part, 0o700); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	report, err := s.unpack(ctx, src, filepath.Join(part, "rootfs"))
	if err != nil {
		return fail(err)
	}
	raw, err := json.Marshal(report)
	if err != nil {
		return fail(err)
	}
	if err := os.WriteFile(filepath.Join(part, reportFile), raw, 0o600); err != nil {
		return fail(err)
	}
	if err := os.Rename(part, dir); err != nil {
		return fail(err)
	}
	return nil
}

// unpack applies an image's layers to a new folder. Each is compared with the
// digest in the configuration.
func (s *store) unpack(ctx context.Context, src *image.Source, dir string) (*rootfs.Report, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	layers, err := src.Image().Layers()
	if err != nil {
		return nil, err
	}
	total := new(rootfs.Report)
	for i, layer := range layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		want, err := layer.DiffID()
		if err != nil {
			return nil, err
		}
		s.logf("unpacking layer %d of %d", i+1, len(layers))
		r, err := layer.Uncompressed()
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		report, err := box.Unpack(s.users, dir, io.TeeReader(r, h))
		err = errors.Join(err, r.Close())
		if err != nil {
			return nil, fmt.Errorf("image %s: layer %d: %w", src.Ref(), i+1, err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex {
			return nil, fmt.Errorf("image %s: layer %d: its content has digest sha256:%s, the configuration says %s", src.Ref(), i+1, got, want)
		}
		if total.Owner == "" {
			total.Owner, total.OwnerUID, total.OwnerGID = report.Owner, report.OwnerUID, report.OwnerGID
		}
		total.Skipped += report.Skipped
	}
	return total, nil
}

// warn repeats what could not be unpacked as the image has it.
func (s *store) warn(dir string) {
	raw, err := os.ReadFile(filepath.Join(dir, reportFile))
	var r rootfs.Report
	if err != nil || json.Unmarshal(raw, &r) != nil || r.Owner == "" {
		return
	}
	hint, _ := s.users.Single()
	s.logf("/%s belongs to user %d and group %d, which do not exist in this container: only user 0 does. The guest of a converted image refuses that; %s", r.Owner, r.OwnerUID, r.OwnerGID, hint)
}

// run is the folder of one container.
type run struct {
	dir   string
	lock  *os.File
	users *box.Users
}

func (s *store) run() (*run, error) {
	var raw [8]byte
	rand.Read(raw[:]) // never fails (crypto/rand)
	dir := filepath.Join(s.dir, "runs", hex.EncodeToString(raw[:]))
	lock, err := lockFile(dir+".lock", unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, fmt.Errorf("run: %s was taken by another runner; try again", dir)
	}
	for _, d := range []string{dir, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "merged")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			lock.Close()
			return nil, fmt.Errorf("run: %w", err)
		}
	}
	return &run{dir, lock, s.users}, nil
}

func (r *run) remove() error {
	err := box.Remove(r.users, r.dir)
	if err == nil {
		err = os.Remove(r.dir + ".lock")
	}
	return errors.Join(err, r.lock.Close())
}
