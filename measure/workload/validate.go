package workload

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Limits of a manifest. They bound what the guest and the simulated TEE allocate.
const (
	MaxSize  = 256 << 20 // bytes of the encoding
	MaxFiles = 1_000_000

	maxList   = 4096 // items of every other list
	maxPath   = 4096 // bytes, as PATH_MAX
	maxName   = 255  // bytes of one path element, as NAME_MAX
	maxString = 128 << 10
	maxID     = 1<<32 - 2 // 2^32-1 means "no change" to chown(2)
	maxSignal = 64
	maxGrace  = 24 * 60 * 60
)

// Where the guest keeps what it made: a memory file system, one folder for each
// certificate, in which "current" is the link that a renewal replaces.
const (
	KeyDir   = "/dev/shm/hitoku"
	KeyFile  = "key.pem"
	CertFile = "cert.pem"
	// ChainFile holds the zone CA and the account root.
	ChainFile = "chain.pem"
)

// KeyTarget is what the symbolic link at a configured key, certificate or chain
// path of certificate i points to; file is KeyFile, CertFile or ChainFile.
func KeyTarget(i int, file string) string {
	return fmt.Sprintf("%s/%d/current/%s", KeyDir, i, file)
}

// Name is the path of f as raw bytes, whichever of its two spellings it has.
func (f *File) Name() string { return spelled(f.Path, f.PathB64) }

// Target is the link target of f as raw bytes.
func (f *File) Target() string { return spelled(f.Link, f.LinkB64) }

func spelled(text, b64 string) string {
	if b64 == "" {
		return text
	}
	b, err := base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil {
		return ""
	}
	return string(b)
}

// SetName stores a path in the spelling that its bytes need.
func (f *File) SetName(name string) { f.Path, f.PathB64 = spell(name) }

// SetTarget stores a link target in the spelling that its bytes need.
func (f *File) SetTarget(target string) { f.Link, f.LinkB64 = spell(target) }

func spell(raw string) (text, b64 string) {
	if utf8.ValidString(raw) {
		return raw, ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(raw))
}

// Within reports whether name is folder or lies below it.
func Within(name, folder string) bool {
	return name == folder || folder == "/" || strings.HasPrefix(name, folder) && name[len(folder)] == '/'
}

// Validate reports the first thing in m that no converter writes. The error
// names the member.
func (m *Manifest) Validate() error {
	for _, check := range append(m.headerChecks(), m.checkFiles) {
		if err := check(); err != nil {
			return fmt.Errorf("workload manifest: %w", err)
		}
	}
	return nil
}

// headerChecks are the checks of everything but the files.
func (m *Manifest) headerChecks() []func() error {
	return []func() error{m.checkHeader, m.checkExec, m.checkEnv, m.checkFolders, m.checkCertificates, m.checkCAs}
}

func (m *Manifest) checkHeader() error {
	switch {
	case m.Schema != Schema:
		return fmt.Errorf("schema %d, this program reads %d: convert the image again", m.Schema, Schema)
	case m.TEE != "sim":
		return fmt.Errorf("tee %q, wanted \"sim\"", m.TEE)
	case !isPlatform(m.Source):
		return fmt.Errorf("source %q, wanted a platform such as linux/amd64", m.Source)
	case m.AccountRoot != "" && !isHash(m.AccountRoot):
		return fmt.Errorf("account_root %q, wanted 64 lower-case hexadecimal digits or nothing", m.AccountRoot)
	case !isHash(m.Guest):
		return fmt.Errorf("guest %q, wanted 64 lower-case hexadecimal digits", m.Guest)
	case m.LogPath != "":
		return checkPath("log_path", m.LogPath)
	}
	return nil
}

func (m *Manifest) checkExec() error {
	x := &m.Exec
	if len(x.Entry)+len(x.Args) == 0 {
		return errors.New("exec: neither entry nor args")
	}
	for _, l := range []struct {
		name  string
		items []string
	}{{"exec.entry", x.Entry}, {"exec.args", x.Args}} {
		if err := checkTexts(l.name, l.items); err != nil {
			return err
		}
	}
	if len(x.Entry) > 0 && x.Entry[0] == "" || len(x.Entry) == 0 && x.Args[0] == "" {
		return errors.New("exec: the program's name is empty")
	}
	for i := range x.Groups {
		if x.Groups[i] > maxID || i > 0 && x.Groups[i] <= x.Groups[i-1] {
			return errors.New("exec.groups: not sorted, repeated or out of range")
		}
	}
	switch {
	case len(x.Groups) > maxList:
		return fmt.Errorf("exec.groups: more than %d", maxList)
	case x.UID > maxID || x.GID > maxID:
		return fmt.Errorf("exec: uid %d, gid %d: 2^32-1 is no id", x.UID, x.GID)
	case x.OnRenew < 0 || x.OnRenew > maxSignal:
		return fmt.Errorf("exec.on_renew %d, wanted a signal number from 0 to %d", x.OnRenew, maxSignal)
	case x.StopGrace < 0 || x.StopGrace > maxGrace:
		return fmt.Errorf("exec.stop_grace %d, wanted 0 to %d seconds", x.StopGrace, maxGrace)
	case x.Home != "":
		if err := checkPath("exec.home", x.Home); err != nil {
			return err
		}
	}
	return checkPath("exec.workdir", x.WorkDir)
}

// checkEnv wants each name once over all three lists, so that their order has no meaning.
func (m *Manifest) checkEnv() error {
	names := map[string]bool{}
	claim := func(list, name string) error {
		if name == "" || strings.ContainsAny(name, "=\x00") || !utf8.ValidString(name) || len(name) > maxString {
			return fmt.Errorf("env.%s: %q is no name of a variable", list, name)
		}
		if names[name] {
			return fmt.Errorf("env: %s is there twice", name)
		}
		names[name] = true
		return nil
	}
	e := &m.Env
	for _, l := range []struct {
		name   string
		items  []string
		pairs  bool
		sorted bool
	}{{"allowed", e.Allowed, false, true}, {"fixed", e.Fixed, true, false}, {"mutable", e.Mutable, true, true}} {
		if err := checkTexts("env."+l.name, l.items); err != nil {
			return err
		}
		last := ""
		for _, item := range l.items {
			name, _, pair := strings.Cut(item, "=")
			if pair != l.pairs {
				return fmt.Errorf("env.%s: %q has the wrong form", l.name, item)
			}
			if err := claim(l.name, name); err != nil {
				return err
			}
			if l.sorted && name < last {
				return fmt.Errorf("env.%s: %s stands after %s", l.name, name, last)
			}
			last = name
		}
	}
	return nil
}

func (m *Manifest) checkFolders() error {
	last := ""
	for _, f := range m.Folders {
		if err := checkPath("folders", f.Path); err != nil {
			return err
		}
		switch {
		case f.Path == "/" || Within(f.Path, Dir):
			return fmt.Errorf("folders: %s cannot be writable", f.Path)
		case f.Mode != FolderRW && f.Mode != FolderEncrypted:
			return fmt.Errorf("folders: %s: mode %q, wanted %s or %s", f.Path, f.Mode, FolderRW, FolderEncrypted)
		case f.Path <= last:
			return fmt.Errorf("folders: %s repeated or not sorted", f.Path)
		}
		last = f.Path
	}
	if len(m.Folders) > maxList {
		return fmt.Errorf("folders: more than %d", maxList)
	}
	return nil
}

func (m *Manifest) checkFiles() error {
	c := newFileChecker()
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
	n       int
	last    string
	dirs    map[string]struct{}
	lastDir string
}

func newFileChecker() *fileChecker {
	return &fileChecker{dirs: map[string]struct{}{"/": {}}, lastDir: "/"}
}

func (c *fileChecker) next(f *File) error {
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
	if c.n == 0 {
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
	case regular && !isHash(f.SHA256):
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

func checkPath(what, p string) error {
	if !utf8.ValidString(p) {
		return fmt.Errorf("%s %q is not UTF-8", what, p)
	}
	if err := checkRawPath(p); err != nil {
		return fmt.Errorf("%s %q: %w", what, p, err)
	}
	return nil
}

// checkRawPath wants an absolute path without empty, "." and ".." elements.
func checkRawPath(p string) error {
	switch {
	case p == "" || p[0] != '/':
		return errors.New("not an absolute path")
	case len(p) > maxPath:
		return fmt.Errorf("path of %d bytes, at most %d", len(p), maxPath)
	case path.Clean(p) != p:
		return errors.New("not a clean path")
	case strings.IndexByte(p, 0) >= 0:
		return errors.New("zero byte in the path")
	}
	for rest := p[1:]; rest != ""; {
		var element string
		element, rest, _ = strings.Cut(rest, "/")
		if len(element) > maxName {
			return fmt.Errorf("path element of %d bytes, at most %d", len(element), maxName)
		}
	}
	return nil
}

func checkTexts(what string, items []string) error {
	if len(items) > maxList {
		return fmt.Errorf("%s: %d items, at most %d", what, len(items), maxList)
	}
	for _, s := range items {
		switch {
		case len(s) > maxString:
			return fmt.Errorf("%s: an item of %d bytes, at most %d", what, len(s), maxString)
		case strings.IndexByte(s, 0) >= 0:
			return fmt.Errorf("%s: %q has a zero byte", what, s)
		case !utf8.ValidString(s):
			return fmt.Errorf("%s: %q is not UTF-8", what, s)
		}
	}
	return nil
}

func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isPlatform(s string) bool {
	rest, ok := strings.CutPrefix(s, "linux/")
	if !ok || rest == "" || len(s) > 64 {
		return false
	}
	for _, c := range rest {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '/' && c != '.' {
			return false
		}
	}
	return true
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
