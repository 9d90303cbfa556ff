package closure

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// jsReader finds the specifiers that a JavaScript source requires or imports.
type jsReader struct {
	source
	script  bool
	first   []fact // the interpreter
	dynamic bool
	data    bool
	found   map[string]bool
}

func newScriptReader(size int64, script bool) *jsReader {
	return &jsReader{source: source{size: size}, script: script, found: map[string]bool{}}
}

func (r *jsReader) write(p []byte) bool {
	if r.whole(p) {
		r.read(p)
		return false
	}
	return r.source.write(p)
}

const jsReach = 300 // bytes after a word in which a specifier may stand

// read looks behind require("x"), import("x"), import "x", from "x".
func (r *jsReader) read(b []byte) {
	if r.script {
		r.first = interpreterFact(b)
	}
	each(b, "require", r.specifier)
	module := false
	each(b, "import", func(word string, p []byte) {
		module = true
		if bytes.HasPrefix(p, []byte(".meta")) {
			r.data = true
			return
		}
		r.specifier(word, p)
	})
	if module || bytes.Contains(b, []byte("export ")) || bytes.Contains(b, []byte("export{")) {
		each(b, "from", r.specifier)
	}
	if bytes.Contains(b, []byte("__dirname")) || r.found["bindings"] {
		r.data = true
	}
}

// each calls take with what follows each place of a word.
func each(b []byte, word string, take func(word string, p []byte)) {
	for {
		n := bytes.Index(b, []byte(word))
		if n < 0 {
			return
		}
		b = b[n+len(word):]
		take(word, b)
	}
}

func (r *jsReader) specifier(word string, p []byte) {
	p = bytes.TrimLeft(p[:min(len(p), jsReach)], " \t")
	p = bytes.TrimPrefix(p, []byte(".resolve"))
	called := len(p) > 0 && p[0] == '('
	if called && word != "from" {
		p = bytes.TrimLeft(p[1:], " \t\r\n")
	}
	if len(p) == 0 {
		return
	}
	if q := p[0]; q == '"' || q == '\'' || q == '`' {
		n := bytes.IndexByte(p[1:], q)
		if n > 0 && n < 256 && len(r.found) < maxImports {
			if s := string(p[1 : 1+n]); !strings.ContainsAny(s, "\n\x00 $") {
				r.found[s] = true
			} else if called {
				r.dynamic = true
			}
		}
		return
	}
	if called && word != "from" && p[0] != ')' {
		r.dynamic = true
	}
}

func (r *jsReader) facts() []fact {
	if r.buf != nil {
		r.read(r.buf)
	}
	out := r.first
	names := make([]string, 0, len(r.found))
	for s := range r.found {
		names = append(names, s)
	}
	slices.Sort(names)
	for _, s := range names {
		out = append(out, fact{tagImport, s})
	}
	if r.dynamic {
		out = append(out, fact{tagDynamic, ""})
	}
	if r.data {
		out = append(out, fact{tagData, ""})
	}
	return out
}

// packageReader reads main, exports, imports, type and the start script of a package.json.
type packageReader struct {
	size int64
	buf  []byte
}

const maxPackage = 256 << 10

func (r *packageReader) write(p []byte) bool {
	if r.size > maxPackage {
		return false
	}
	r.buf = append(r.buf, p[:min(len(p), maxPackage-len(r.buf))]...)
	return true
}

func (r *packageReader) facts() []fact {
	var doc struct {
		Main    any                        `json:"main"`
		Module  any                        `json:"module"`
		Exports any                        `json:"exports"`
		Imports any                        `json:"imports"`
		Scripts map[string]json.RawMessage `json:"scripts"`
	}
	if json.Unmarshal(r.buf, &doc) != nil {
		return nil
	}
	var out []fact
	if s, ok := doc.Main.(string); ok && s != "" {
		out = append(out, fact{tagMain, s})
	}
	out = append(out, exportFacts(".", doc.Exports, 0)...)
	out = append(out, exportFacts("#", doc.Imports, 0)...)
	var start string
	if json.Unmarshal(doc.Scripts["start"], &start) == nil && start != "" {
		out = append(out, fact{tagContent, start})
	}
	return out
}

// exportFacts lists all targets that a key of exports can have, whatever the conditions.
func exportFacts(key string, v any, depth int) []fact {
	if depth > 8 {
		return nil
	}
	var out []fact
	switch v := v.(type) {
	case string:
		return []fact{{tagExport, key + " " + v}}
	case []any:
		for _, e := range v {
			out = append(out, exportFacts(key, e, depth+1)...)
		}
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			next := key
			if strings.HasPrefix(k, ".") || strings.HasPrefix(k, "#") {
				next = k
			}
			if k != "types" {
				out = append(out, exportFacts(next, v[k], depth+1)...)
			}
		}
	}
	return out
}
