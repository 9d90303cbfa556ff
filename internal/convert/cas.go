package convert

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/measure/workload"
)

// systemFolder takes the CA certificates that have no path of their own: where
// Debian and Alpine keep what an administrator adds.
const systemFolder = "/usr/local/share/ca-certificates"

// addCAs puts CA certificates into the image and, where asked for, appends them
// to the file in which the distribution keeps all that it trusts.
func addCAs(ctx context.Context, a *adder, cas []CA) ([]workload.CAFile, error) {
	out := []workload.CAFile{}
	var system []string
	for _, c := range cas {
		text, err := parseCertificates(c.PEM)
		if err != nil {
			return nil, requestError("CA certificate %s: %w", c.Path, err)
		}
		path := cleanPath(c.Path)
		if c.Path == "" {
			sum := sha256.Sum256([]byte(text))
			path = fmt.Sprintf("%s/hitoku-%x.crt", systemFolder, sum[:8])
		}
		if _, err := a.place(path, regular([]byte(text), 0o444), []byte(text)); err != nil {
			return nil, requestError("CA certificate: %w", err)
		}
		out = append(out, workload.CAFile{Path: path, Certificate: text, System: c.System})
		if c.System {
			system = append(system, text)
		}
	}
	slices.SortFunc(out, func(x, y workload.CAFile) int { return strings.Compare(x.Path, y.Path) })
	if len(system) == 0 {
		return out, nil
	}
	slices.Sort(system) // the order of the options has no meaning
	return out, appendTrust(ctx, a, strings.Join(slices.Compact(system), ""))
}

func appendTrust(ctx context.Context, a *adder, more string) error {
	seen := map[string]bool{}
	for _, store := range trustStores {
		id, err := a.fs.lookup(store)
		if err != nil {
			continue
		}
		real := a.fs.path(id)
		if seen[real] || a.fs.nodes[id].ino.kind != kindFile {
			continue
		}
		seen[real] = true
		old, err := a.fs.content(ctx, real)
		if err != nil {
			return err
		}
		content := slices.Clone(old)
		if len(content) > 0 && content[len(content)-1] != '\n' {
			content = append(content, '\n')
		}
		content = append(content, more...)
		was := a.fs.nodes[id].ino
		ino := regular(content, was.mode)
		ino.uid, ino.gid = was.uid, was.gid
		if _, err := a.place(real, ino, content); err != nil {
			return requestError("trust store: %w", err)
		}
	}
	if len(seen) == 0 {
		a.note.add("the image has no trust store that is known here; the CA certificates are in it, but nothing trusts them by itself")
	}
	return nil
}
