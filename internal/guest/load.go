package guest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// image is what conversion put into the image for the guest.
type image struct {
	root        string
	measurement [sha256.Size]byte
	sigstruct   []byte
	manifest    *workload.Manifest
}

const sigstructSize = 1808 // Intel SDM volume 3D, table 38-19

// load reads manifest and signature. The manifest's bytes are returned too;
// they are not kept, since a large image's manifest is megabytes.
func load(root string) (*image, []byte, error) {
	raw, err := readOwn(root, workload.ManifestPath, workload.MaxSize)
	if err != nil {
		return nil, nil, err
	}
	i := &image{root: root, measurement: workload.Measurement(raw)}
	if i.sigstruct, err = readOwn(root, workload.SigstructPath, sigstructSize); err != nil {
		return nil, nil, err
	}
	if len(i.sigstruct) != sigstructSize {
		return nil, nil, fmt.Errorf("%s has %d bytes, wanted %d: convert the image again", workload.SigstructPath, len(i.sigstruct), sigstructSize)
	}
	if i.manifest, err = workload.Decode(raw); err != nil {
		return nil, nil, fmt.Errorf("%s: %w; convert the image again", workload.ManifestPath, err)
	}
	if i.manifest.TEE != workload.TEESimulated {
		return nil, nil, fmt.Errorf("%s is for %q, wanted %q: the file has changed while this program started", workload.ManifestPath, i.manifest.TEE, workload.TEESimulated)
	}
	return i, raw, nil
}

// shrink lets go of the list of files: what stays in memory for the program's
// life is a copy of the rest. The strings of a manifest share one buffer.
func (i *image) shrink() error {
	rest := *i.manifest
	rest.Files = rest.Files[:1] // a manifest has at least the root folder
	raw, err := workload.Encode(&rest)
	if err != nil {
		return err
	}
	i.manifest, err = workload.Decode(raw)
	return err
}

// bytes reads the manifest again, for a TEE that has forgotten this process.
func (i *image) bytes() (manifest, sigstruct []byte, err error) {
	raw, err := readOwn(i.root, workload.ManifestPath, workload.MaxSize)
	if err != nil {
		return nil, nil, err
	}
	if sum := workload.Measurement(raw); sum != i.measurement {
		return nil, nil, fmt.Errorf("%s has changed since the start: measurement %x, now %x", workload.ManifestPath, i.measurement, sum)
	}
	return raw, i.sigstruct, nil
}

// readOwn reads one of the guest's files without following a link.
func readOwn(root, name string, limit int64) ([]byte, error) {
	fd, err := unix.Open(filepath.Join(root, name), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: this program is the entry point of images made by `hitoku convert`", name)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > limit {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", name, limit)
	}
	data := make([]byte, st.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
