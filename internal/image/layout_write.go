package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func writeLayout(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	var res Result
	err := inLayout(ctx, ref.path, func(w *layoutWriter) error {
		if o.MountFrom != nil && o.MountFrom.ref.kind == KindLayout {
			w.linkFrom = o.MountFrom.ref.path
		}
		w.progress = newProgress(o.Progress)
		w.from = o.MountFrom
		d, err := w.image(img)
		if err != nil {
			return err
		}
		if ref.tag != "" {
			d.Annotations = map[string]string{refNameKey: ref.tag}
		}
		res = w.result
		return w.index(func(entries []v1.Descriptor) []v1.Descriptor {
			entries = slices.DeleteFunc(entries, func(e v1.Descriptor) bool {
				if ref.tag != "" && e.Annotations[refNameKey] == ref.tag {
					return true
				}
				return e.Digest == d.Digest && e.Annotations[refNameKey] == ref.tag
			})
			return append(entries, d)
		})
	})
	return res, err
}

// layoutWriter adds to a layout folder and can take everything back.
type layoutWriter struct {
	ctx      context.Context
	dir      string
	made     []string // files and folders made here, oldest first
	linkFrom string
	from     *Source
	progress *progress
	result   Result
}

// inLayout runs write on the locked layout at dir, which it makes if need be,
// and removes what write left when it fails.
func inLayout(ctx context.Context, dir string, write func(*layoutWriter) error) (err error) {
	w := &layoutWriter{ctx: ctx, dir: dir}
	defer func() {
		if err != nil {
			w.undo()
		}
	}()
	if err := w.mkdir(dir); err != nil {
		return err
	}
	unlock, err := lockDir(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := w.checkTarget(); err != nil {
		return err
	}
	return write(w)
}

// checkTarget refuses a folder that holds something else than a layout.
func (w *layoutWriter) checkTarget() error {
	b, err := os.ReadFile(filepath.Join(w.dir, layoutFile))
	if err == nil {
		var v struct {
			Version string `json:"imageLayoutVersion"`
		}
		if err := json.Unmarshal(b, &v); err != nil || v.Version != "1.0.0" {
			return failf(ErrInvalid, "%s says %.60q, wanted layout version 1.0.0", layoutFile, b)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return failf(ErrStorage, "folder %s is not empty and no OCI layout; choose another", w.dir)
	}
	return w.put(layoutFile, []byte(layoutVersion))
}

// mkdir makes dir with its parents and remembers those that were not there.
func (w *layoutWriter) mkdir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return failf(ErrStorage, "%s is a file, wanted a folder", dir)
		}
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := w.mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	w.made = append(w.made, dir)
	return nil
}

func (w *layoutWriter) undo() {
	for _, path := range slices.Backward(w.made) {
		os.Remove(path) // a folder that others use by now stays
	}
}

// put writes a small file in one step.
func (w *layoutWriter) put(name string, b []byte) error {
	path := filepath.Join(w.dir, name)
	_, err := os.Lstat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := atomicFile(path, func(f io.Writer) error { _, err := f.Write(b); return err }); err != nil {
		return err
	}
	if fresh {
		w.made = append(w.made, path)
	}
	return nil
}

// image copies the image's blobs and returns the descriptor of its manifest.
func (w *layoutWriter) image(img v1.Image) (v1.Descriptor, error) {
	layers, _, err := cheapestOrder(img, w.from)
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, l := range layers {
		h, err := l.Digest()
		if err != nil {
			return v1.Descriptor{}, err
		}
		size, err := l.Size()
		if err != nil {
			return v1.Descriptor{}, err
		}
		if err := w.blob("layer", h, size, l.Compressed); err != nil {
			return v1.Descriptor{}, err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	m, err := img.Manifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := w.blob("configuration", m.Config.Digest, int64(len(config)), bytesOpener(config)); err != nil {
		return v1.Descriptor{}, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	mt, err := img.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	kept := w.result
	if err := w.blob("manifest", digest, int64(len(raw)), bytesOpener(raw)); err != nil {
		return v1.Descriptor{}, err
	}
	w.result = kept // the manifest is not counted
	d := v1.Descriptor{MediaType: mt, Size: int64(len(raw)), Digest: digest}
	var info configInfo
	if m.Config.MediaType.IsConfig() && json.Unmarshal(config, &info) == nil && info.OS != "" {
		d.Platform = &v1.Platform{OS: info.OS, Architecture: info.Architecture, Variant: info.Variant}
	} else {
		d.ArtifactType = m.ArtifactType
	}
	return d, nil
}

// blob stores one blob under its digest, verified. A blob that is there with the
// right size is kept; one of another layout on the same file system is linked
// after it was verified.
func (w *layoutWriter) blob(what string, h v1.Hash, size int64, open func() (io.ReadCloser, error)) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	path := blobPath(w.dir, h)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == size {
		w.result.Existing.add(size)
		return nil
	}
	if err := w.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	if w.linkFrom != "" && w.link(h, size, path) {
		w.made = append(w.made, path)
		w.result.Mounted.add(size)
		return nil
	}
	rc, err := open()
	if err != nil {
		return err
	}
	defer rc.Close()
	v, err := newVerifier(rc, h, size)
	if err != nil {
		return err
	}
	v.count = w.progress.counter(Push, what, h.String(), size)
	err = atomicFile(path, func(f io.Writer) error {
		_, err := io.Copy(f, &contextReader{ctx: w.ctx, r: v})
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	w.made = append(w.made, path)
	w.result.Uploaded.add(size)
	return nil
}

func (w *layoutWriter) link(h v1.Hash, size int64, path string) bool {
	rc, err := openLayoutBlob(w.linkFrom, v1.Descriptor{Digest: h})
	if err != nil {
		return false
	}
	defer rc.Close()
	v, err := newVerifier(rc, h, size)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, &contextReader{ctx: w.ctx, r: v}); err != nil {
		return false // read again the usual way, which then tells the error
	}
	return os.Link(blobPath(w.linkFrom, h), path) == nil
}

// index rewrites index.json in one step; it is what makes the blobs an image.
func (w *layoutWriter) index(change func([]v1.Descriptor) []v1.Descriptor) error {
	index := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if _, err := os.Stat(filepath.Join(w.dir, indexFile)); err == nil {
		if index, err = readLayoutIndex(w.dir); err != nil {
			return err
		}
	}
	index.Manifests = change(index.Manifests)
	b, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	return w.put(indexFile, b)
}
