package gramine

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// cached is a Runtime as it is kept in a folder, by the digest of the image that it came from:
// an image is read once. The folder is trusted as the user's own files are; a hash in front
// finds damage.
type cached struct {
	Version                    string
	Common, Glibc, Musl, Hosts []File
}

const cacheForm = "2" // changes with what is kept of an image

func cacheFile(dir, source string) string {
	sum := sha256.Sum256([]byte(cacheForm + "\n" + source))
	return filepath.Join(dir, "gramine-"+hex.EncodeToString(sum[:]))
}

// load returns what was kept of an image; nil for nothing.
func load(dir, source string) *Runtime {
	f, err := os.Open(cacheFile(dir, source))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKept))
	if err != nil || len(b) < sha256.Size || sha256.Sum256(b[sha256.Size:]) != [32]byte(b[:sha256.Size]) {
		return nil
	}
	var c cached
	if err := gob.NewDecoder(bytes.NewReader(b[sha256.Size:])).Decode(&c); err != nil {
		return nil
	}
	r := &Runtime{Version: c.Version, common: c.Common, libc: map[LibC][]File{Glibc: c.Glibc, Musl: c.Musl}, host: c.Hosts}
	r.Digest = r.digest()
	return r
}

// keep stores a Runtime in one step.
func (r *Runtime) keep(dir, source string) error {
	var b bytes.Buffer
	b.Write(make([]byte, sha256.Size))
	if err := gob.NewEncoder(&b).Encode(cached{r.Version, r.common, r.libc[Glibc], r.libc[Musl], r.host}); err != nil {
		return err
	}
	sum := sha256.Sum256(b.Bytes()[sha256.Size:])
	copy(b.Bytes(), sum[:])
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("cache of Gramine's files: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cache of Gramine's files: %w", err)
	}
	if err := os.Rename(f.Name(), cacheFile(dir, source)); err != nil {
		return fmt.Errorf("cache of Gramine's files: %w", err)
	}
	return nil
}
