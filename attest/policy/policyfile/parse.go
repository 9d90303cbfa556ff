package policyfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
)

// maxFile is the longest policy file in bytes, maxList the longest list in it, maxText the longest word.
const (
	maxFile = 64 << 10
	maxList = 1024
	maxText = 4096
)

// Parse reads a policy file. Errors name the line, the member and what it wants;
// all of them are reported at once.
func Parse(text []byte) (*policy.Policy, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("policy: %d bytes, at most %d allowed", len(text), maxFile)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("policy: the file is empty")
		}
		return nil, fmt.Errorf("policy: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("policy: a second document after the first; wanted one")
	}
	p := &policy.Policy{Closed: true}
	r := new(reader)
	r.policy(doc.Content[0], p)
	if len(r.errs) > 0 {
		return nil, fmt.Errorf("policy: %w", errors.Join(r.errs...))
	}
	return p, nil
}

// reader collects what is wrong with a file.
type reader struct{ errs []error }

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("line %d: "+format, append([]any{n.Line}, args...)...))
}

// members calls the reader of each member of a mapping; names without a reader
// are refused, and so are repeated ones.
func (r *reader) members(where string, n *yaml.Node, known map[string]func(n *yaml.Node)) {
	r.each(where, n, func(name string, key, value *yaml.Node) {
		read := known[name]
		if read == nil {
			r.fail(key, "%sunknown member %q", where, name)
			return
		}
		read(value)
	})
}

// each visits the members of a mapping whose names are free.
func (r *reader) each(where string, n *yaml.Node, visit func(name string, key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode || !plain(n) {
		r.fail(n, "%swanted members with values", where)
		return
	}
	if len(n.Content) > 2*maxList {
		r.fail(n, "%s%d members, at most %d allowed", where, len(n.Content)/2, maxList)
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Anchor != "" || key.Tag != "!!str" {
			r.fail(key, "%sa member's name must be a word", where)
			continue
		}
		if line, twice := seen[key.Value]; twice {
			r.fail(key, "%smember %q was already given in line %d", where, key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		visit(key.Value, key, value)
	}
}

// plain refuses anchors and explicit tags, which would let a file say one thing and mean another.
func plain(n *yaml.Node) bool { return n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 }

func (r *reader) scalar(member string, n *yaml.Node, kind, wanted string) (string, bool) {
	if n.Kind != yaml.ScalarNode || !plain(n) || kind != "" && n.Tag != kind {
		r.fail(n, "%s: wanted %s", member, wanted)
		return "", false
	}
	return n.Value, true
}

func (r *reader) integer(member string, n *yaml.Node, most uint64) uint64 {
	s, ok := r.scalar(member, n, "!!int", "a whole number")
	if !ok {
		return 0
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v > most || s != strconv.FormatUint(v, 10) {
		r.fail(n, "%s: %.32q is no decimal number from 0 to %d", member, s, most)
		return 0
	}
	return v
}

func (r *reader) boolean(member string, n *yaml.Node) bool {
	s, ok := r.scalar(member, n, "!!bool", "true or false")
	if ok && s != "true" && s != "false" {
		r.fail(n, "%s: wanted true or false", member)
	}
	return s == "true"
}

// items calls one for each entry of a list, or for the single value in its place.
func (r *reader) items(member string, n *yaml.Node, one func(n *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		one(n)
		return
	}
	if !plain(n) || len(n.Content) == 0 || len(n.Content) > maxList {
		r.fail(n, "%s: wanted a list of 1 to %d values", member, maxList)
		return
	}
	for _, item := range n.Content {
		one(item)
	}
}

func (r *reader) words(member string, n *yaml.Node, form *regexp.Regexp, wanted string) (out []string) {
	r.items(member, n, func(n *yaml.Node) {
		s, ok := r.scalar(member, n, "", wanted)
		switch {
		case !ok:
		case len(s) > maxText || !form.MatchString(s):
			r.fail(n, "%s: %.64q is not %s", member, s, wanted)
		case slices.Contains(out, s):
			r.fail(n, "%s: %.64q stands there twice", member, s)
		default:
			out = append(out, s)
		}
	})
	return out
}

// digests are hexadecimal values of 1 to most bytes.
func (r *reader) digests(member string, n *yaml.Node, most int) (out [][]byte) {
	r.items(member, n, func(n *yaml.Node) {
		s, ok := r.scalar(member, n, "", "hexadecimal digits")
		if !ok {
			return
		}
		b, err := hex.DecodeString(s)
		if err != nil || len(b) == 0 || len(b) > most {
			r.fail(n, "%s: %.32q is not 1 to %d bytes in hexadecimal digits", member, s, most)
			return
		}
		if slices.ContainsFunc(out, func(o []byte) bool { return bytes.Equal(o, b) }) {
			r.fail(n, "%s: %.32q stands there twice", member, s)
			return
		}
		out = append(out, b)
	})
	return out
}

func (r *reader) digest(member string, n *yaml.Node, most int) []byte {
	if list := r.digests(member, n, most); len(list) == 1 {
		return list[0]
	} else if len(list) > 1 {
		r.fail(n, "%s: wanted one value", member)
	}
	return nil
}

// duration reads Go's form ("36h", "1h30m") and whole days ("30d").
func (r *reader) duration(member string, n *yaml.Node) time.Duration {
	const wanted = "a duration like 30d, 36h or 10m"
	s, ok := r.scalar(member, n, "!!str", wanted)
	if !ok {
		return 0
	}
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		if v, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(v) * 24 * time.Hour
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d
	}
	r.fail(n, "%s: %.32q is not %s", member, s, wanted)
	return 0
}

func (r *reader) date(member string, n *yaml.Node) time.Time {
	s, ok := r.scalar(member, n, "", "a date like 2025-05-14")
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		r.fail(n, "%s: %.32q is no date like 2025-05-14", member, s)
	}
	return t
}

var (
	word     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	register = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	hexWord  = regexp.MustCompile(`^[0-9a-f]{2,256}$`)
	printed  = regexp.MustCompile(`^[\x20-\x7e]+$`)
)

// registers reads values by the names of registers.
func (r *reader) registers(member string, n *yaml.Node) map[string][][]byte {
	out := make(map[string][][]byte)
	r.each(member+": ", n, func(name string, key, value *yaml.Node) {
		if !register.MatchString(name) {
			r.fail(key, "%s: %.64q is no name of a register; they are lower case, like rtmr0 or host_data", member, name)
			return
		}
		out[name] = r.digests(member+"."+name, value, 64)
	})
	return out
}

func (r *reader) facts(member string, n *yaml.Node) map[string][]string {
	out := make(map[string][]string)
	r.each(member+": ", n, func(name string, key, value *yaml.Node) {
		if !register.MatchString(name) {
			r.fail(key, "%s: %.64q is no name of a fact; they are lower case, like secure_boot", member, name)
			return
		}
		out[name] = r.words(member+"."+name, value, printed, "printable text")
	})
	return out
}

func (r *reader) svns(member string, n *yaml.Node) map[string]uint64 {
	out := make(map[string]uint64)
	r.each(member+": ", n, func(name string, key, value *yaml.Node) {
		if !register.MatchString(name) {
			r.fail(key, "%s: %.64q is no name of a part, like microcode", member, name)
			return
		}
		out[name] = r.integer(member+"."+name, value, 1<<62)
	})
	return out
}

func kinds() []attest.TEE {
	return []attest.TEE{attest.SGX, attest.TDX, attest.SEVSNP, attest.Nitro, attest.TPM, attest.NVIDIAGPU, "nvidia-switch"}
}
