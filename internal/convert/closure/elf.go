package closure

import (
	"maps"
	"slices"
	"strings"
)

// elf follows what an ELF file names: loader, libraries, paths.
func (s *selector) elf(p string, facts []fact) {
	if facts[0].text == "static" || slices.ContainsFunc(facts, func(f fact) bool { return f.text == "static" && f.tag == tagELF }) {
		if s.why[p] != "" && !s.runtimes["static"] {
			s.runtimes["static"] = true
			s.system("opened by static programs")
		}
		return
	}
	var run []string
	for _, f := range facts {
		switch f.tag {
		case tagInterpreter:
			if at, ok := s.take(f.text, "loader of "+p); ok {
				s.libc(at)
			} else {
				s.notice("%s: its loader %s is not in the image; see --include", p, f.text)
			}
		case tagRunPath:
			for e := range strings.SplitSeq(f.text, ":") {
				e = strings.NewReplacer("$ORIGIN", parent(p), "${ORIGIN}", parent(p), "$LIB", "lib/x86_64-linux-gnu", "${LIB}", "lib/x86_64-linux-gnu", "$PLATFORM", "x86_64").Replace(e)
				if strings.HasPrefix(e, "/") {
					run = append(run, e)
				}
			}
		}
	}
	for _, f := range facts {
		switch f.tag {
		case tagNeeded:
			if !s.library(f.text, p, run) && !strings.HasPrefix(f.text, "ld-linux") && !strings.HasPrefix(f.text, "libc.musl-") {
				s.lacking = append(s.lacking, lackingLibrary{p, f.text})
			}
		case tagName:
			s.library(f.text, p, run)
		case tagPath:
			s.take(f.text, "named in "+p)
		}
	}
	switch b := base(p); {
	case strings.HasPrefix(b, "libcrypto.so"):
		s.openssl(facts)
	case strings.HasPrefix(b, "libnode.so") || b == "node" || b == "nodejs":
		s.folderFiles("/usr/share/nodejs/undici", "part of Node.js", 200, nil)
		s.folderFiles("/usr/share/nodejs/acorn", "part of Node.js", 50, nil)
		s.folderFiles("/usr/share/nodejs/acorn-walk", "part of Node.js", 50, nil)
		s.folderFiles("/usr/share/nodejs/cjs-module-lexer", "part of Node.js", 50, nil)
	}
}

// library finds a library as the loader does and takes each form of it.
func (s *selector) library(name, of string, run []string) bool {
	why := "library of " + of
	if strings.Contains(name, "/") {
		_, ok := s.take(under("/", name), why)
		return ok
	}
	folders := slices.Clone(run)
	for d := range strings.FieldsFuncSeq(s.env["LD_LIBRARY_PATH"], func(r rune) bool { return r == ':' || r == ';' }) {
		folders = append(folders, under(clean(s.q.WorkDir), d))
	}
	folders = append(folders, s.libraryFolders()...)
	folders = append(folders, parent(of)) // runtimes load their own libraries from beside them
	found := false
	for _, d := range folders {
		for _, h := range [...]string{"glibc-hwcaps/x86-64-v4", "glibc-hwcaps/x86-64-v3", "glibc-hwcaps/x86-64-v2"} {
			if _, ok := s.take(d+"/"+h+"/"+name, why); ok {
				found = true
			}
		}
		if _, ok := s.take(d+"/"+name, why); ok {
			return true
		}
	}
	return found
}

// libraryFolders are those of the loader's configuration, then its defaults.
func (s *selector) libraryFolders() []string {
	if s.libs != nil {
		return s.libs
	}
	var add func(conf string, depth int)
	add = func(conf string, depth int) {
		for line := range strings.SplitSeq(s.content(conf), "\n") {
			line, _, _ = strings.Cut(line, "#")
			line = strings.TrimSpace(line)
			rest, isInclude := strings.CutPrefix(line, "include ")
			switch {
			case isInclude && depth < 4:
				pattern := under(parent(conf), strings.TrimSpace(rest))
				for _, n := range s.t.Names(parent(pattern)) {
					if c := join(parent(pattern), n); Match(pattern, c) {
						add(c, depth+1)
					}
				}
			case strings.HasPrefix(line, "/"):
				s.libs = append(s.libs, clean(line))
			}
		}
	}
	add("/etc/ld.so.conf", 0)
	for _, conf := range []string{"/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path"} {
		for d := range strings.FieldsFuncSeq(s.content(conf), func(r rune) bool { return r == ':' || r == '\n' }) {
			s.libs = append(s.libs, clean(d))
		}
	}
	s.libs = append(s.libs, []string{
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
		"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib",
	}...)
	return s.libs
}

// libc takes what the C library opens by itself.
func (s *selector) libc(loader string) {
	name := "elf-glibc"
	if strings.Contains(base(loader), "musl") {
		name = "elf-musl"
	}
	if s.runtimes[name] {
		return
	}
	s.runtimes[name] = true
	why := "opened by the C library"
	s.system(why)
	for _, l := range []string{"libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libresolv.so.2"} {
		s.library(l, loader, nil)
	}
	for word := range strings.FieldsSeq(s.content("/etc/nsswitch.conf")) {
		if moduleName(word) {
			s.library("libnss_"+word+".so.2", loader, nil)
		}
	}
	locales := map[string]bool{"C.utf8": true, "C.UTF-8": true}
	for _, k := range []string{"LANG", "LC_ALL", "LC_CTYPE"} {
		if v := s.env[k]; v != "" && !strings.Contains(v, "/") {
			locales[v] = true
			if lang, set, ok := strings.Cut(v, "."); ok {
				locales[lang+"."+strings.ToLower(strings.ReplaceAll(set, "-", ""))] = true
			}
		}
	}
	for _, l := range slices.Sorted(maps.Keys(locales)) {
		s.folderFiles("/usr/lib/locale/"+l, "locale", 40, nil)
	}
	for _, d := range s.libraryFolders() {
		s.take(d+"/gconv/gconv-modules", why)
		s.take(d+"/gconv/gconv-modules.cache", why)
	}
}

// system takes what C libraries, and the runtimes that do without one, open by themselves. Names
// of hosts and of name servers are not among them: the container's engine makes those files.
func (s *selector) system(why string) {
	files := []string{
		"/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/host.conf",
		"/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/networks", "/etc/localtime", "/etc/timezone",
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem",
		"/usr/share/zoneinfo/UTC", "/etc/ld-musl-x86_64.path", "/usr/lib/locale/locale-archive", "/usr/share/locale/locale.alias",
	}
	if tz := strings.TrimPrefix(s.env["TZ"], ":"); tz != "" {
		files = append(files, under("/usr/share/zoneinfo", tz))
	}
	for _, f := range files {
		s.take(f, why)
	}
}

// openssl takes configuration, providers and certificates below the folders that libcrypto names.
func (s *selector) openssl(facts []fact) {
	for _, f := range facts {
		if f.tag != tagPath {
			continue
		}
		switch b := base(f.text); {
		case b == "ssl" || strings.HasPrefix(b, "ssl1") || b == "tls":
			s.take(f.text+"/openssl.cnf", "OpenSSL")
			s.take(f.text+"/cert.pem", "OpenSSL")
		case b == "ossl-modules" || strings.HasPrefix(b, "engines-"):
			s.folderFiles(f.text, "OpenSSL", 20, nil)
		}
	}
	s.take(s.env["SSL_CERT_FILE"], "SSL_CERT_FILE")
	s.take(s.env["OPENSSL_CONF"], "OPENSSL_CONF")
}

// lackingLibrary is a library that its user's own search does not find.
type lackingLibrary struct{ user, soname string }

// tellLacking notices the libraries that nothing chosen could serve: one that is loaded by its
// path from somewhere else serves all who name it.
func (s *selector) tellLacking() {
	have := map[string]bool{}
	for p := range s.why {
		have[base(p)] = true
	}
	for l := range s.links {
		have[base(l)] = true
	}
	for _, l := range s.lacking {
		if !have[l.soname] {
			s.notice("%s: library %s is not found in the image; see --include", l.user, l.soname)
		}
	}
}
