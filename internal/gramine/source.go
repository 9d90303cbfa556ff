package gramine

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image"
)

// Options say where Gramine's files come from.
type Options struct {
	// Ref is an image as image.Parse reads it, a tar file (plain, gzip or zstd), or a folder: a
	// root file system, or where a build was installed. "#sha256:…" at its end demands the
	// Runtime.Digest.
	Ref string
	// Version is taken where the files do not show theirs. It never contradicts them.
	Version string
	// Image says how to reach a registry.
	Image image.Options
	// CacheDir keeps what was taken of images; empty means none.
	CacheDir string
	// System is a root file system that gives the loader's libraries to a folder without any;
	// empty for none.
	System string
}

// maxExpanded bounds a tar archive, decompressed.
const maxExpanded = 64 << 30

// Open reads a source. The error names it.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	ref, pin, err := cutPin(o.Ref)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Ref, err)
	}
	r, err := open(ctx, ref, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	if pin != "" && pin != r.Digest {
		return nil, fmt.Errorf("%s: its files have the digest %s, wanted %s: it is another build of Gramine than the one that was named", ref, r.Digest, pin)
	}
	return r, nil
}

// cutPin divides a reference from the digest behind it.
func cutPin(ref string) (string, string, error) {
	at := strings.LastIndex(ref, "#")
	if at < 0 {
		return ref, "", nil
	}
	digest, ok := strings.CutPrefix(ref[at+1:], "sha256:")
	if b, err := hex.DecodeString(digest); !ok || err != nil || len(b) != sha256.Size || strings.ToLower(digest) != digest {
		return "", "", fmt.Errorf("%q, wanted #sha256: and 64 lower-case hexadecimal digits", ref[at:])
	}
	return ref[:at], ref[at+1:], nil
}

func open(ctx context.Context, ref string, o Options) (*Runtime, error) {
	info, err := os.Stat(ref)
	switch {
	case err == nil && info.IsDir():
		if _, err := os.Stat(filepath.Join(ref, "oci-layout")); err == nil {
			return nil, fmt.Errorf("it is an OCI layout: write oci:%s, with a tag behind it where it has several images", ref)
		}
		v, err := readFolder(ctx, ref, o.System)
		if err != nil {
			return nil, err
		}
		return v.recognise(o.Version)
	case err == nil:
		return openArchive(ctx, ref, o.Version)
	case strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, "."):
		return nil, err
	}
	return openImage(ctx, ref, o)
}

func openArchive(ctx context.Context, name, version string) (*Runtime, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v := newView()
	if err := v.readTar(ctx, f, io.Discard); err != nil {
		return nil, err
	}
	if v.saved {
		return nil, fmt.Errorf("it is an image that was saved: write docker-archive:%s", name)
	}
	return v.recognise(version)
}

func openImage(ctx context.Context, ref string, o Options) (*Runtime, error) {
	p, err := image.Parse(ref)
	if err != nil {
		return nil, err
	}
	src, err := image.Open(ctx, p, o.Image)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	key := src.Digest().String() + "\n" + o.Version
	if o.CacheDir != "" {
		if r := load(o.CacheDir, key); r != nil {
			return r, nil
		}
	}
	layers, err := src.Image().Layers()
	if err != nil {
		return nil, err
	}
	v := newView()
	for _, l := range layers {
		if err := v.readLayer(ctx, l); err != nil {
			return nil, err
		}
		v.layer++
	}
	r, err := v.recognise(o.Version)
	if err == nil && o.CacheDir != "" {
		err = r.keep(o.CacheDir, key)
	}
	return r, err
}

func (v *view) readLayer(ctx context.Context, l v1.Layer) error {
	diffID, err := l.DiffID()
	if err != nil {
		return err
	}
	stored, err := l.Compressed()
	if err != nil {
		return err
	}
	defer stored.Close()
	sum := sha256.New()
	if err := v.readTar(ctx, stored, sum); err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	if seen := hex.EncodeToString(sum.Sum(nil)); seen != diffID.Hex {
		return fmt.Errorf("layer %s: its content has SHA-256 %s: the image is damaged", diffID, seen)
	}
	return nil
}

// readTar reads one archive to its last byte; the decompressed bytes go to sum too.
func (v *view) readTar(ctx context.Context, stored io.Reader, sum io.Writer) error {
	in := bufio.NewReaderSize(stored, 256<<10)
	head, _ := in.Peek(4)
	plain, done, err := image.Decompress(head, in, 1)
	if err != nil {
		return err
	}
	defer done()
	limited := &io.LimitedReader{R: io.TeeReader(plain, sum), N: maxExpanded}
	if err := v.entries(ctx, tar.NewReader(limited)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return err
	}
	if limited.N <= 0 {
		return fmt.Errorf("more than %d bytes", int64(maxExpanded))
	}
	_, err = io.Copy(io.Discard, in) // a stored layer's own digest shows at its end
	return err
}

func (v *view) entries(ctx context.Context, r *tar.Reader) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if err := v.entry(h, r); err != nil {
			return fmt.Errorf("%.200q: %w", h.Name, err)
		}
	}
}

func (v *view) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	switch {
	case base == ".wh..wh..opq":
		return v.remove(dir, false, true)
	case strings.HasPrefix(base, ".wh..wh."):
		return nil
	case strings.HasPrefix(base, ".wh."):
		return v.remove(path.Join(dir, base[len(".wh."):]), true, true)
	}
	if n, ok := v.nodes[name]; h.Typeflag != tar.TypeDir || ok && n.link != "" && n.layer < v.layer {
		delete(v.nodes, name)
	}
	v.saved = v.saved || name == "/manifest.json" && h.Typeflag == tar.TypeReg
	switch h.Typeflag {
	case tar.TypeSymlink:
		return v.add(name, node{link: h.Linkname})
	case tar.TypeLink:
		if n, ok := v.nodes[path.Clean("/"+h.Linkname)]; ok {
			return v.add(name, n)
		}
		if wanted(name) {
			return fmt.Errorf("a hard link to %.200q, which was not kept", h.Linkname)
		}
	case tar.TypeReg, tar.TypeGNUSparse:
		if !wanted(name) {
			return nil
		}
		b, err := limitedRead(content, h.Size)
		if err != nil {
			return err
		}
		return v.add(name, node{data: b})
	}
	return nil
}

func limitedRead(r io.Reader, size int64) ([]byte, error) {
	if size > maxFile {
		return nil, fmt.Errorf("%d bytes, at most %d are read", size, maxFile)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && int64(len(b)) != size {
		err = fmt.Errorf("%d bytes, wanted %d", len(b), size)
	}
	return b, err
}

// readFolder walks a folder. Links are kept as they are and followed inside it alone.
func readFolder(ctx context.Context, dir, system string) (*view, error) {
	v := newView()
	if err := v.walk(ctx, dir, "/"); err != nil {
		return nil, err
	}
	if host, err := v.hostLibraries(); err != nil || host != nil || system == "" || v.hasSystem() {
		return v, err
	}
	for _, name := range []string{"/lib64", "/lib", "/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64"} {
		if err := v.borrow(system, name); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// hasSystem is true for a whole root file system, which is taken as it is.
func (v *view) hasSystem() bool {
	return len(v.named("/"+hostInterpreter)) > len(v.named("/runtime/glibc/"+hostInterpreter))
}

// borrow takes the loader's libraries from a folder of this machine.
func (v *view) borrow(system, dir string) error {
	for _, base := range []string{hostInterpreter, "libc.so.6", "libprotobuf-c.so.1"} {
		b, err := os.ReadFile(filepath.Join(system, dir, base))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := v.add(path.Join(dir, base), node{data: b}); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) walk(ctx context.Context, root, name string) error {
	list, err := os.ReadDir(filepath.Join(root, name))
	if errors.Is(err, fs.ErrPermission) {
		return nil // not Gramine's, or it is missed below
	}
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		below := path.Join(name, d.Name())
		switch {
		case d.IsDir():
			if name == "/" && (d.Name() == "proc" || d.Name() == "sys" || d.Name() == "dev") {
				continue
			}
			err = v.walk(ctx, root, below)
		case d.Type()&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(filepath.Join(root, below)); err == nil {
				err = v.add(below, node{link: target})
			}
		case d.Type().IsRegular() && wanted(below):
			err = v.readFile(root, below)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *view) readFile(root, name string) error {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := limitedRead(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return v.add(name, node{data: b})
}
