package workload

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"strconv"
	"unicode/utf8"
)

// Encode returns the canonical bytes of m: RFC 8785 JSON without a final line
// break. It refuses a manifest that Validate refuses.
func Encode(m *Manifest) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(4096 + 200*len(m.Files))
	if err := EncodeTo(&b, m); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// EncodeTo writes the canonical bytes of m to w, a few kilobytes at a time. It
// refuses a manifest that Validate refuses before anything is written.
func EncodeTo(w io.Writer, m *Manifest) error {
	if err := m.Validate(); err != nil {
		return err
	}
	return encode(w, m, func(e *encoder) { list(e, m.Files, e.file) })
}

// EncodeFiles is EncodeTo for files that are not in m but come one after the
// other, so that they need not be in memory at once. Each is judged as Validate
// judges it, except that hard links are not compared with their first names. An
// error after the first bytes leaves w with a part.
func EncodeFiles(w io.Writer, m *Manifest, files iter.Seq[*File]) error {
	for _, check := range m.headerChecks() {
		if err := check(); err != nil {
			return fmt.Errorf("workload manifest: %w", err)
		}
	}
	return encode(w, m, func(e *encoder) {
		c := newFileChecker(m.TEE)
		e.raw("[")
		for f := range files {
			if e.err != nil {
				return
			}
			if c.n > 0 {
				e.raw(",")
			}
			if err := c.next(f); err != nil {
				e.err = err
				return
			}
			e.file(f)
		}
		if e.err == nil {
			e.err = c.end()
		}
		e.raw("]")
	})
}

func encode(w io.Writer, m *Manifest, files func(e *encoder)) error {
	e := encoder{w: bufio.NewWriterSize(w, 64<<10)}
	e.manifest(m, files)
	if e.err != nil {
		return fmt.Errorf("workload manifest: %w", e.err)
	}
	if err := e.w.Flush(); err != nil {
		return fmt.Errorf("workload manifest: %w", err)
	}
	if e.n > MaxSize {
		return fmt.Errorf("workload manifest: more than %d bytes", MaxSize)
	}
	return nil
}

// encoder writes RFC 8785 JSON. The first error stays.
type encoder struct {
	w   *bufio.Writer
	buf []byte
	n   int64
	err error
}

func (e *encoder) raw(s string) {
	if e.err == nil {
		_, e.err = e.w.WriteString(s)
		e.n += int64(len(s))
	}
}

func (e *encoder) uint(v uint64) {
	e.buf = strconv.AppendUint(e.buf[:0], v, 10)
	e.flush()
}

func (e *encoder) bool(v bool) {
	if v {
		e.raw("true")
	} else {
		e.raw("false")
	}
}

func (e *encoder) flush() {
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
		e.n += int64(len(e.buf))
	}
}

// string writes s with the escapes of RFC 8785, section 3.2.2.2.
func (e *encoder) string(s string) {
	if !utf8.ValidString(s) {
		if e.err == nil {
			e.err = fmt.Errorf("%q is not UTF-8", s)
		}
		return
	}
	e.buf = appendString(e.buf[:0], s)
	e.flush()
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		b = appendEscape(b, c)
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\t':
		return append(b, '\\', 't')
	case '\n':
		return append(b, '\\', 'n')
	case '\f':
		return append(b, '\\', 'f')
	case '\r':
		return append(b, '\\', 'r')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

func list[T any](e *encoder, items []T, write func(*T)) {
	e.raw("[")
	for i := range items {
		if i > 0 {
			e.raw(",")
		}
		write(&items[i])
	}
	e.raw("]")
}

func (e *encoder) strings(items []string) {
	list(e, items, func(s *string) { e.string(*s) })
}

func (e *encoder) manifest(m *Manifest, files func(e *encoder)) {
	e.raw(`{"account_root":`)
	e.string(m.AccountRoot)
	e.raw(`,"ca_certificates":`)
	list(e, m.CACertificates, e.caFile)
	e.raw(`,"certificates":`)
	list(e, m.Certificates, e.certificate)
	e.raw(`,"env":{"allowed":`)
	e.strings(m.Env.Allowed)
	e.raw(`,"fixed":`)
	e.strings(m.Env.Fixed)
	e.raw(`,"mutable":`)
	e.strings(m.Env.Mutable)
	e.raw(`},"exec":`)
	e.exec(&m.Exec)
	e.raw(`,"files":`)
	files(e)
	e.raw(`,"folders":`)
	list(e, m.Folders, func(f *Folder) {
		e.raw(`{"mode":`)
		e.string(f.Mode)
		e.raw(`,"path":`)
		e.string(f.Path)
		e.raw("}")
	})
	e.raw(`,"fronts":`)
	list(e, m.Fronts, func(f *Front) {
		e.raw(`{"forward":`)
		e.uint(uint64(f.Forward))
		e.raw(`,"listen":`)
		e.uint(uint64(f.Listen))
		e.raw("}")
	})
	e.raw(`,"guest":`)
	e.string(m.Guest)
	e.raw(`,"log_path":`)
	e.string(m.LogPath)
	e.raw(`,"schema":`)
	e.uint(uint64(m.Schema))
	if m.SGX != nil {
		e.raw(`,"sgx":`)
		e.sgx(m.SGX)
	}
	e.raw(`,"source":`)
	e.string(m.Source)
	e.raw(`,"tee":`)
	e.string(m.TEE)
	e.raw("}")
}

func (e *encoder) exec(x *Exec) {
	e.raw(`{"allow_args":`)
	e.bool(x.AllowArgs)
	e.raw(`,"args":`)
	e.strings(x.Args)
	e.raw(`,"entry":`)
	e.strings(x.Entry)
	e.raw(`,"gid":`)
	e.uint(uint64(x.GID))
	e.raw(`,"groups":`)
	list(e, x.Groups, func(g *uint32) { e.uint(uint64(*g)) })
	e.raw(`,"home":`)
	e.string(x.Home)
	e.raw(`,"on_renew":`)
	e.uint(uint64(x.OnRenew))
	e.raw(`,"stop_grace":`)
	e.uint(uint64(x.StopGrace))
	e.raw(`,"uid":`)
	e.uint(uint64(x.UID))
	e.raw(`,"workdir":`)
	e.string(x.WorkDir)
	e.raw("}")
}

func (e *encoder) certificate(c *Certificate) {
	e.raw(`{"alt_names":`)
	e.strings(c.AltNames)
	e.raw(`,"cert_path":`)
	e.string(c.CertPath)
	e.raw(`,"chain_path":`)
	e.string(c.ChainPath)
	e.raw(`,"key_path":`)
	e.string(c.KeyPath)
	e.raw(`,"key_size":`)
	e.uint(uint64(c.KeySize))
	e.raw(`,"key_type":`)
	e.string(c.KeyType)
	e.raw(`,"subject":`)
	e.string(c.Subject)
	e.raw("}")
}

func (e *encoder) caFile(c *CAFile) {
	e.raw(`{"certificate":`)
	e.string(c.Certificate)
	e.raw(`,"path":`)
	e.string(c.Path)
	e.raw(`,"system":`)
	e.bool(c.System)
	e.raw("}")
}

func (e *encoder) file(f *File) {
	e.raw(`{"gid":`)
	e.uint(uint64(f.GID))
	e.optional(`,"link":`, f.Link)
	e.optional(`,"link_b64":`, f.LinkB64)
	e.raw(`,"mode":`)
	e.uint(uint64(f.Mode))
	e.optional(`,"path":`, f.Path)
	e.optional(`,"path_b64":`, f.PathB64)
	if f.Rdev != 0 {
		e.raw(`,"rdev":`)
		e.uint(f.Rdev)
	}
	e.optional(`,"sha256":`, f.SHA256)
	if f.Size != 0 {
		e.raw(`,"size":`)
		e.uint(uint64(f.Size))
	}
	e.raw(`,"type":`)
	e.string(f.Type)
	e.raw(`,"uid":`)
	e.uint(uint64(f.UID))
	if len(f.Xattrs) > 0 {
		sep := `,"xattrs":{`
		for _, k := range sortedKeys(f.Xattrs) {
			e.raw(sep)
			e.string(k)
			e.raw(":")
			e.string(f.Xattrs[k])
			sep = ","
		}
		e.raw("}")
	}
	e.raw("}")
}

func (e *encoder) optional(key, value string) {
	if value != "" {
		e.raw(key)
		e.string(value)
	}
}
