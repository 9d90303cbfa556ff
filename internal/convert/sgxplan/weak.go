package sgxplan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hitoku.dev/measure/sgx/gramine"
)

// unsupported is the word that lets findings pass which would stop the program.
const unsupported = "unsupported"

type weakness struct{ key, value, why, word string }

// weaknesses refuses what weakens the enclave's protection and was not named by the user.
func (p *planner) weaknesses(m *gramine.Manifest) {
	allow := p.in.Options.Allow
	used := map[string]bool{unsupported: true}
	for _, w := range weak(m, p.in.Options.Allowed) {
		if !slices.Contains(allow, w.word) {
			p.refuse(w.key, w.value, w.why, "--allow "+w.word+" accepts it")
			continue
		}
		used[w.word] = true
		p.report.Weak = append(p.report.Weak, fmt.Sprintf("%s = %s: %s", w.key, w.value, w.why))
	}
	for _, word := range allow {
		switch {
		case word != "debug" && word != unsupported && !strings.HasPrefix(word, "insecure:"):
			p.refuse("--allow", strconv.Quote(word), "no such word", "debug, unsupported, or insecure: and a key of the manifest")
		case !used[word]:
			p.note("--allow %s: nothing needs it", word)
		}
	}
}

// weak lists what weakens protection, by key. Allowed are the files that the user named as
// options, one by one.
func weak(m *gramine.Manifest, allowed []string) []weakness {
	var list []weakness
	for _, w := range m.Weaknesses() {
		switch w.Key {
		case gramine.KeyAllowedFiles: // judged below, each
		case "sgx.debug":
			list = append(list, weakness{w.Key, w.Value, w.Why, "debug"})
		default:
			list = append(list, weakness{w.Key, w.Value, w.Why, "insecure:" + w.Key})
		}
	}
	s := &m.SGX
	named := map[string]bool{}
	for _, a := range allowed {
		named[allowedURI(a)] = true
	}
	for _, uri := range s.AllowedFiles {
		if why := allowedWhy(uri, s.TrustedFiles); why != "" {
			list = append(list, weakness{gramine.KeyAllowedFiles, uri, why, "insecure:" + gramine.KeyAllowedFiles})
		} else if !named[uri] {
			list = append(list, weakness{gramine.KeyAllowedFiles, uri, "the host reads and forges it", "insecure:" + gramine.KeyAllowedFiles})
		}
	}
	slices.SortStableFunc(list, func(a, b weakness) int { return strings.Compare(a.key, b.key) })
	return list
}

// allowedWhy says why an allowed file is more dangerous than data: allowed paths are compared
// by their beginning, and what lies in a program folder runs.
func allowedWhy(uri string, trusted []gramine.TrustedFile) string {
	prefix := strings.TrimSuffix(uri, "/")
	i, found := slices.BinarySearchFunc(trusted, prefix, func(f gramine.TrustedFile, u string) int { return strings.Compare(f.URI, u) })
	if found {
		return "it is a trusted file too, whose check would end"
	}
	if i < len(trusted) && strings.HasPrefix(trusted[i].URI, prefix+"/") || prefix == "file:" {
		return "trusted files lie below it"
	}
	name := strings.TrimPrefix(prefix, "file:")
	for part := range strings.SplitSeq(name, "/") {
		if part == "bin" || part == "sbin" || strings.HasPrefix(part, "lib") || part == "site-packages" || part == "node_modules" {
			return "it lies where programs and libraries are, and the host could replace them"
		}
	}
	if strings.HasSuffix(name, ".so") || strings.Contains(name, ".so.") || strings.HasSuffix(name, ".py") || strings.HasSuffix(name, ".jar") || strings.HasSuffix(name, ".js") || strings.HasSuffix(name, ".sh") {
		return "it is code, and the host could replace it"
	}
	return ""
}

// allowedFindings refuses findings that stop a program, unless the user says otherwise.
func (p *planner) allowedFindings() {
	if slices.Contains(p.in.Options.Allow, unsupported) {
		return
	}
	for _, f := range p.report.Findings {
		if strings.HasPrefix(f.Rule, cannot) {
			p.refuse("Gramine", f.File, f.Rule, f.Option)
		}
	}
}
