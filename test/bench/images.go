package main

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/registry"
)

// layerSize is the uncompressed size of one layer, as large images have a few of them.
const layerSize = 256 << 20

// serveRegistry serves a registry on loopback until stop is called.
func (b *bench) serveRegistry(ctx context.Context, name string) (addr string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = registry.Serve(ctx, ln, filepath.Join(b.dir, name)) }()
	return ln.Addr().String(), func() { cancel(); <-done }, nil
}

// makeImage puts an image of about size uncompressed bytes into the registry: files of
// 4 to 200 KB that compress to about half, in layers of 256 MB.
func (b *bench) makeImage(ctx context.Context, ref string, size int64) error {
	var layers []v1.Layer
	for left, n := size, 0; left > 0; n++ {
		take := min(left, layerSize)
		left -= take
		file := filepath.Join(b.dir, fmt.Sprintf("layer-%d-%d.tar.gz", size, n))
		if err := writeLayer(file, take, uint64(size)+uint64(n)); err != nil {
			return err
		}
		defer os.Remove(file)
		layer, err := tarball.LayerFromFile(file, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return err
		}
		layers = append(layers, layer)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		return err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	cfg.Config.Entrypoint = []string{"/data/0-0"}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return err
	}
	r, err := image.Parse(ref)
	if err != nil {
		return err
	}
	_, err = image.Write(ctx, r, img, image.WriteOptions{})
	return err
}

func writeLayer(file string, size int64, seed uint64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := bufio.NewWriterSize(f, 1<<20)
	zw, err := gzip.NewWriterLevel(buf, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	rng := rand.New(rand.NewPCG(seed, 1))
	body := make([]byte, 200<<10)
	for n := 0; size > 0; n++ {
		length := min(int64(4<<10+rng.IntN(196<<10)), size)
		size -= length
		// Half noise, half text-like repetition: compresses to about half, as programs do.
		for i := int64(0); i < length; i += 8 {
			word := rng.Uint64()
			if i%4096 >= 2048 {
				word = 0x2020656874206e69 + word%16
			}
			for j := int64(0); j < 8 && i+j < length; j++ {
				body[i+j] = byte(word >> (8 * j))
			}
		}
		h := &tar.Header{Name: fmt.Sprintf("data/%d-%d", seed%1000, n), Mode: 0o755, Size: length, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(body[:length]); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// readHash reads each layer of ref once, decompresses it with the converter's library
// and hashes the result: what no converter can do without.
func readHash(ctx context.Context, ref string) (time.Duration, error) {
	begin := time.Now()
	src, err := open(ctx, ref)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	layers, err := src.Image().Layers()
	if err != nil {
		return 0, err
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return 0, err
		}
		zr, err := gzip.NewReader(bufio.NewReaderSize(rc, 1<<20))
		if err != nil {
			return 0, err
		}
		if _, err := io.Copy(sha256.New(), zr); err != nil {
			return 0, err
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			return 0, err
		}
		if err := rc.Close(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// pullPush copies ref to another registry, which has none of its layers.
func pullPush(ctx context.Context, ref, to string) (time.Duration, error) {
	begin := time.Now()
	src, err := open(ctx, ref)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := image.Parse(to)
	if err != nil {
		return 0, err
	}
	if _, err := image.Write(ctx, dst, src.Image(), image.WriteOptions{}); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}

func open(ctx context.Context, ref string) (*image.Source, error) {
	r, err := image.Parse(ref)
	if err != nil {
		return nil, err
	}
	return image.Open(ctx, r, image.Options{})
}
