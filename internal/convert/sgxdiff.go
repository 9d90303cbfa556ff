package convert

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/measure/sgx/gramine"
)

// diffEnclaves compares what two enclaves are measured from: the keys of Gramine's manifests,
// the trusted files, and the loader page by page.
func diffEnclaves(a, b *Inspection) ([]Difference, error) {
	left, err := enclaveKeys(a.enclave)
	if err != nil {
		return nil, err
	}
	right, err := enclaveKeys(b.enclave)
	if err != nil {
		return nil, err
	}
	return append(diffMaps(left, right), diffLoaders(a.loader, b.loader)...), nil
}

// enclaveKeys flattens a Gramine manifest. Files are named by their paths, since lists by
// place would differ from the first new one on.
func enclaveKeys(m *gramine.Manifest) (map[string]string, error) {
	if m == nil {
		return map[string]string{}, nil
	}
	tree := map[string]any{}
	if _, err := toml.Decode(string(m.Encode()), &tree); err != nil {
		return nil, err
	}
	if s, ok := tree["sgx"].(map[string]any); ok {
		delete(s, "trusted_files")
	}
	if s, ok := tree["fs"].(map[string]any); ok {
		delete(s, "mounts")
	}
	out := map[string]string{}
	flatten(out, "", tree)
	for _, f := range m.SGX.TrustedFiles {
		out["trusted file "+strings.TrimPrefix(f.URI, "file:")] = "sha256:" + f.SHA256
	}
	for _, x := range m.FS.Mounts {
		out["mount "+x.Path] = strings.Join(slices.DeleteFunc([]string{x.Type, x.URI, x.KeyName}, func(s string) bool { return s == "" }), " ")
	}
	return out, nil
}

// diffMaps lists the names whose values differ, sorted.
func diffMaps(left, right map[string]string) []Difference {
	names := map[string]bool{}
	for n := range left {
		names[n] = true
	}
	for n := range right {
		names[n] = true
	}
	var out []Difference
	for _, n := range sortedSet(names) {
		if x, y := orMissing(left, n), orMissing(right, n); x != y {
			out = append(out, Difference{n, x, y})
		}
	}
	return out
}

const pageSize = 4096

// diffLoaders names the first pages in which two loaders differ.
func diffLoaders(a, b []byte) []Difference {
	if bytes.Equal(a, b) {
		return nil
	}
	if len(a) != len(b) {
		return []Difference{{"loader " + libos.PALPath, describeBytes(a), describeBytes(b)}}
	}
	var out []Difference
	more := 0
	for at := 0; at < len(a); at += pageSize {
		x, y := a[at:min(at+pageSize, len(a))], b[at:min(at+pageSize, len(b))]
		if bytes.Equal(x, y) {
			continue
		}
		if len(out) == maxDifferences {
			more++
			continue
		}
		out = append(out, Difference{fmt.Sprintf("loader %s, page at file offset %#x", libos.PALPath, at), describeBytes(x), describeBytes(y)})
	}
	if more > 0 {
		out = append(out, Difference{"loader " + libos.PALPath, fmt.Sprintf("%d more pages", more), "differ"})
	}
	return out
}

func describeBytes(b []byte) string {
	return fmt.Sprintf("%d bytes, sha256:%s", len(b), trustedBytes("", b).SHA256)
}
