package closure

import (
	"slices"
	"strings"
)

// java takes the home of a Java runtime, and the archives that its arguments name.
func (s *selector) java(at string, args []string) {
	home := parent(parent(at))
	if base(home) == "jre" {
		home = parent(home)
	}
	s.runtimes["java"] = true
	s.folderFiles(home, "Java runtime", 3000, func(p string, dir bool) bool {
		if dir {
			return slices.Contains([]string{"jmods", "include", "man", "legal", "demo", "sample", "docs"}, base(p))
		}
		return hasEnding(p, "src.zip", "ct.sym", ".diz")
	})
	class := func(list string) {
		for e := range strings.SplitSeq(list, ":") {
			p := under(clean(s.q.WorkDir), e)
			switch {
			case strings.HasSuffix(e, "*"):
				s.folderFiles(parent(p), "class path", MaxFolder, func(p string, dir bool) bool { return dir || !hasEnding(p, ".jar", ".JAR") })
			case s.isDir(p):
				s.folderFiles(p, "class path", MaxFolder, nil)
			default:
				s.take(p, "class path")
			}
		}
	}
	if v := s.env["CLASSPATH"]; v != "" {
		class(v)
	}
	for i, a := range args {
		if (a == "-cp" || a == "-classpath" || a == "--class-path" || a == "-p" || a == "--module-path" || a == "-jar") && i+1 < len(args) {
			class(args[i+1])
		}
	}
	for word := range strings.FieldsSeq(s.env["JAVA_TOOL_OPTIONS"] + " " + strings.Join(args, " ")) {
		if v, ok := strings.CutPrefix(word, "-javaagent:"); ok {
			v, _, _ = strings.Cut(v, "=")
			class(v)
		}
	}
}

// jar follows the Class-Path of an archive's manifest.
func (s *selector) jar(p string) {
	for _, f := range s.facts(p) {
		if f.tag == tagClassPath {
			q := under(parent(p), strings.TrimPrefix(f.text, "file:"))
			if s.isDir(q) {
				s.folderFiles(q, "Class-Path of "+p, MaxFolder, nil)
			} else {
				s.take(q, "Class-Path of "+p)
			}
		}
	}
}

// pack takes the folders that well-known servers and interpreters read.
func (s *selector) pack(name, p string, args []string) {
	why := "read by " + name
	all := func(dirs ...string) {
		for _, d := range dirs {
			s.folderFiles(d, why, MaxFolder, nil)
		}
	}
	for _, a := range args { // folders given as arguments
		if strings.HasPrefix(a, "/") && s.isDir(a) {
			s.ownFolder(a, "argument of "+name)
		}
	}
	switch {
	case name == "nginx" || name == "openresty":
		s.runtimes["nginx"] = true
		all("/etc/nginx", "/usr/share/nginx/html", "/usr/share/nginx/modules-available", "/usr/lib/nginx/modules", "/var/www/html", "/var/www")
	case name == "postgres" || name == "pg_ctl" || name == "initdb":
		s.runtimes["postgres"] = true
		root := parent(parent(mustReal(s, p)))
		all(root+"/lib", "/etc/postgresql", "/etc/postgresql-common")
		if base(parent(root)) == "postgresql" {
			all("/usr/share/postgresql/" + base(root))
		} else {
			all(root + "/share/postgresql")
		}
		for _, n := range s.t.Names(root + "/bin") {
			s.take(root+"/bin/"+n, why)
		}
	case strings.HasPrefix(name, "redis-"):
		s.runtimes["redis"] = true
		all("/etc/redis")
	case strings.HasPrefix(name, "ruby"):
		s.runtimes["ruby"] = true
		all("/usr/lib/ruby", "/usr/local/lib/ruby", "/usr/share/rubygems-integration", "/var/lib/gems", "/usr/local/bundle", "/usr/lib/x86_64-linux-gnu/ruby")
	case strings.HasPrefix(name, "php"):
		s.runtimes["php"] = true
		all("/etc/php", "/usr/lib/php", "/usr/local/lib/php", "/usr/local/etc/php", "/usr/share/php", "/var/www")
	case strings.HasPrefix(name, "perl"):
		s.runtimes["perl"] = true
		s.perl()
	}
}

func (s *selector) perl() {
	for _, d := range []string{"/usr/lib/x86_64-linux-gnu/perl-base", "/etc/perl", "/usr/share/perl5"} {
		s.folderFiles(d, "read by perl", MaxFolder, nil)
	}
	for _, d := range []string{"/usr/lib/x86_64-linux-gnu", "/usr/share"} {
		for _, n := range s.t.Names(d + "/perl") {
			s.folderFiles(d+"/perl/"+n, "read by perl", MaxFolder, nil)
		}
	}
}

func mustReal(s *selector, p string) string {
	at, _, ok := s.real(p)
	if !ok {
		return p
	}
	return at
}
