package closure

import (
	"bytes"
	"strings"
)

const maxImports = 2000

// lineReader gives a source to take line by line; a line longer than most is skipped.
type lineReader struct {
	rest []byte
	seen int
	most int
	skip bool
}

func (l *lineReader) feed(p []byte, take func(line []byte)) bool {
	l.seen += len(p)
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			if !l.skip && len(l.rest)+len(p) <= l.most {
				l.rest = append(l.rest, p...)
			} else {
				l.skip, l.rest = true, l.rest[:0]
			}
			break
		}
		line := p[:n]
		p = p[n+1:]
		if l.skip {
			l.skip = false
			continue
		}
		if len(l.rest) > 0 {
			line = append(l.rest, line...)
			l.rest = l.rest[:0]
		}
		take(line)
	}
	return l.seen < maxText
}

// pythonReader finds import statements. Those in comments at the line's end or in texts of
// several lines are taken too: they can only make the selection larger.
type pythonReader struct {
	lineReader
	script  bool
	first   []byte
	join    []byte // a statement that goes on in the next line
	depth   bool   // inside the parentheses of from … import (
	main    bool   // below if __name__ == "__main__"
	dynamic bool
	data    bool
	found   []fact
	known   map[fact]bool
}

func newPythonReader(script bool) *pythonReader {
	return &pythonReader{script: script, lineReader: lineReader{most: 4096}, known: map[fact]bool{}}
}

func (r *pythonReader) write(p []byte) bool {
	if r.script && len(r.first) < 256 {
		r.first = append(r.first, p[:min(len(p), 256-len(r.first))]...)
	}
	return r.feed(p, r.line)
}

func (r *pythonReader) line(line []byte) {
	if len(r.join) > 0 {
		r.join = append(r.join, ' ')
		r.join = append(r.join, stripComment(line)...)
		if ends := bytes.IndexByte(r.join, ')') >= 0; ends || !r.depth && !bytes.HasSuffix(r.join, []byte("\\")) || len(r.join) > 16<<10 {
			r.statement(string(r.join))
			r.join, r.depth = r.join[:0], false
		}
		return
	}
	i := 0
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	if i == len(line) {
		return
	}
	if i == 0 {
		if r.main = bytes.HasPrefix(line, []byte("if __name__ ==")); r.main {
			return
		}
	}
	if r.main && !r.script {
		return
	}
	t := line[i:]
	switch {
	case t[0] == 'i' && bytes.HasPrefix(t, []byte("import ")), t[0] == 'f' && bytes.HasPrefix(t, []byte("from ")):
		t = stripComment(t)
		open := bytes.IndexByte(t, '(') >= 0 && bytes.IndexByte(t, ')') < 0
		if open || bytes.HasSuffix(t, []byte("\\")) {
			r.join, r.depth = append(r.join[:0], t...), open
			return
		}
		r.statement(string(t))
	case t[0] == '#':
	default:
		r.code(t)
	}
}

func stripComment(b []byte) []byte {
	if n := bytes.IndexByte(b, '#'); n >= 0 {
		b = b[:n]
	}
	return bytes.TrimRight(b, " \t\r")
}

// code looks for imports inside a line: by function, or after a colon or semicolon.
func (r *pythonReader) code(t []byte) {
	if n := bytes.Index(t, []byte("import")); n >= 0 {
		s := string(t[n:])
		switch {
		case strings.HasPrefix(s, "import_module("), strings.HasPrefix(s, "import__("):
			_, arg, _ := strings.Cut(s, "(")
			r.call(arg)
		case strings.HasPrefix(s, "import ") && n >= 2 && (t[n-2] == ':' || t[n-2] == ';'):
			r.statement(s)
		case strings.HasPrefix(s, "import_string("):
			r.call(s[len("import_string("):])
		}
	}
	if bytes.Contains(t, []byte("__file__")) || bytes.Contains(t, []byte("get_data(")) || bytes.Contains(t, []byte("importlib.resources")) {
		r.data = true
	}
}

func (r *pythonReader) call(arg string) {
	arg = strings.TrimSpace(arg)
	if len(arg) > 1 && (arg[0] == '"' || arg[0] == '\'') {
		if name, _, ok := strings.Cut(arg[1:], arg[:1]); ok && moduleName(name) {
			r.add(tagImport, name)
			return
		}
	}
	r.dynamic = true
}

func (r *pythonReader) statement(s string) {
	s = strings.NewReplacer("(", " ", ")", " ", "\\", " ", "\t", " ").Replace(s)
	if rest, ok := strings.CutPrefix(s, "import "); ok {
		rest, _, _ = strings.Cut(rest, ";")
		for part := range strings.SplitSeq(rest, ",") {
			if f := strings.Fields(part); len(f) > 0 && moduleName(f[0]) {
				r.add(tagImport, f[0])
			}
		}
		return
	}
	module, names, ok := strings.Cut(strings.TrimPrefix(s, "from "), " import ")
	module = strings.ReplaceAll(module, " ", "")
	if !ok || !moduleName(module) {
		return
	}
	names, _, _ = strings.Cut(names, ";")
	r.add(tagImport, module)
	for part := range strings.SplitSeq(names, ",") {
		if f := strings.Fields(part); len(f) > 0 && moduleName(f[0]) {
			r.add(tagFrom, module+":"+f[0])
		}
	}
}

func (r *pythonReader) add(t tag, text string) {
	f := fact{t, text}
	if !r.known[f] && len(r.found) < maxImports {
		r.known[f] = true
		r.found = append(r.found, f)
	}
}

func (r *pythonReader) facts() []fact {
	if len(r.rest) > 0 && !r.skip {
		r.line(r.rest)
	}
	out := r.found
	if r.script {
		out = append(interpreterFact(r.first), out...)
	}
	if r.dynamic {
		out = append(out, fact{tagDynamic, ""})
	}
	if r.data {
		out = append(out, fact{tagData, ""})
	}
	return out
}

// moduleName says whether a text can name a module: parts of letters, digits and "_",
// with dots between and, for relative ones, before them.
func moduleName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c < 0x80 {
			return false
		}
	}
	return true
}
