package convert

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"hitoku.dev/internal/image"
	"hitoku.dev/measure/workload"
)

// Difference is one thing that two confidential images have not in common, and that
// makes their measurements differ.
type Difference struct {
	What string `json:"what"` // a member of the manifest, a file, or a part of the enclave
	A    string `json:"a"`    // as text; "missing" for what only the other one has
	B    string `json:"b"`
}

// Comparison says why two confidential images have the measurements that they have.
type Comparison struct {
	A           *Inspection  `json:"a"`
	B           *Inspection  `json:"b"`
	Same        bool         `json:"same"` // the measurements are equal
	Differences []Difference `json:"differences"`
}

const missing = "missing"

// Diff explains what makes the measurements of two confidential images differ. Like
// Inspect it reads their added layers alone.
func Diff(ctx context.Context, refA, refB string, o image.Options) (*Comparison, error) {
	a, err := Inspect(ctx, refA, o)
	if err != nil {
		return nil, err
	}
	b, err := Inspect(ctx, refB, o)
	if err != nil {
		return nil, err
	}
	c := &Comparison{A: a, B: b, Same: a.Measurement == b.Measurement, Differences: []Difference{}}
	members, err := diffMembers(a.Options.Manifest, b.Options.Manifest)
	if err != nil {
		return nil, err
	}
	c.Differences = append(c.Differences, members...)
	c.Differences = append(c.Differences, diffFiles(a.Options.Manifest.Files, b.Options.Manifest.Files)...)
	if a.enclave != nil || b.enclave != nil {
		parts, err := diffEnclaves(a, b)
		if err != nil {
			return nil, err
		}
		c.Differences = append(c.Differences, parts...)
	}
	if !c.Same && len(c.Differences) == 0 {
		return nil, fmt.Errorf("%s and %s: measurements %s and %s, but no difference was found in what is measured; one of the images was changed after its conversion: see hitoku inspect", refA, refB, a.Measurement, b.Measurement)
	}
	return c, nil
}

// diffMembers compares two manifests without their files, member by member as JSON has them.
func diffMembers(a, b *workload.Manifest) ([]Difference, error) {
	left, err := members(a)
	if err != nil {
		return nil, err
	}
	right, err := members(b)
	if err != nil {
		return nil, err
	}
	return diffMaps(left, right), nil
}

func orMissing(m map[string]string, name string) string {
	if v, ok := m[name]; ok {
		return v
	}
	return missing
}

// members flattens a manifest: objects into dotted names, list items by their place.
func members(m *workload.Manifest) (map[string]string, error) {
	header := *m
	header.Files = nil
	raw, err := json.Marshal(&header)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	out := map[string]string{}
	flatten(out, "", tree)
	delete(out, "files")
	return out, nil
}

func flatten(out map[string]string, name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			flatten(out, strings.TrimPrefix(name+"."+k, "."), item)
		}
	case []any:
		for i, item := range v {
			flatten(out, fmt.Sprintf("%s[%d]", name, i), item)
		}
	case string:
		out[name] = fmt.Sprintf("%q", v)
	default:
		out[name] = fmt.Sprint(v)
	}
}

// diffFiles compares two lists of files, both sorted by path.
func diffFiles(a, b []workload.File) []Difference {
	var out []Difference
	pairFiles(a, func(yield func(*workload.File) bool) {
		for i := range b {
			if !yield(&b[i]) {
				return
			}
		}
	}, func(x, y *workload.File) {
		switch {
		case y == nil:
			out = append(out, Difference{"file " + x.Name(), describeFile(x), missing})
		case x == nil:
			out = append(out, Difference{"file " + y.Name(), missing, describeFile(y)})
		case difference(x, y) != "":
			out = append(out, Difference{"file " + x.Name(), describeFile(x), describeFile(y)})
		}
	})
	return out
}

// pairFiles goes through two lists of files, both sorted by path, and hands over what has the
// same path; nil stands for what one list lacks.
func pairFiles(a []workload.File, b iter.Seq[*workload.File], each func(x, y *workload.File)) {
	for y := range b {
		for len(a) > 0 && a[0].Name() < y.Name() {
			each(&a[0], nil)
			a = a[1:]
		}
		if len(a) == 0 || a[0].Name() != y.Name() {
			each(nil, y)
			continue
		}
		each(&a[0], y)
		a = a[1:]
	}
	for i := range a {
		each(&a[i], nil)
	}
}

func describeFile(f *workload.File) string {
	s := fmt.Sprintf("%s %04o %d:%d", f.Type, f.Mode, f.UID, f.GID)
	switch f.Type {
	case workload.TypeFile:
		s += fmt.Sprintf(", %d bytes, sha256:%s", f.Size, f.SHA256)
	case workload.TypeSymlink, workload.TypeHardlink:
		s += " to " + f.Target()
	case workload.TypeChar, workload.TypeBlock:
		s += fmt.Sprintf(", device %d:%d", f.Rdev>>32, f.Rdev&0xffffffff)
	}
	for _, k := range slices.Sorted(maps.Keys(f.Xattrs)) {
		s += ", " + k + "=" + f.Xattrs[k]
	}
	return s
}
