package workload

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Decode reads the canonical encoding of a manifest and no other: every key in
// its place, no space, no unknown or repeated member, each string with the one
// spelling that RFC 8785 gives it. The result has passed Validate.
//
// The strings of the result share one copy of data; lists are never nil.
func Decode(data []byte) (*Manifest, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("workload manifest: %d bytes, at most %d are read", len(data), MaxSize)
	}
	d := decoder{s: string(data)}
	m := new(Manifest)
	d.manifest(m)
	if d.err == nil && d.i != len(d.s) {
		d.fail("the end")
	}
	if d.err != nil {
		return nil, fmt.Errorf("workload manifest is not in its canonical encoding: %w", d.err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// decoder reads canonical JSON whose members stand in a known order. After the
// first error nothing advances any more.
type decoder struct {
	s   string
	i   int
	err error
}

func (d *decoder) fail(wanted string) {
	if d.err != nil {
		return
	}
	seen := "the end"
	if d.i < len(d.s) {
		seen = fmt.Sprintf("%q", d.s[d.i:min(len(d.s), d.i+16)])
	}
	d.err = fmt.Errorf("byte %d: wanted %s, seen %s", d.i, wanted, seen)
}

// lit consumes exactly s.
func (d *decoder) lit(s string) {
	if !d.try(s) {
		d.fail(s)
	}
}

// try consumes s if it comes next.
func (d *decoder) try(s string) bool {
	if d.err != nil || !strings.HasPrefix(d.s[d.i:], s) {
		return false
	}
	d.i += len(s)
	return true
}

// maxInteger is the largest integer that RFC 8785 can write exactly.
const maxInteger = 1<<53 - 1

// uint reads a number from 0 to limit.
func (d *decoder) uint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	start := d.i
	var v uint64
	for d.i < len(d.s) && d.s[d.i] >= '0' && d.s[d.i] <= '9' && d.i-start < 17 {
		v = v*10 + uint64(d.s[d.i]-'0')
		d.i++
	}
	n := d.i - start
	if n == 0 || n > 1 && d.s[start] == '0' || v > limit {
		d.i = start
		d.fail(fmt.Sprintf("an integer from 0 to %d", limit))
		return 0
	}
	return v
}

func (d *decoder) bool() bool {
	if d.try("true") {
		return true
	}
	if !d.try("false") {
		d.fail("true or false")
	}
	return false
}

func (d *decoder) string() string {
	d.lit(`"`)
	if d.err != nil {
		return ""
	}
	start := d.i
	ascii := true
	for ; d.i < len(d.s); d.i++ {
		switch c := d.s[d.i]; {
		case c == '"':
			s := d.s[start:d.i]
			if !ascii && !utf8.ValidString(s) {
				d.i = start
				d.fail("a string in UTF-8")
				return ""
			}
			d.i++
			return s
		case c == '\\':
			return d.escaped(start)
		case c < 0x20:
			d.fail("an escape instead of a control character")
			return ""
		case c >= 0x80:
			ascii = false
		}
	}
	d.fail(`"`)
	return ""
}

// escaped reads a string that began at start and has an escape at d.i.
func (d *decoder) escaped(start int) string {
	b := append([]byte(nil), d.s[start:d.i]...)
	for d.i < len(d.s) {
		c := d.s[d.i]
		switch {
		case c == '"':
			if !utf8.Valid(b) {
				d.i = start
				d.fail("a string in UTF-8")
				return ""
			}
			d.i++
			return string(b)
		case c == '\\':
			v, n := unescape(d.s[d.i:])
			if n == 0 {
				d.fail("an escape as RFC 8785 writes it")
				return ""
			}
			b = append(b, v)
			d.i += n
		case c < 0x20:
			d.fail("an escape instead of a control character")
			return ""
		default:
			b = append(b, c)
			d.i++
		}
	}
	d.fail(`"`)
	return ""
}

// unescape reads one canonical escape and returns its byte and length, or length 0.
func unescape(s string) (byte, int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\':
		return s[1], 2
	case 'b':
		return '\b', 2
	case 't':
		return '\t', 2
	case 'n':
		return '\n', 2
	case 'f':
		return '\f', 2
	case 'r':
		return '\r', 2
	case 'u':
		if len(s) < 6 || s[2] != '0' || s[3] != '0' || s[4] != '0' && s[4] != '1' {
			return 0, 0
		}
		low := strings.IndexByte("0123456789abcdef", s[5])
		if low < 0 {
			return 0, 0
		}
		c := (s[4]-'0')<<4 | byte(low)
		if c == '\b' || c == '\t' || c == '\n' || c == '\f' || c == '\r' {
			return 0, 0
		}
		return c, 6
	}
	return 0, 0
}

// readList reads a list of at most limit items.
func readList[T any](d *decoder, limit int, read func() T) []T {
	items := []T{}
	d.lit("[")
	if d.try("]") {
		return items
	}
	for d.err == nil {
		if len(items) == limit {
			d.err = fmt.Errorf("byte %d: a list of more than %d items", d.i, limit)
			break
		}
		items = append(items, read())
		if !d.try(",") {
			d.lit("]")
			break
		}
	}
	return items
}

func (d *decoder) strings() []string { return readList(d, maxList, d.string) }

func (d *decoder) manifest(m *Manifest) {
	d.lit(`{"account_root":`)
	m.AccountRoot = d.string()
	d.lit(`,"ca_certificates":`)
	m.CACertificates = readList(d, maxList, d.caFile)
	d.lit(`,"certificates":`)
	m.Certificates = readList(d, maxList, d.certificate)
	d.lit(`,"env":{"allowed":`)
	m.Env.Allowed = d.strings()
	d.lit(`,"fixed":`)
	m.Env.Fixed = d.strings()
	d.lit(`,"mutable":`)
	m.Env.Mutable = d.strings()
	d.lit(`},"exec":`)
	d.exec(&m.Exec)
	d.lit(`,"files":`)
	d.files(m)
	d.lit(`,"folders":`)
	m.Folders = readList(d, maxList, func() (f Folder) {
		d.lit(`{"mode":`)
		f.Mode = d.string()
		d.lit(`,"path":`)
		f.Path = d.string()
		d.lit("}")
		return f
	})
	d.lit(`,"fronts":`)
	m.Fronts = readList(d, maxList, func() (f Front) {
		d.lit(`{"forward":`)
		f.Forward = int(d.uint(65535))
		d.lit(`,"listen":`)
		f.Listen = int(d.uint(65535))
		d.lit("}")
		return f
	})
	d.lit(`,"guest":`)
	m.Guest = d.string()
	d.lit(`,"log_path":`)
	m.LogPath = d.string()
	d.lit(`,"schema":`)
	m.Schema = int(d.uint(1 << 30))
	if d.err == nil && m.Schema != Schema {
		d.err = fmt.Errorf("schema %d, this program reads %d: convert the image again", m.Schema, Schema)
		return
	}
	if d.try(`,"sgx":`) {
		m.SGX = new(SGX)
		d.sgx(m.SGX)
	}
	d.lit(`,"source":`)
	m.Source = d.string()
	d.lit(`,"tee":`)
	m.TEE = d.string()
	d.lit("}")
}

func (d *decoder) exec(x *Exec) {
	d.lit(`{"allow_args":`)
	x.AllowArgs = d.bool()
	d.lit(`,"args":`)
	x.Args = d.strings()
	d.lit(`,"entry":`)
	x.Entry = d.strings()
	d.lit(`,"gid":`)
	x.GID = uint32(d.uint(maxID))
	d.lit(`,"groups":`)
	x.Groups = readList(d, maxList, func() uint32 { return uint32(d.uint(maxID)) })
	d.lit(`,"home":`)
	x.Home = d.string()
	d.lit(`,"on_renew":`)
	x.OnRenew = int(d.uint(maxSignal))
	d.lit(`,"stop_grace":`)
	x.StopGrace = int(d.uint(maxGrace))
	d.lit(`,"uid":`)
	x.UID = uint32(d.uint(maxID))
	d.lit(`,"workdir":`)
	x.WorkDir = d.string()
	d.lit("}")
}

func (d *decoder) certificate() (c Certificate) {
	d.lit(`{"alt_names":`)
	c.AltNames = d.strings()
	d.lit(`,"cert_path":`)
	c.CertPath = d.string()
	d.lit(`,"chain_path":`)
	c.ChainPath = d.string()
	d.lit(`,"key_path":`)
	c.KeyPath = d.string()
	d.lit(`,"key_size":`)
	c.KeySize = int(d.uint(1 << 16))
	d.lit(`,"key_type":`)
	c.KeyType = d.string()
	d.lit(`,"subject":`)
	c.Subject = d.string()
	d.lit("}")
	return c
}

func (d *decoder) caFile() (c CAFile) {
	d.lit(`{"certificate":`)
	c.Certificate = d.string()
	d.lit(`,"path":`)
	c.Path = d.string()
	d.lit(`,"system":`)
	c.System = d.bool()
	d.lit("}")
	return c
}

// files reads the list into one allocation: a quote inside a string is escaped,
// so `,"type":` counts entries and nothing else.
func (d *decoder) files(m *Manifest) {
	n := min(strings.Count(d.s[d.i:], `,"type":"`), MaxFiles)
	m.Files = make([]File, 0, n)
	d.lit("[")
	if d.try("]") {
		return
	}
	for d.err == nil {
		if len(m.Files) == MaxFiles {
			d.err = fmt.Errorf("byte %d: more than %d files", d.i, MaxFiles)
			return
		}
		m.Files = append(m.Files, File{})
		d.file(&m.Files[len(m.Files)-1])
		if !d.try(",") {
			break
		}
	}
	d.lit("]")
}

func (d *decoder) file(f *File) {
	d.lit(`{"gid":`)
	f.GID = uint32(d.uint(maxID))
	f.Link = d.optional(`,"link":`)
	f.LinkB64 = d.optional(`,"link_b64":`)
	d.lit(`,"mode":`)
	f.Mode = uint32(d.uint(0o7777))
	f.Path = d.optional(`,"path":`)
	f.PathB64 = d.optional(`,"path_b64":`)
	if d.try(`,"rdev":`) {
		if f.Rdev = d.uint(maxInteger); f.Rdev == 0 {
			d.fail("no rdev of 0")
		}
	}
	f.SHA256 = d.optional(`,"sha256":`)
	if d.try(`,"size":`) {
		if f.Size = int64(d.uint(maxInteger)); f.Size == 0 {
			d.fail("no size of 0")
		}
	}
	d.lit(`,"type":`)
	f.Type = d.string()
	d.lit(`,"uid":`)
	f.UID = uint32(d.uint(maxID))
	if d.try(`,"xattrs":{`) {
		d.xattrs(f)
	}
	d.lit("}")
}

func (d *decoder) xattrs(f *File) {
	f.Xattrs = map[string]string{}
	last := ""
	for d.err == nil {
		k := d.string()
		if k <= last {
			d.err = errors.New("xattrs not sorted")
			return
		}
		last = k
		d.lit(":")
		f.Xattrs[k] = d.string()
		if !d.try(",") {
			break
		}
	}
	d.lit("}")
}

// optional reads a string member that is left out when it is empty.
func (d *decoder) optional(key string) string {
	if !d.try(key) {
		return ""
	}
	s := d.string()
	if s == "" {
		d.fail("a value that is not empty")
	}
	return s
}
