package sgxplan

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

// badPath says why a path cannot be trusted or mounted.
func badPath(name string) string {
	why := untext(name)
	switch {
	case why != "":
		return why
	case strings.ContainsFunc(name, unicode.IsControl):
		return "it has a control character"
	case len(name) > maxPath:
		return fmt.Sprintf("%d bytes, Gramine takes 4096", len(name))
	case !strings.HasPrefix(name, "/") || path.Clean(name) != name:
		return "it is no absolute path in its shortest form"
	}
	return ""
}

// engineFiles are made by the container's engine, whatever the image has there. Gramine lists no
// folder in which a trusted file has another content. It makes two of them itself
// (sys.enable_extra_runtime_domain_names_conf); hosts comes from Input.Hosts.
var engineFiles = []string{"/etc/hostname", hostsFile, "/etc/resolv.conf"}

const hostsFile = "/etc/hosts"

// trust fills sgx.trusted_files, one entry for each file whatever links lead to it.
func (p *planner) trust(m *gramine.Manifest) {
	files := make([]gramine.TrustedFile, 0, len(p.in.Files)+1)
	odd := 0
	for i := range p.in.Files {
		f := &p.in.Files[i]
		if why := badPath(f.Path); why != "" {
			if p.covered(f.Path) == gramine.MountTmpfs {
				continue // the archive takes any name
			}
			if f.Asked {
				p.refuse("sgx.trusted_files", strconv.Quote(f.Path), why, "give the file another name in the image, or leave it out with --exclude")
			} else if odd++; odd <= 10 {
				p.note("file %q is left out: %s", f.Path, why)
			}
			continue
		}
		if slices.Contains(engineFiles, f.Path) {
			if f.Asked {
				p.refuse("sgx.trusted_files", f.Path, "the container's engine puts a file of its own there", "--allowed-file "+f.Path+" uses that, unprotected")
			}
			continue
		}
		real, ok := p.resolve(f.Path)
		if !ok || p.hidden(real) || p.hidden(f.Path) {
			if f.Asked && (p.covered(real) == gramine.MountEncrypted || p.covered(f.Path) == gramine.MountEncrypted) {
				p.refuse("sgx.trusted_files", f.Path, "an encrypted folder covers it", "leave --encrypted for that folder away, or the file with --exclude")
			}
			continue // what is in memory is the archive's business
		}
		if !workload.IsHash(f.SHA256) {
			p.refuse("sgx.trusted_files", f.Path, fmt.Sprintf("hash %q, wanted 64 lower-case hexadecimal digits", f.SHA256), "")
			continue
		}
		files = append(files, gramine.TrustedFile{URI: "file:" + real, SHA256: f.SHA256})
	}
	if h := p.in.Hosts; h.Path != "" {
		files = append(files, gramine.TrustedFile{URI: "file:" + h.Path, SHA256: h.SHA256})
	}
	if odd > 10 {
		p.note("%d more files with such names are left out", odd-10)
	}
	if k := p.in.Packed; k != nil && !slices.ContainsFunc(files, func(f gramine.TrustedFile) bool { return f.URI == "file:"+k.Path }) {
		files = append(files, gramine.TrustedFile{URI: "file:" + k.Path, SHA256: k.SHA256})
	}
	m.SGX.TrustedFiles = sortFiles(files, p.refuse)
	if !slices.ContainsFunc(files, func(f gramine.TrustedFile) bool { return f.URI == "file:"+workload.GuestPath }) {
		p.refuse("libos.entrypoint", workload.GuestPath, "the guest is not among the trusted files", "")
	}
	for _, a := range p.in.Options.Allowed {
		if why := badPath(strings.TrimSuffix(a, "/")); why != "" {
			p.refuse("sgx.allowed_files", strconv.Quote(a), why, "--allowed-file PATH")
			continue
		}
		m.SGX.AllowedFiles = append(m.SGX.AllowedFiles, allowedURI(a))
	}
	slices.Sort(m.SGX.AllowedFiles)
	m.SGX.AllowedFiles = slices.Compact(m.SGX.AllowedFiles)
}

func allowedURI(name string) string {
	if workload.Within(path.Clean(name), "/dev") {
		return "dev:" + name
	}
	return "file:" + name
}

// sortFiles puts files in the order of their URIs, each once.
func sortFiles(files []gramine.TrustedFile, refuse func(key, seen, why, option string)) []gramine.TrustedFile {
	slices.SortStableFunc(files, func(a, b gramine.TrustedFile) int { return strings.Compare(a.URI, b.URI) })
	return slices.CompactFunc(files, func(a, b gramine.TrustedFile) bool {
		if a.URI == b.URI && a.SHA256 != b.SHA256 {
			refuse("sgx.trusted_files", a.URI, "it has two hashes, "+a.SHA256+" and "+b.SHA256, "")
		}
		return a.URI == b.URI
	})
}

// Trust adds files to a manifest, such as the workload manifest, which is made from the plan.
func Trust(m *gramine.Manifest, files ...TrustedFile) error {
	p := &planner{}
	for _, f := range files {
		if why := badPath(f.Path); why != "" || !workload.IsHash(f.SHA256) {
			p.refuse("sgx.trusted_files", strconv.Quote(f.Path), "wanted a clean path and a hash: "+why, "")
			continue
		}
		m.SGX.TrustedFiles = append(m.SGX.TrustedFiles, gramine.TrustedFile{URI: "file:" + f.Path, SHA256: f.SHA256})
	}
	m.SGX.TrustedFiles = sortFiles(m.SGX.TrustedFiles, p.refuse)
	return p.err()
}
