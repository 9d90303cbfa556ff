package convert

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	maxCacheSize = 1 << 30 // bytes of all indexes together
	maxIndexSize = 512 << 20
	indexSuffix  = ".index"
)

// cache keeps layer indexes by layer digest in a folder. It only saves time: an
// entry that is missing, damaged or of another version is made again.
type cache struct{ dir string }

// openCache makes the folder if need be and refuses one that others may write,
// since who writes it decides what is measured.
func openCache(dir string) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fail(KindCache, "layer cache: %w", err).advise("give another folder with --cache DIR, or --no-cache")
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fail(KindCache, "layer cache: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fail(KindCache, "layer cache %s: mode %04o lets others write it, and so choose what is measured", dir, info.Mode().Perm()).
			advise("run chmod go-w on it, or give another folder with --cache DIR, or --no-cache")
	}
	return &cache{dir}, nil
}

func (c *cache) file(digest v1.Hash) string {
	return filepath.Join(c.dir, digest.Algorithm+"-"+digest.Hex+indexSuffix)
}

// load returns the index of a layer, or nil.
func (c *cache) load(digest, diffID v1.Hash) *layerIndex {
	f, err := os.Open(c.file(digest))
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxIndexSize {
		return nil
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil
	}
	x, err := parseIndex(data)
	if err != nil || x.diffID != diffID {
		return nil
	}
	return x
}

// store writes an index under its name in one step.
func (c *cache) store(digest v1.Hash, x *layerIndex) error {
	f, err := os.CreateTemp(c.dir, ".new-*")
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(x.marshal())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	if err := os.Rename(f.Name(), c.file(digest)); err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	return c.prune(maxCacheSize)
}

// prune removes the oldest indexes beyond limit bytes.
func (c *cache) prune(limit int64) error {
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	var infos []fs.FileInfo
	var total int64
	for _, n := range names {
		if info, err := n.Info(); err == nil && info.Mode().IsRegular() && strings.HasSuffix(info.Name(), indexSuffix) {
			infos = append(infos, info)
			total += info.Size()
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos {
		if total <= limit {
			break
		}
		if err := os.Remove(filepath.Join(c.dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("layer cache: %w", err)
		}
		total -= info.Size()
	}
	return nil
}
