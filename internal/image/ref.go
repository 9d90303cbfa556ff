package image

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Kind is the place an image lies in.
type Kind string

const (
	KindRegistry Kind = "docker"
	KindLayout   Kind = "oci"
	KindArchive  Kind = "docker-archive"
	KindEngine   Kind = "docker-daemon"
)

// Ref names an image. The zero Ref names nothing. Refs are made by Parse and
// comparable with Equal.
type Ref struct {
	kind   Kind
	name   string // registry: host/repository; engine: familiar name or image id
	tag    string // registry, layout, engine; archive: the full name inside
	digest string // registry, layout: "sha256:…"
	path   string // layout, archive
}

// Parse reads a reference in one of the forms
//
//	[docker://]HOST/REPOSITORY[:TAG][@DIGEST]
//	oci:DIR[:TAG] or oci:DIR@DIGEST
//	docker-archive:FILE[:NAME[:TAG]]
//	docker-daemon:NAME[:TAG] or docker-daemon:sha256:IMAGE-ID
//
// A name without a host is one of Docker Hub, as docker itself has it; a
// missing tag of a registry or engine image is "latest". DIR and FILE hold no colon.
func Parse(s string) (Ref, error) {
	r, err := parse(s)
	if err != nil {
		return Ref{}, &Error{
			Image: s, Side: Pull, Kind: ErrReference, Err: err,
			Advice: "forms: HOST/REPOSITORY:TAG, oci:DIR:TAG, docker-archive:FILE, docker-daemon:NAME:TAG",
		}
	}
	return r, nil
}

func parse(s string) (Ref, error) {
	if s == "" {
		return Ref{}, errors.New("empty reference")
	}
	scheme, rest, found := strings.Cut(s, ":")
	if found {
		switch Kind(scheme) {
		case KindRegistry:
			if after, ok := strings.CutPrefix(rest, "//"); ok {
				return parseRegistry(after)
			}
		case KindLayout:
			return parseLayout(rest)
		case KindArchive:
			path, inner := cutPath(rest)
			r := Ref{kind: KindArchive, path: path}
			if path == "" {
				return Ref{}, errors.New("docker-archive: needs a file name")
			}
			if inner != "" {
				full, err := normalName(inner)
				if err != nil {
					return Ref{}, err
				}
				r.tag = full
			}
			return r, nil
		case KindEngine:
			return parseEngine(strings.TrimPrefix(rest, "//"))
		}
		if strings.HasPrefix(rest, "//") {
			return Ref{}, fmt.Errorf("unknown kind of reference %q", scheme+"://")
		}
	}
	return parseRegistry(s)
}

func parseRegistry(s string) (Ref, error) {
	if strings.HasSuffix(s, "/") {
		return Ref{}, fmt.Errorf("%q ends without a repository", s)
	}
	parsed, err := name.ParseReference(s, name.WeakValidation)
	if err != nil {
		return Ref{}, err
	}
	r := Ref{kind: KindRegistry, name: parsed.Context().Name()}
	switch p := parsed.(type) {
	case name.Tag:
		r.tag = p.TagStr()
	case name.Digest:
		if _, err := v1.NewHash(p.DigestStr()); err != nil {
			return Ref{}, err
		}
		r.digest = p.DigestStr()
		base, _, _ := strings.Cut(s, "@")
		if t, err := name.NewTag(base, name.WeakValidation); err == nil && strings.HasSuffix(base, ":"+t.TagStr()) {
			r.tag = t.TagStr()
		}
	}
	return r, nil
}

func parseLayout(rest string) (Ref, error) {
	r := Ref{kind: KindLayout}
	if dir, digest, ok := cutLast(rest, "@"); ok {
		if _, err := v1.NewHash(digest); err == nil {
			r.digest, rest = digest, dir
		}
	}
	r.path, r.tag = cutPath(rest)
	if r.path == "" {
		return Ref{}, errors.New("oci: needs a folder name")
	}
	if r.tag != "" && r.digest != "" {
		return Ref{}, errors.New("give a tag or a digest of an OCI layout, not both")
	}
	if strings.ContainsFunc(r.tag, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return Ref{}, fmt.Errorf("tag %q has blanks or control characters", r.tag)
	}
	return r, nil
}

func parseEngine(s string) (Ref, error) {
	if id, ok := strings.CutPrefix(s, "sha256:"); ok {
		if _, err := v1.NewHash(s); err != nil {
			return Ref{}, fmt.Errorf("image id %q: %w", id, err)
		}
		return Ref{kind: KindEngine, digest: s}, nil
	}
	if strings.Contains(s, "@") {
		return Ref{}, errors.New("docker-daemon: takes a tag or an image id, not a registry digest")
	}
	full, err := normalName(s)
	if err != nil {
		return Ref{}, err
	}
	return Ref{kind: KindEngine, name: full}, nil
}

// normalName writes NAME:TAG as Docker Engine shows it: docker.io and library
// left out, tag always there.
func normalName(s string) (string, error) {
	t, err := name.NewTag(s, name.WeakValidation)
	if err != nil {
		return "", err
	}
	repo := t.Context().RepositoryStr()
	if t.Context().RegistryStr() == name.DefaultRegistry {
		return strings.TrimPrefix(repo, "library/") + ":" + t.TagStr(), nil
	}
	return t.Context().Name() + ":" + t.TagStr(), nil
}

// cutPath splits PATH[:REST] at the first colon that is no Windows drive's.
func cutPath(s string) (path, rest string) {
	from := 0
	if len(s) > 2 && s[1] == ':' && (s[2] == '\\' || s[2] == '/') && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z') {
		from = 2
	}
	if i := strings.IndexByte(s[from:], ':'); i >= 0 {
		return s[:from+i], s[from+i+1:]
	}
	return s, ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Kind says which place r names.
func (r Ref) Kind() Kind { return r.kind }

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r.kind == "" }

// Path is the folder or file of a layout or archive, else empty.
func (r Ref) Path() string { return r.path }

// Tag is the tag that r gives, if any. For an archive it is the name inside.
func (r Ref) Tag() string { return r.tag }

// Digest is the digest that r pins, if any. For an engine it is the image id.
func (r Ref) Digest() string { return r.digest }

// Repository is HOST/REPOSITORY of a registry image, else empty.
func (r Ref) Repository() string {
	if r.kind == KindRegistry {
		return r.name
	}
	return ""
}

// String is the reference in a form that Parse reads.
func (r Ref) String() string {
	var b strings.Builder
	switch r.kind {
	case KindRegistry:
		b.WriteString(r.name)
	case KindLayout, KindArchive:
		b.WriteString(string(r.kind) + ":" + r.path)
	case KindEngine:
		b.WriteString("docker-daemon:" + r.name + r.digest)
		return b.String()
	default:
		return "(no image)"
	}
	if r.tag != "" {
		b.WriteString(":" + r.tag)
	}
	if r.digest != "" {
		b.WriteString("@" + r.digest)
	}
	return b.String()
}

// Equal reports whether both name the same image at the same place. Paths are
// compared as absolute paths; a layout without a tag equals any tag of it, since
// it stands for the only one.
func (r Ref) Equal(o Ref) bool {
	if r.kind != o.kind || r.name != o.name || r.digest != o.digest {
		return false
	}
	switch r.kind {
	case KindLayout:
		return samePath(r.path, o.path) && (r.tag == o.tag || r.tag == "" || o.tag == "")
	case KindArchive:
		return samePath(r.path, o.path)
	}
	return r.tag == o.tag
}

func samePath(a, b string) bool {
	resolve := func(p string) string {
		if abs, err := filepath.Abs(p); err == nil {
			p = abs
		}
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real
		}
		return p
	}
	return resolve(a) == resolve(b)
}

// reference is the registry reference in go-containerregistry's form.
func (r Ref) reference(o Options) (name.Reference, error) {
	opts := []name.Option{name.WeakValidation}
	if o.Insecure {
		opts = append(opts, name.Insecure)
	}
	if r.digest != "" {
		return name.NewDigest(r.name+"@"+r.digest, opts...)
	}
	return name.NewTag(r.name+":"+r.tag, opts...)
}
