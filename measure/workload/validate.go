package workload

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
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
	return []func() error{m.checkHeader, m.checkExec, m.checkEnv, m.checkFolders, m.checkCertificates, m.checkCAs, m.checkSGX}
}

func (m *Manifest) checkHeader() error {
	switch {
	case m.Schema != Schema:
		return fmt.Errorf("schema %d, this program reads %d: convert the image again", m.Schema, Schema)
	case m.TEE != TEESimulated && m.TEE != TEESGX:
		return fmt.Errorf("tee %q, wanted %q or %q", m.TEE, TEESimulated, TEESGX)
	case !isPlatform(m.Source):
		return fmt.Errorf("source %q, wanted a platform such as linux/amd64", m.Source)
	case m.AccountRoot != "" && !IsHash(m.AccountRoot):
		return fmt.Errorf("account_root %q, wanted 64 lower-case hexadecimal digits or nothing", m.AccountRoot)
	case !IsHash(m.Guest):
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

// IsHash reports whether s is a SHA-256 hash as manifests spell it: 64 lower-case hexadecimal digits.
func IsHash(s string) bool {
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
