package closure

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// jsReader finds the specifiers that a JavaScript source requires or imports.
type jsReader struct {
	script  bool
	first   []byte
	carry   []byte
	seen    int
	dynamic bool
	data    bool
	found   map[string]bool
}

func newScriptReader(script bool) *jsReader {
	return &jsReader{script: script, found: map[string]bool{}}
}

const jsSeam = 300

func (r *jsReader) write(p []byte) bool {
	if r.script && len(r.first) < 256 {
		r.first = append(r.first, p[:min(len(p), 256-len(r.first))]...)
	}
	r.seen += len(p)
	if len(r.carry) > 0 {
		r.scan(slices.Concat(r.carry, p[:min(len(p), jsSeam)]))
	}
	r.scan(p)
	if len(p) >= jsSeam {
		r.carry = append(r.carry[:0], p[len(p)-jsSeam:]...)
	} else {
		r.carry = append(r.carry, p...)
		r.carry = r.carry[max(0, len(r.carry)-jsSeam):]
	}
	return r.seen < maxText
}

// scan looks before each quote: require("x"), import("x"), import "x", from "x".
func (r *jsReader) scan(p []byte) {
	for _, word := range [...]string{"require", "import", "from", "__dirname", "import.meta.url", "bindings("} {
		for i := 0; ; {
			n := bytes.Index(p[i:], []byte(word))
			if n < 0 {
				break
			}
			i += n + len(word)
			switch word {
			case "__dirname", "import.meta.url", "bindings(":
				r.data = true
			default:
				r.specifier(word, p[i:])
			}
			if r.data && word[0] == '_' {
				break
			}
		}
	}
}

func (r *jsReader) specifier(word string, p []byte) {
	p = bytes.TrimLeft(p[:min(len(p), jsSeam)], " \t")
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
	var out []fact
	if r.script {
		out = interpreterFact(r.first)
	}
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
