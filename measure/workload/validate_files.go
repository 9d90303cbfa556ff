package workload

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"sort"
	"strings"
	"unicode/utf8"
)

func (m *Manifest) checkFiles() error {
	c := newFileChecker(m.TEE)
	for i := range m.Files {
		if err := c.next(&m.Files[i]); err != nil {
			return err
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	for i := range m.Files {
		if m.Files[i].Type == TypeHardlink {
			if err := checkHardlink(m.Files, &m.Files[i]); err != nil {
				return fmt.Errorf("files: %s: %w", showName(&m.Files[i]), err)
			}
		}
	}
	return nil
}

func showName(f *File) string { return fmt.Sprintf("%q", f.Name()) }

// fileChecker judges the entries in order; it knows the folders seen so far.
type fileChecker struct {
	tee     string
	n       int
	last    string
	dirs    map[string]struct{}
	lastDir string
}

func newFileChecker(tee string) *fileChecker {
	return &fileChecker{tee: tee, dirs: map[string]struct{}{"/": {}}, lastDir: "/"}
}

func (c *fileChecker) next(f *File) error {
	if c.tee == TEESGX {
		return errors.New("files: on SGX the enclave's manifest lists them, wanted none here")
	}
	if c.n++; c.n == 1 && (f.Path != "/" || f.Type != TypeDir) {
		return errors.New("files: the first is not the root folder")
	}
	if c.n > MaxFiles {
		return fmt.Errorf("files: more than %d", MaxFiles)
	}
	name, err := c.check(f)
	if err != nil {
		return fmt.Errorf("files: %s: %w", showName(f), err)
	}
	if name <= c.last {
		return fmt.Errorf("files: %s repeated or not sorted", showName(f))
	}
	c.last = name
	return nil
}

func (c *fileChecker) end() error {
	if c.n == 0 && c.tee != TEESGX {
		return errors.New("files: the root folder is missing")
	}
	return nil
}

func (c *fileChecker) check(f *File) (string, error) {
	name := f.Name()
	if err := checkSpelling("path", f.Path, f.PathB64); err != nil {
		return "", err
	}
	if err := checkRawPath(name); err != nil {
		return "", err
	}
	if Within(name, Dir) {
		return "", errors.New("belongs to the conversion and cannot be listed")
	}
	parent := name[:max(1, strings.LastIndexByte(name, '/'))]
	if parent != c.lastDir {
		if _, ok := c.dirs[parent]; !ok {
			return "", errors.New("its folder is not listed before it")
		}
		c.lastDir = parent
	}
	if f.Type == TypeDir {
		c.dirs[name] = struct{}{}
	}
	if f.UID > maxID || f.GID > maxID || f.Mode > 0o7777 {
		return "", errors.New("uid, gid or mode out of range")
	}
	if f.Size < 0 || f.Size > maxInteger || f.Rdev > maxInteger {
		return "", errors.New("size or rdev out of range")
	}
	return name, f.checkType()
}

func (f *File) checkType() error {
	regular, link, device := false, false, false
	switch f.Type {
	case TypeFile:
		regular = true
	case TypeHardlink:
		regular, link = true, true
	case TypeSymlink:
		link = true
	case TypeChar, TypeBlock:
		device = true
	case TypeDir, TypeFIFO:
	default:
		return fmt.Errorf("unknown type %q", f.Type)
	}
	switch {
	case regular && !IsHash(f.SHA256):
		return fmt.Errorf("sha256 %q, wanted 64 lower-case hexadecimal digits", f.SHA256)
	case !regular && (f.SHA256 != "" || f.Size != 0):
		return fmt.Errorf("a %s has neither sha256 nor size", f.Type)
	case !link && (f.Link != "" || f.LinkB64 != ""):
		return fmt.Errorf("a %s has no link", f.Type)
	case !device && f.Rdev != 0:
		return fmt.Errorf("a %s has no rdev", f.Type)
	}
	if link {
		if err := checkSpelling("link", f.Link, f.LinkB64); err != nil {
			return err
		}
		if t := f.Target(); len(t) > maxPath || strings.IndexByte(t, 0) >= 0 {
			return errors.New("link target too long or with a zero byte")
		}
	}
	for k, v := range f.Xattrs {
		if k == "" || len(k) > maxName || !isPrintable(k) {
			return fmt.Errorf("xattr %q is no name", k)
		}
		if b, err := base64.StdEncoding.Strict().DecodeString(v); err != nil || len(b) > 64<<10 || base64.StdEncoding.EncodeToString(b) != v {
			return fmt.Errorf("xattr %s: value is not canonical base64", k)
		}
	}
	return nil
}

// checkHardlink wants the first name to be a regular file that sorts before f
// and agrees with it, since both are one inode.
func checkHardlink(files []File, f *File) error {
	target := f.Target()
	i := sort.Search(len(files), func(i int) bool { return files[i].Name() >= target })
	if i == len(files) || files[i].Name() != target || files[i].Type != TypeFile || target >= f.Name() {
		return fmt.Errorf("hard link to %q, which is no regular file listed before it", target)
	}
	t := &files[i]
	if t.SHA256 != f.SHA256 || t.Size != f.Size || t.Mode != f.Mode || t.UID != f.UID || t.GID != f.GID || !maps.Equal(t.Xattrs, f.Xattrs) {
		return fmt.Errorf("differs from %q, the file that it is a hard link to", target)
	}
	return nil
}

// checkSpelling wants exactly one spelling, and base64 only where there is no text.
func checkSpelling(what, text, b64 string) error {
	if (text == "") == (b64 == "") {
		return fmt.Errorf("wanted one of %s and %s_b64", what, what)
	}
	if b64 == "" {
		return nil
	}
	raw := spelled("", b64)
	if utf8.ValidString(raw) || base64.StdEncoding.EncodeToString([]byte(raw)) != b64 {
		return fmt.Errorf("%s_b64 is not canonical base64 of bytes that are not UTF-8", what)
	}
	return nil
}
