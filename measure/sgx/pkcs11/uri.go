package pkcs11

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a URI, in bytes. Labels of tokens have 32 bytes (PKCS #11 v2.40, section 3.2),
// descriptions of slots 64; pkcs11-tool takes ids of 100.
const (
	MaxURI         = 8192
	maxToken       = 32
	maxDescription = 64
	maxObject      = 255
	maxID          = 100
	maxModule      = 4096
	maxPIN         = 255
)

// Scheme begins every PKCS #11 URI.
const Scheme = "pkcs11:"

// URI names a private key in a token. Empty strings stand for attributes that are absent; no
// attribute that is there is empty.
type URI struct {
	Token           string // label
	SlotDescription string
	SlotID          string // decimal, 64 bits
	Object          string // label
	ID              string // bytes
	ModulePath      string // absolute
	ModuleName      string // library without "lib" and ending
	PINFile         string // absolute; the PIN is its first line
	PIN             string
}

// Parse reads a PKCS #11 URI, RFC 7512, section 2.3. It wants exactly one of token, slot-id and
// slot-description, at least one of object and id, exactly one of module-path and module-name,
// and at most one of pin-source and pin-value. Attributes that are given twice, and those that
// it does not know, are errors; errors never show a PIN.
func Parse(text string) (*URI, error) {
	rest, ok := strings.CutPrefix(text, Scheme)
	switch {
	case !ok:
		return nil, errors.New("PKCS #11 URI: wanted pkcs11: as its beginning")
	case len(text) > MaxURI:
		return nil, fmt.Errorf("PKCS #11 URI: %d bytes, wanted at most %d", len(text), MaxURI)
	}
	path, query, hasQuery := strings.Cut(rest, "?")
	u := &URI{}
	seen := map[string]bool{}
	if err := u.attributes(path, ";", seen); err != nil {
		return nil, fmt.Errorf("PKCS #11 URI: %w", err)
	}
	if hasQuery {
		if err := u.attributes(query, "&", seen); err != nil {
			return nil, fmt.Errorf("PKCS #11 URI: %w", err)
		}
	}
	if err := u.check(); err != nil {
		return nil, fmt.Errorf("PKCS #11 URI: %w", err)
	}
	return u, nil
}

// attribute is one that can be kept.
type attribute struct {
	separator string // before the next one: ";" in the path, "&" in the query
	limit     int    // bytes
	to        *string
	wrong     func(value string) string
}

func (u *URI) known(name string) (attribute, bool) {
	switch name {
	case "token":
		return attribute{";", maxToken, &u.Token, notText}, true
	case "slot-description":
		return attribute{";", maxDescription, &u.SlotDescription, notText}, true
	case "slot-id":
		return attribute{";", 20, &u.SlotID, notNumber}, true
	case "object":
		return attribute{";", maxObject, &u.Object, notText}, true
	case "id":
		return attribute{";", maxID, &u.ID, nil}, true
	case "type":
		return attribute{";", 16, new(string), notPrivate}, true
	case "module-path":
		return attribute{"&", maxModule, &u.ModulePath, notAbsolute}, true
	case "module-name":
		return attribute{"&", maxObject, &u.ModuleName, notName}, true
	case "pin-source":
		return attribute{"&", maxModule, &u.PINFile, notFile}, true
	case "pin-value":
		return attribute{"&", maxPIN, &u.PIN, notText}, true
	}
	return attribute{}, false
}

func (u *URI) attributes(part, separator string, seen map[string]bool) error {
	for item := range strings.SplitSeq(part, separator) {
		name, raw, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("an attribute without a value, wanted NAME=VALUE between %q", separator)
		}
		a, ok := u.known(name)
		switch {
		case !ok:
			return fmt.Errorf("attribute %q cannot be kept here; wanted token, slot-id or slot-description, object, id and type=private, then behind ? module-path or module-name, pin-source or pin-value", shown(name))
		case a.separator != separator:
			return fmt.Errorf("%s: wanted it %s the question mark", name, map[string]string{";": "before", "&": "behind"}[a.separator])
		case seen[name]:
			return fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		value, err := decode(raw, separator)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case value == "":
			return fmt.Errorf("%s is empty", name)
		case len(value) > a.limit:
			return fmt.Errorf("%s: %d bytes, wanted at most %d", name, len(value), a.limit)
		}
		if a.wrong != nil {
			if why := a.wrong(value); why != "" {
				return fmt.Errorf("%s: %s", name, why)
			}
		}
		*a.to = value
	}
	u.PINFile = strings.TrimPrefix(u.PINFile, "file:")
	return nil
}

func (u *URI) check() error {
	count := func(values ...string) (n int) {
		for _, v := range values {
			if v != "" {
				n++
			}
		}
		return n
	}
	switch {
	case count(u.Token, u.SlotID, u.SlotDescription) != 1:
		return errors.New("wanted one of token=LABEL, slot-id=NUMBER and slot-description=TEXT")
	case count(u.Object, u.ID) == 0:
		return errors.New("the key is not named: wanted object=LABEL, id=%01%02 or both")
	case count(u.ModulePath, u.ModuleName) != 1:
		return errors.New("wanted one of module-path=FILE, such as ?module-path=/usr/lib/softhsm/libsofthsm2.so, and module-name=NAME")
	case count(u.PINFile, u.PIN) > 1:
		return errors.New("wanted one of pin-source and pin-value")
	}
	return nil
}

// decode resolves %XX. Other bytes than those which RFC 7512 lets stand for themselves are errors.
func decode(raw, separator string) (string, error) {
	reserved := ":[]@!$'()*+,=&" // pk11-path-res-avail
	if separator == "&" {
		reserved = ":[]@!$'()*+,=/?|" // pk11-query-res-avail
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '%':
			if i+2 >= len(raw) {
				return "", errors.New("% without two hexadecimal digits behind it")
			}
			n, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
			if err != nil {
				return "", errors.New("% without two hexadecimal digits behind it")
			}
			out = append(out, byte(n))
			i += 2
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 || strings.IndexByte(reserved, c) >= 0:
			out = append(out, c)
		default:
			return "", fmt.Errorf("byte %#02x must be written %%%02X", c, c)
		}
	}
	return string(out), nil
}

// shown keeps what is no name of an attribute, and so may be part of a PIN, out of messages.
func shown(name string) string {
	plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") == ""
	if name == "" || len(name) > 24 || !plain {
		return "…"
	}
	return name
}

func notText(v string) string {
	if !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "wanted UTF-8 without control characters"
	}
	return ""
}

func notNumber(v string) string {
	if n, err := strconv.ParseUint(v, 10, 64); err != nil || strconv.FormatUint(n, 10) != v {
		return "wanted a decimal number"
	}
	return ""
}

func notPrivate(v string) string {
	if v != "private" {
		return fmt.Sprintf("%q, wanted private: it is the private key that signs", v)
	}
	return ""
}

func notAbsolute(v string) string {
	if why := notText(v); why != "" {
		return why
	}
	if !filepath.IsAbs(v) {
		return fmt.Sprintf("%q, wanted an absolute path", v)
	}
	return ""
}

func notName(v string) string {
	if strings.Trim(strings.ToLower(v), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || v[0] == '.' {
		return fmt.Sprintf("%q, wanted a library's name without folder, lib and .so", v)
	}
	return ""
}

func notFile(v string) string {
	if strings.HasPrefix(v, "|") {
		return "commands are not run, wanted file:/PATH"
	}
	file := strings.TrimPrefix(v, "file:")
	if strings.HasPrefix(file, "//") && !strings.HasPrefix(file, "///") {
		return fmt.Sprintf("%q, wanted a file of this machine: file:/PATH", v)
	}
	return notAbsolute(file)
}
