package nvgpu

import (
	"cmp"
	"slices"
)

// canonical writes an element in canonical form (Canonical XML 1.1, which for the
// subset of [element] is Canonical XML 1.0 as well), leaving out one element in it.
// Where apex has a parent, every namespace in scope is written with it, as for a part
// of a document.
func canonical(apex, without *element) []byte {
	return appendCanonical(nil, apex, without, nil)
}

// appendCanonical writes e. The namespaces that are rendered around it are in scope.
func appendCanonical(out []byte, e, without *element, scope []decl) []byte {
	decls := e.decls
	if scope == nil { // the apex inherits those of its ancestors
		decls = nil
		for a := e; a != nil; a = a.parent {
			for _, d := range a.decls {
				if !slices.ContainsFunc(decls, func(o decl) bool { return o.prefix == d.prefix }) {
					decls = append(decls, d)
				}
			}
		}
		scope = []decl{{}} // no default namespace
	}
	name := e.local
	if e.prefix != "" {
		name = e.prefix + ":" + e.local
	}
	out = append(append(out, '<'), name...)
	decls = slices.SortedFunc(slices.Values(decls), func(a, b decl) int { return cmp.Compare(a.prefix, b.prefix) })
	inner := slices.Clip(scope)
	for _, d := range decls {
		if rendered(scope, d) {
			continue
		}
		inner = append(inner, d)
		out = append(out, " xmlns"...)
		if d.prefix != "" {
			out = append(append(out, ':'), d.prefix...)
		}
		out = appendValue(out, d.uri)
	}
	attrs := slices.SortedFunc(slices.Values(e.attrs), func(a, b attr) int {
		return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(a.local, b.local))
	})
	for _, a := range attrs {
		out = append(out, ' ')
		if a.prefix != "" {
			out = append(append(out, a.prefix...), ':')
		}
		out = appendValue(append(out, a.local...), a.value)
	}
	out = append(out, '>')
	for _, c := range e.children {
		switch {
		case c.elem == nil:
			out = append(out, c.text...)
		case c.elem != without:
			out = appendCanonical(out, c.elem, without, inner)
		}
	}
	return append(append(append(out, "</"...), name...), '>')
}

// rendered reports whether the nearest rendering of the prefix has the same namespace.
func rendered(scope []decl, d decl) bool {
	for _, o := range slices.Backward(scope) {
		if o.prefix == d.prefix {
			return o.uri == d.uri
		}
	}
	return false
}

// appendValue writes ="value"; the subset has no character that needs an escape.
func appendValue(out []byte, value string) []byte {
	return append(append(append(out, `="`...), value...), '"')
}
