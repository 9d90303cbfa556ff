package closure

import (
	"bytes"
	"strings"

	"hitoku.dev/measure/workload"
)

// Sniffer takes a file's content while it streams by. It is an io.Writer that never
// fails; each kind of file has a reader of its own below it.
type Sniffer struct {
	path string
	size int64
	head []byte // until the kind is known
	kind reader
	done bool
}

// reader looks at the bytes of one kind of file.
type reader interface {
	write(p []byte) bool // false when it has seen enough
	facts() []fact
}

const (
	headSize   = 64
	maxContent = 48 << 10  // bytes of a text that is kept whole
	maxText    = 1 << 20   // bytes of a source that are looked at
	maxJAR     = 256 << 10 // bytes of a JAR's beginning in which its manifest is found
)

// dullFolders hold nothing that says something about other files.
var dullFolders = [...]string{"/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/zoneinfo/", "/var/lib/dpkg/", "/var/cache/", "/usr/share/perl5/unicore/"}

var dullEndings = [...]string{".html", ".htm", ".md", ".rst", ".png", ".jpg", ".gif", ".svg", ".css", ".map", ".gz", ".xz", ".mo", ".po", ".pyc", ".h", ".hpp", ".a", ".o", ".ts", ".woff", ".woff2", ".ttf", ".crt", ".pem"}

// NewSniffer returns a sniffer for a regular file of size bytes, or nil when nothing about
// a file of that name and size is of interest.
func NewSniffer(path string, size int64) *Sniffer {
	if size < 4 {
		return nil
	}
	for _, d := range dullFolders {
		if strings.HasPrefix(path, d) {
			return nil
		}
	}
	for _, e := range dullEndings {
		if strings.HasSuffix(path, e) {
			return nil
		}
	}
	return &Sniffer{path: path, size: size}
}

// Write never fails and always takes all bytes.
func (s *Sniffer) Write(p []byte) (int, error) {
	n := len(p)
	if s.done {
		return n, nil
	}
	if s.kind == nil && len(s.head) == 0 && (len(p) >= headSize || int64(len(p)) >= s.size) {
		s.choose(p) // the usual way: nothing is copied
	}
	if s.kind == nil && !s.done {
		took := min(n, headSize-len(s.head))
		s.head = append(s.head, p[:took]...)
		if len(s.head) < headSize && int64(len(s.head)) < s.size {
			return n, nil // all of p is in head, and the kind is not known yet
		}
		if s.choose(s.head); s.done {
			return n, nil
		}
		s.done = !s.kind.write(s.head)
		p = p[took:]
	}
	if len(p) > 0 && !s.done {
		s.done = !s.kind.write(p)
	}
	return n, nil
}

func (s *Sniffer) choose(h []byte) {
	switch {
	case bytes.HasPrefix(h, []byte("\x7fELF")):
		s.kind = newELFReader()
	case bytes.HasPrefix(h, []byte("PK\x03\x04")) && hasEnding(s.path, ".jar", ".war", ".ear", ".JAR"):
		s.kind = &jarReader{}
	case bytes.HasPrefix(h, []byte("#!")):
		s.kind = scriptReader(s.path, h, s.size)
	default:
		s.kind = namedReader(s.path, s.size)
	}
	s.done = s.kind == nil
}

// Facts returns what was found, at most MaxFacts bytes; nil for nothing.
func (s *Sniffer) Facts() []byte {
	if s.kind == nil {
		return nil
	}
	return encodeFacts(s.kind.facts())
}

func hasEnding(path string, endings ...string) bool {
	for _, e := range endings {
		if strings.HasSuffix(path, e) {
			return true
		}
	}
	return false
}

// scriptReader reads what begins with #!.
func scriptReader(path string, head []byte, size int64) reader {
	line, _, _ := bytes.Cut(head[2:], []byte("\n"))
	l := string(line)
	switch {
	case strings.Contains(l, "python") || strings.HasSuffix(path, ".py"):
		return newPythonReader(size, true)
	case strings.Contains(l, "node") || hasEnding(path, ".js", ".mjs", ".cjs"):
		return newScriptReader(size, true)
	case size <= maxContent:
		return &textReader{script: true}
	}
	return &textReader{script: true, lineOnly: true}
}

// namedReader reads what only its name tells about.
func namedReader(path string, size int64) reader {
	b := base(path)
	switch {
	case hasEnding(path, ".py"):
		return newPythonReader(size, false)
	case hasEnding(path, ".js", ".mjs", ".cjs"):
		return newScriptReader(size, false)
	case b == "package.json":
		return &packageReader{size: size}
	case size > maxContent:
		return nil
	case hasEnding(path, ".conf", ".cnf", ".pth", ".cfg", ".sh", ".ini", ".pl", ".pm", ".rb") && !strings.HasPrefix(path, "/usr/share/perl/"),
		b == "entry_points.txt", b == "top_level.txt", b == "package.lock", b == "release",
		workload.Within(path, "/etc/nginx"), workload.Within(path, "/etc/alternatives"), workload.Within(path, "/etc/ld.so.conf.d"),
		strings.HasPrefix(path, "/etc/default/"):
		return &textReader{}
	}
	return nil
}

// textReader keeps a small text whole, or only the line after #!.
type textReader struct {
	buf      []byte
	script   bool
	lineOnly bool
}

func (t *textReader) write(p []byte) bool {
	most := maxContent
	if t.lineOnly {
		most = 256
	}
	t.buf = append(t.buf, p[:min(len(p), most-len(t.buf))]...)
	return len(t.buf) < most
}

func (t *textReader) facts() []fact {
	var out []fact
	if t.script {
		out = append(out, interpreterFact(t.buf)...)
	}
	if !t.lineOnly && bytes.IndexByte(t.buf, 0) < 0 {
		out = append(out, fact{tagContent, string(t.buf)})
	}
	return out
}

// interpreterFact is the line after #!, as the kernel reads it: at most 255 bytes.
func interpreterFact(b []byte) []fact {
	if !bytes.HasPrefix(b, []byte("#!")) {
		return nil
	}
	line, _, _ := bytes.Cut(b[2:min(len(b), 256)], []byte("\n"))
	if l := strings.TrimSpace(string(line)); l != "" {
		return []fact{{tagInterpreter, l}}
	}
	return nil
}
