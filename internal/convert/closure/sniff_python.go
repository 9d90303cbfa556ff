package closure

import (
	"bytes"
	"strings"
)

const maxImports = 2000

// source keeps the beginning of a text, at most maxText bytes.
type source struct {
	size int64
	buf  []byte
}

func (r *source) write(p []byte) bool {
	if r.buf == nil && int64(len(p)) < r.size {
		r.buf = make([]byte, 0, min(r.size, maxText))
	}
	r.buf = append(r.buf, p[:min(len(p), maxText-len(r.buf))]...)
	return len(r.buf) < maxText
}

// whole says whether a write brings all of a text at once: then nothing need be kept.
func (r *source) whole(p []byte) bool {
	return r.buf == nil && int64(len(p)) == r.size && len(p) <= maxText
}

// pythonReader finds import statements. Those in comments at the line's end or in texts of
// several lines are taken too: they can only make the selection larger.
type pythonReader struct {
	source
	script  bool
	first   []fact // the interpreter
	dynamic bool
	found   []fact
	known   map[fact]bool
}

func newPythonReader(size int64, script bool) *pythonReader {
	return &pythonReader{source: source{size: size}, script: script, known: map[fact]bool{}}
}

func (r *pythonReader) write(p []byte) bool {
	if r.whole(p) {
		r.read(p)
		return false
	}
	return r.source.write(p)
}

// pythonFactsOf reads a text that is no file.
func pythonFactsOf(text string) []fact {
	r := newPythonReader(int64(len(text)), true)
	_ = r.write([]byte(text))
	return r.facts()
}

const (
	maxStatement = 16 << 10 // bytes of a statement
	maxBack      = 4096     // bytes before an import in which the head of its block is looked for
)

// read looks at the lines that have "import" in them, and at nothing else.
func (r *pythonReader) read(b []byte) {
	if r.script {
		r.first = interpreterFact(b)
	}
	for at := 0; at < len(b); {
		n := bytes.Index(b[at:], []byte("import"))
		if n < 0 {
			return
		}
		hit := at + n
		from := bytes.LastIndexByte(b[:hit], '\n') + 1
		for from > 1 && b[from-2] == '\\' && hit-from < maxStatement { // from a \, import b in the next line
			from = bytes.LastIndexByte(b[:from-1], '\n') + 1
		}
		end := lineEnd(b, hit)
		i := from
		for i < hit && (b[i] == ' ' || b[i] == '\t') {
			i++
		}
		t := b[i:end]
		switch {
		case t[0] == '#' || i > from && !r.script && belowMain(b, from):
		case bytes.HasPrefix(t, []byte("import ")), bytes.HasPrefix(t, []byte("from ")):
			end = statementEnd(b, i, end)
			r.statement(oneLine(b[i:end]))
		default:
			r.code(b, hit)
			end = hit + len("import")
		}
		at = end
	}
}

func lineEnd(b []byte, at int) int {
	if n := bytes.IndexByte(b[at:], '\n'); n >= 0 {
		return at + n
	}
	return len(b)
}

// statementEnd is the end of a statement that may go on in the next lines.
func statementEnd(b []byte, from, end int) int {
	for end < len(b) && end-from < maxStatement {
		last := stripComment(b[from+bytes.LastIndexByte(b[from:end], '\n')+1 : end])
		all := oneLine(b[from:end])
		if !bytes.HasSuffix(last, []byte("\\")) && (!strings.Contains(all, "(") || strings.Contains(all, ")")) {
			break
		}
		end = lineEnd(b, end+1)
	}
	return end
}

// oneLine joins the lines of a statement, without their comments.
func oneLine(b []byte) string {
	var out []byte
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		out = append(append(out, stripComment(line)...), ' ')
	}
	return string(out)
}

// belowMain says whether the line at an offset is in the block that only a started program runs.
func belowMain(b []byte, line int) bool {
	for stop := line - maxBack; line > max(0, stop); {
		end := line - 1
		line = bytes.LastIndexByte(b[:end], '\n') + 1
		if line < end && b[line] != ' ' && b[line] != '\t' && b[line] != '#' && b[line] != '\r' {
			return bytes.HasPrefix(b[line:end], []byte("if __name__ =="))
		}
	}
	return false
}

// code looks for imports inside a line: by function, or after a colon or semicolon.
func (r *pythonReader) code(b []byte, hit int) {
	s := string(b[hit:lineEnd(b, hit)])
	switch {
	case strings.HasPrefix(s, "import_module("), strings.HasPrefix(s, "import__("):
		_, arg, _ := strings.Cut(s, "(")
		r.call(arg)
	case strings.HasPrefix(s, "import ") && hit >= 2 && (b[hit-2] == ':' || b[hit-2] == ';'):
		r.statement(s)
	case strings.HasPrefix(s, "import_string("):
		r.call(s[len("import_string("):])
	}
}

func stripComment(line []byte) []byte {
	if n := bytes.IndexByte(line, '#'); n >= 0 {
		line = line[:n]
	}
	return bytes.TrimRight(line, " \t\r")
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
	s = strings.Map(func(c rune) rune {
		if strings.ContainsRune("()\\\t", c) {
			return ' '
		}
		return c
	}, s)
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
	if r.buf != nil {
		r.read(r.buf)
	}
	out := append(r.first, r.found...)
	if r.dynamic {
		out = append(out, fact{tagDynamic, ""})
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
