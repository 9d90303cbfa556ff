package gramine

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Encode writes the manifest in one form: keys in the order of [Manifest], LF, no comments,
// only what Gramine's own parser reads. What is zero is left out, but for fs.mounts. Texts have
// to be UTF-8 without zero bytes. Parse(m.Encode()) gives m.
func (m *Manifest) Encode() []byte {
	var w writer
	w.table("libos", &m.LibOS)
	w.table("loader", &m.Loader)
	w.env(m.Loader.Env)
	w.table("fs", &m.FS)
	w.table("sgx", &m.SGX)
	w.table("sys", &m.Sys)
	for _, s := range []struct {
		table, key string
		set        bool
		value      any
	}{
		{"sys.stack", "size", m.Sys.StackSize != "", m.Sys.StackSize},
		{"sys.brk", "max_size", m.Sys.BrkMaxSize != "", m.Sys.BrkMaxSize},
		{"sys.fds", "limit", m.Sys.FDLimit != 0, m.Sys.FDLimit},
	} {
		if s.set {
			w.head(s.table)
			fmt.Fprintf(&w, "%s = %s\n", s.key, value(reflect.ValueOf(s.value)))
		}
	}
	return []byte(w.String())
}

// writer writes TOML tables one after the other.
type writer struct{ strings.Builder }

func (w *writer) head(name string) {
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	fmt.Fprintf(w, "[%s]\n", name)
}

// table writes the members of a structure: first its values, then the tables in it.
func (w *writer) table(name string, of any) {
	v := reflect.ValueOf(of).Elem()
	type member struct {
		key string
		v   reflect.Value
	}
	var values, tables []member
	for i := range v.NumField() {
		key, f := v.Type().Field(i).Tag.Get("toml"), v.Field(i)
		if key == "-" || key == "env" || f.IsZero() && key != "mounts" {
			continue
		}
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[TrustedFile]() {
			tables = append(tables, member{key, f})
			continue
		}
		values = append(values, member{key, f})
	}
	if len(values) > 0 {
		w.head(name)
	}
	for _, m := range values {
		fmt.Fprintf(w, "%s = %s\n", key(m.key), value(m.v))
	}
	for _, m := range tables {
		w.table(name+"."+m.key, m.v.Addr().Interface())
	}
}

func (w *writer) env(vars map[string]EnvVar) {
	if len(vars) == 0 {
		return
	}
	w.head("loader.env")
	for _, n := range slices.Sorted(maps.Keys(vars)) {
		if v := vars[n]; v.Passthrough {
			fmt.Fprintf(w, "%s = { passthrough = true }\n", key(n))
		} else {
			fmt.Fprintf(w, "%s = %s\n", key(n), text(v.Value))
		}
	}
}

// value is the TOML form of a member: lists of tables one a line, tables inline.
func value(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return value(v.Elem())
	case reflect.String:
		return text(v.String())
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Slice:
		if v.Len() == 0 {
			return "[]"
		}
		var b strings.Builder
		b.WriteString("[\n")
		for i := range v.Len() {
			b.WriteString("    " + value(v.Index(i)) + ",\n")
		}
		return b.String() + "]"
	case reflect.Struct:
		var items []string
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				items = append(items, key(v.Type().Field(i).Tag.Get("toml"))+" = "+value(f))
			}
		}
		return "{ " + strings.Join(items, ", ") + " }"
	case reflect.Map:
		var items []string
		for _, k := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			items = append(items, key(k.String())+" = "+value(v.MapIndex(k)))
		}
		return "{ " + strings.Join(items, ", ") + " }"
	}
	return fmt.Sprint(v.Interface())
}

// key is a bare key where TOML allows one, else a quoted one.
func key(s string) string {
	if s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == "" {
		return s
	}
	return text(s)
}

// text is a basic string of TOML 1.0.
func text(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
