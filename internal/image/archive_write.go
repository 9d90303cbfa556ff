package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func writeArchive(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	if info, err := os.Stat(ref.path); err == nil && !info.Mode().IsRegular() {
		return Result{}, failf(ErrStorage, "%s is there and no regular file", ref.path)
	}
	t := archiveWriter{ctx: ctx, name: ref.tag, from: o.MountFrom, progress: newProgress(o.Progress)}
	err := atomicFile(ref.path, func(w io.Writer) error { return t.write(w, img) })
	return t.result, err
}

// archiveWriter writes an image as current Docker Engines do: an OCI layout with
// the manifest.json of docker save beside it, so that every engine loads it and
// the image's own manifest is kept. The same image from the same kind of source
// gives the same bytes.
type archiveWriter struct {
	ctx      context.Context
	name     string // NAME:TAG as docker shows it, or empty
	from     *Source
	progress *progress
	// skip lists layers whose bytes are left out: an engine that has them does not
	// look for them.
	skip map[v1.Hash]bool
	// noZstd decompresses zstd layers, for engines that cannot; the OCI manifest
	// beside them then names blobs that are not there, which those do not read.
	noZstd bool
	result Result
}

func (a *archiveWriter) write(w io.Writer, img v1.Image) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	layers, _, err := cheapestOrder(img, a.from)
	if err != nil {
		return err
	}
	files, err := a.layerFiles(layers)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := a.documents(tw, img, m, raw, config, files); err != nil {
		return err
	}
	a.result.Uploaded.add(int64(len(config)))
	seen := map[v1.Hash]bool{}
	for _, l := range layers {
		h, err := l.Digest()
		if err != nil {
			return err
		}
		size, err := l.Size()
		if err != nil {
			return err
		}
		if seen[h] {
			continue
		}
		seen[h] = true
		if a.skip[h] {
			a.result.Mounted.add(size)
			continue
		}
		if err := a.layer(tw, files[h]); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
		a.result.Uploaded.add(size)
	}
	return tw.Close()
}

func (a *archiveWriter) documents(tw *tar.Writer, img v1.Image, m *v1.Manifest, raw, config []byte, files map[v1.Hash]layerFile) error {
	mt, err := img.MediaType()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	entry := v1.Descriptor{MediaType: mt, Size: int64(len(raw)), Digest: digest}
	item := archiveItem{Config: archiveBlob(m.Config.Digest), RepoTags: []string{}, Layers: []string{}}
	if a.name != "" {
		item.RepoTags = []string{a.name}
		entry.Annotations = map[string]string{
			containerdNameKey: fullName(a.name),
			refNameKey:        a.name[strings.LastIndexByte(a.name, ':')+1:],
		}
	}
	for _, l := range m.Layers {
		item.Layers = append(item.Layers, archiveBlob(files[l.Digest].digest))
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{entry}})
	if err != nil {
		return err
	}
	items, err := json.Marshal([]archiveItem{item})
	if err != nil {
		return err
	}
	for _, dir := range []string{blobsDir + "/", blobsDir + "/sha256/"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name string
		body []byte
	}{
		{layoutFile, []byte(layoutVersion)},
		{indexFile, index},
		{manifestFile, items},
		{archiveBlob(digest), raw},
		{archiveBlob(m.Config.Digest), config},
	} {
		if err := tw.WriteHeader(fileHeader(f.name, int64(len(f.body)))); err != nil {
			return err
		}
		if _, err := tw.Write(f.body); err != nil {
			return err
		}
	}
	return nil
}

// layerFile is how a layer lies in the archive.
type layerFile struct {
	digest v1.Hash
	size   int64
	open   func() (io.ReadCloser, error)
}

func (a *archiveWriter) layerFiles(layers []v1.Layer) (map[v1.Hash]layerFile, error) {
	files := map[v1.Hash]layerFile{}
	for _, l := range layers {
		h, err := l.Digest()
		if err != nil {
			return nil, err
		}
		size, err := l.Size()
		if err != nil {
			return nil, err
		}
		files[h] = layerFile{digest: h, size: size, open: l.Compressed}
		if !a.noZstd || a.skip[h] {
			continue
		}
		mt, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		if mt == types.OCILayerZStd || mt == dockerZstdLayer {
			if files[h], err = a.plainFile(l); err != nil {
				return nil, fmt.Errorf("layer: %w", err)
			}
		}
	}
	return files, nil
}

// plainFile reads a layer once for its uncompressed size, which a tar gives first.
func (a *archiveWriter) plainFile(l v1.Layer) (layerFile, error) {
	diffID, err := l.DiffID()
	if err != nil {
		return layerFile{}, err
	}
	rc, err := l.Uncompressed()
	if err != nil {
		return layerFile{}, err
	}
	defer rc.Close()
	size, err := io.Copy(io.Discard, &contextReader{ctx: a.ctx, r: rc})
	return layerFile{digest: diffID, size: size, open: l.Uncompressed}, err
}

func (a *archiveWriter) layer(tw *tar.Writer, f layerFile) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	rc, err := f.open()
	if err != nil {
		return err
	}
	defer rc.Close()
	v, err := newVerifier(rc, f.digest, f.size)
	if err != nil {
		return err
	}
	v.count = a.progress.counter(Push, "layer", f.digest.String(), f.size)
	if err := tw.WriteHeader(fileHeader(archiveBlob(f.digest), f.size)); err != nil {
		return err
	}
	_, err = io.Copy(tw, &contextReader{ctx: a.ctx, r: v})
	return err
}

// fileHeader needs more than USTAR's 8 GiB for large layers only.
func fileHeader(name string, size int64) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatUSTAR}
	if size >= 1<<33 {
		h.Format = tar.FormatPAX
	}
	return h
}

func archiveBlob(h v1.Hash) string { return blobsDir + "/" + h.Algorithm + "/" + h.Hex }

// fullName is NAME:TAG with the host that docker leaves out.
func fullName(s string) string {
	t, err := name.NewTag(s, name.WeakValidation)
	if err != nil {
		return s
	}
	host := t.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	return host + "/" + t.Context().RepositoryStr() + ":" + t.TagStr()
}
