package nvgpu

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxRIM is the longest RIM file that is read, in bytes; NVIDIA's have some 26 KiB.
	MaxRIM        = 96 << 10
	maxXMLDepth   = 12
	maxXMLNodes   = 1024 // elements and pieces of text
	maxAttributes = 96   // of one element
	maxXMLAttrs   = 2048 // of all
	maxXMLName    = 128
)

// element is a node of an XML document in the subset that RIM files are written in: no
// document type, entity, processing instruction, comment or CDATA section, no
// character reference, no attribute of the prefix xml, no tab, line end or quotation
// mark in an attribute, no ">" in text. What means different things to different
// readers, and what has more than one canonical form, is not in it.
type element struct {
	parent   *element
	prefix   string // as written
	local    string
	space    string // the namespace that the prefix stands for
	decls    []decl // namespaces declared here
	attrs    []attr
	children []node
}

// node is an element or, where that is nil, text.
type node struct {
	elem *element
	text string
}

type decl struct{ prefix, uri string }

type attr struct {
	prefix, local, value string
	space                string // empty without a prefix
}

// lookup returns the namespace of a prefix in scope.
func (e *element) lookup(prefix string) (uri string, ok bool) {
	for ; e != nil; e = e.parent {
		for _, d := range e.decls {
			if d.prefix == prefix {
				return d.uri, true
			}
		}
	}
	return "", prefix == ""
}

// attr returns the value of an attribute.
func (e *element) attr(space, local string) (string, bool) {
	for _, a := range e.attrs {
		if a.space == space && a.local == local {
			return a.value, true
		}
	}
	return "", false
}

// find returns the child elements of a name.
func (e *element) find(space, local string) []*element {
	var out []*element
	for _, c := range e.children {
		if c.elem != nil && c.elem.space == space && c.elem.local == local {
			out = append(out, c.elem)
		}
	}
	return out
}

// xmlParser reads a document. Strings of the tree share its memory.
type xmlParser struct {
	rest  string
	nodes int
	attrs int
}

// parseXML reads a whole document.
func parseXML(raw []byte) (*element, error) {
	if len(raw) > MaxRIM {
		return nil, fmt.Errorf("%d bytes, at most %d are read", len(raw), MaxRIM)
	}
	if !utf8.Valid(raw) || bytes.ContainsFunc(raw, func(r rune) bool {
		return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff || r == 0xfeff
	}) {
		return nil, errors.New("not XML in UTF-8")
	}
	// Line ends are one character, whatever they were (XML 1.0, section 2.11).
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	if after, ok := strings.CutPrefix(text, "<?xml "); ok {
		head, body, ok := strings.Cut(after, "?>")
		if !ok || len(head) > 64 || strings.ContainsAny(head, "<&") || strings.Contains(head, "encoding") && !strings.Contains(strings.ToUpper(head), "UTF-8") {
			return nil, errors.New("an XML declaration that is not understood")
		}
		text = body
	}
	p := &xmlParser{rest: strings.TrimLeft(text, xmlSpace)}
	root, err := p.element(nil, 1)
	if err != nil {
		return nil, err
	}
	if strings.TrimLeft(p.rest, xmlSpace) != "" {
		return nil, fmt.Errorf("%.20q after the document's end", p.rest)
	}
	return root, nil
}

const xmlSpace = " \t\n"

func (p *xmlParser) count() error {
	if p.nodes++; p.nodes > maxXMLNodes {
		return fmt.Errorf("more than %d nodes", maxXMLNodes)
	}
	return nil
}

// element reads a start tag, what is in it, and its end tag.
func (p *xmlParser) element(parent *element, depth int) (*element, error) {
	if depth > maxXMLDepth {
		return nil, fmt.Errorf("elements are nested deeper than %d", maxXMLDepth)
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(p.rest, "<") {
		return nil, fmt.Errorf("wanted an element at %.20q", p.rest)
	}
	p.rest = p.rest[1:]
	e := &element{parent: parent}
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	e.prefix, e.local = name.prefix, name.local
	open, err := p.startTag(e)
	if err != nil || !open {
		return e, err
	}
	for {
		text, _, ok := strings.Cut(p.rest, "<")
		if !ok {
			return nil, fmt.Errorf("element %.40q has no end", e.local)
		}
		if err := p.text(e, text); err != nil {
			return nil, err
		}
		if after, end := strings.CutPrefix(p.rest, "</"); end {
			p.rest = after
			return e, p.endTag(e)
		}
		child, err := p.element(e, depth+1)
		if err != nil {
			return nil, err
		}
		e.children = append(e.children, node{elem: child})
	}
}

func (p *xmlParser) text(e *element, text string) error {
	if text == "" {
		return nil
	}
	if strings.ContainsAny(text, "&>") {
		return errors.New("text with a character that RIM files do not need")
	}
	p.rest = p.rest[len(text):]
	e.children = append(e.children, node{text: text})
	return p.count()
}

func (p *xmlParser) endTag(e *element) error {
	name, err := p.name()
	if err != nil {
		return err
	}
	p.rest = strings.TrimLeft(p.rest, xmlSpace)
	if name.prefix != e.prefix || name.local != e.local || !strings.HasPrefix(p.rest, ">") {
		return fmt.Errorf("element %q ends with %.20q", e.local, name.local+p.rest)
	}
	p.rest = p.rest[1:]
	return nil
}

// name reads a qualified name of ASCII letters, digits, dots, hyphens and underscores.
func (p *xmlParser) name() (name struct{ prefix, local string }, err error) {
	n := 0
	for n < len(p.rest) && n <= maxXMLName && isNameByte(p.rest[n]) {
		n++
	}
	full := p.rest[:n]
	p.rest = p.rest[n:]
	var colon bool
	if name.prefix, name.local, colon = strings.Cut(full, ":"); !colon {
		name.prefix, name.local = "", full
	}
	if n > maxXMLName || !isName(name.local) || colon && !isName(name.prefix) {
		return name, fmt.Errorf("%.40q is no name at %.20q", full, p.rest)
	}
	return name, nil
}

func isNameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' || c == ':'
}

func isName(s string) bool {
	return s != "" && !strings.Contains(s, ":") && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z' || s[0] == '_')
}

// startTag reads the attributes of a start tag and resolves its namespaces. It reports
// whether the element has an end tag.
func (p *xmlParser) startTag(e *element) (open bool, err error) {
	for {
		rest := strings.TrimLeft(p.rest, xmlSpace)
		spaced := len(rest) < len(p.rest)
		p.rest = rest
		switch {
		case strings.HasPrefix(rest, "/>"):
			p.rest = rest[2:]
			return false, e.resolve()
		case strings.HasPrefix(rest, ">"):
			p.rest = rest[1:]
			return true, e.resolve()
		case !spaced:
			return false, fmt.Errorf("wanted white space at %.20q", rest)
		case len(e.attrs)+len(e.decls) == maxAttributes || p.attrs == maxXMLAttrs:
			return false, fmt.Errorf("more than %d attributes of an element, or %d of all", maxAttributes, maxXMLAttrs)
		}
		if err := p.attribute(e); err != nil {
			return false, err
		}
	}
}

func (p *xmlParser) attribute(e *element) error {
	p.attrs++
	name, err := p.name()
	if err != nil {
		return err
	}
	p.rest = strings.TrimLeft(p.rest, xmlSpace)
	after, ok := strings.CutPrefix(p.rest, "=")
	after = strings.TrimLeft(after, xmlSpace)
	if !ok || after == "" || after[0] != '"' && after[0] != '\'' {
		return fmt.Errorf("attribute %q has no value", name.local)
	}
	value, rest, ok := strings.Cut(after[1:], after[:1])
	if !ok || strings.ContainsAny(value, "<&\"\t\n") {
		return fmt.Errorf("attribute %q has a value with characters that RIM files do not need", name.local)
	}
	p.rest = rest
	switch {
	case name.prefix == "xml" || name.local == "xmlns" && name.prefix != "":
		return fmt.Errorf("attribute %s:%s is not understood", name.prefix, name.local)
	case name.prefix == "" && name.local == "xmlns":
		return e.declare(decl{"", value})
	case name.prefix == "xmlns":
		if value == "" || name.local == "xml" {
			return fmt.Errorf("prefix %q cannot be declared so", name.local)
		}
		return e.declare(decl{name.local, value})
	}
	e.attrs = append(e.attrs, attr{prefix: name.prefix, local: name.local, value: value})
	return nil
}

func (e *element) declare(d decl) error {
	for _, other := range e.decls {
		if other.prefix == d.prefix {
			return fmt.Errorf("prefix %q is declared twice", d.prefix)
		}
	}
	e.decls = append(e.decls, d)
	return nil
}

// resolve finds the namespaces of the element and its attributes; no attribute may be twice.
func (e *element) resolve() error {
	var ok bool
	if e.space, ok = e.lookup(e.prefix); !ok || e.prefix == "xmlns" {
		return fmt.Errorf("prefix %q is not declared", e.prefix)
	}
	for i := range e.attrs {
		a := &e.attrs[i]
		if a.prefix != "" {
			if a.space, ok = e.lookup(a.prefix); !ok {
				return fmt.Errorf("prefix %q is not declared", a.prefix)
			}
		}
		for _, other := range e.attrs[:i] {
			if other.space == a.space && other.local == a.local {
				return fmt.Errorf("attribute %q twice", a.local)
			}
		}
	}
	return nil
}
