package gramine

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"hitoku.dev/measure/sgx/gramine"
)

const hostInterpreter = "ld-linux-x86-64.so.2"

// versions are those whose measurement and manifest are known.
var versions = []string{"1.7", "1.8", "1.9"}

// recognise takes what is needed out of a source.
func (v *view) recognise(stated string) (*Runtime, error) {
	lib, err := v.folder()
	if err != nil {
		return nil, err
	}
	r := &Runtime{libc: map[LibC][]File{}}
	if r.Version, err = v.version(stated); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		from, to string
		mode     uint32
		types    []elf.Type
	}{
		{lib + "/sgx/loader", LoaderPath, 0o555, []elf.Type{elf.ET_DYN, elf.ET_EXEC}},
		{lib + "/sgx/libpal.so", PALPath, 0o444, []elf.Type{elf.ET_DYN}},
		{lib + "/libsysdb.so", LibOSPath, 0o444, []elf.Type{elf.ET_DYN}},
	} {
		_, n, err := v.find(f.from)
		if err != nil {
			return nil, fmt.Errorf("%w; the source has Gramine in %s, but not for SGX: wanted a build with -Dsgx=enabled", err, lib)
		}
		if err := checkELF(f.from, n.data, f.types...); err != nil {
			return nil, err
		}
		r.common = append(r.common, File{Path: f.to, Mode: f.mode, Data: n.data})
	}
	if _, err := gramine.ReadLoader(bytes.NewReader(r.PAL()), int64(len(r.PAL()))); err != nil {
		return nil, fmt.Errorf("%s/sgx/libpal.so: %w", lib, err)
	}
	licences, err := v.licences(lib)
	if err != nil {
		return nil, err
	}
	r.common = append(r.common, licences...)
	for _, l := range []LibC{Glibc, Musl} {
		if r.libc[l], err = v.libraries(lib+"/runtime/"+l.String(), LibCDir(l)); err != nil {
			return nil, err
		}
	}
	if r.host, err = v.hostLibraries(); err != nil {
		return nil, err
	}
	r.Digest = r.digest()
	return r, nil
}

// folder is the one that Gramine's build calls pkglibdir: PREFIX/LIBDIR/gramine.
func (v *view) folder() (string, error) {
	var found []string
	for _, p := range v.named("/gramine/libsysdb.so") {
		found = append(found, path.Dir(p))
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", errors.New("no Gramine in it: wanted a folder gramine with libsysdb.so and sgx/libpal.so, as in /usr/lib/x86_64-linux-gnu/gramine of Debian's package or PREFIX/lib/x86_64-linux-gnu/gramine of a build")
	}
	return "", fmt.Errorf("more than one Gramine in it: %s; name a source with one", strings.Join(found, ", "))
}

var (
	initVersion     = regexp.MustCompile(`(?m)^__version__ = '([^']*)'`)
	metadataVersion = regexp.MustCompile(`(?m)^Version: (\S+)`)
)

// version reads the marks that Gramine's build leaves: its Python module's __version__ and the
// module's metadata (python/graminelibos/__init__.py, graminelibos.dist-info/METADATA.in).
func (v *view) version(stated string) (string, error) {
	seen := map[string][]string{}
	for suffix, pattern := range map[string]*regexp.Regexp{"/graminelibos/__init__.py": initVersion, "/METADATA": metadataVersion} {
		for _, p := range v.named(suffix) {
			if m := pattern.FindSubmatch(v.nodes[p].data); m != nil {
				mark := release(string(m[1]))
				seen[mark] = append(seen[mark], p)
			}
		}
	}
	var marks []string
	for m := range seen {
		marks = append(marks, m)
	}
	slices.Sort(marks)
	supported := strings.Join(versions, ", ")
	switch {
	case len(marks) > 1:
		return "", fmt.Errorf("two versions of Gramine in it: %s; name a source with one", describeMarks(marks, seen))
	case len(marks) == 1 && stated != "" && release(stated) != marks[0]:
		return "", fmt.Errorf("%s: its version is %s, --gramine-version says %s", seen[marks[0]][0], marks[0], stated)
	case len(marks) == 0 && stated == "":
		return "", fmt.Errorf("nothing in it says which version of Gramine it is (wanted __version__ in graminelibos/__init__.py): say it with --gramine-version, one of %s", supported)
	case len(marks) == 0:
		marks = []string{release(stated)}
	}
	if !slices.Contains(versions, marks[0]) {
		return "", fmt.Errorf("it is Gramine %s; the measurement of %s is known, of others not: name another source", marks[0], supported)
	}
	return marks[0], nil
}

// release is a version's first two numbers: "1.8" of "1.8", "1.8.1" and "1.8-1". What is not
// released ("1.9post~UNRELEASED") stays as it is.
func release(v string) string {
	m := regexp.MustCompile(`^(\d+\.\d+)(\.\d+|-\d+)*$`).FindStringSubmatch(v)
	if m == nil {
		return v
	}
	return m[1]
}

func describeMarks(marks []string, seen map[string][]string) string {
	var out []string
	for _, m := range marks {
		slices.Sort(seen[m])
		out = append(out, m+" by "+seen[m][0])
	}
	return strings.Join(out, ", ")
}

// licences takes the texts that must travel with the files.
func (v *view) licences(lib string) ([]File, error) {
	var out []File
	taken := map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(v.nodes)) {
		n, base := v.nodes[p], path.Base(p)
		if n.link != "" || !(strings.HasPrefix(p, "/usr/share/doc/gramine") || strings.Contains(p, "/gramine") && isLicence(base)) || len(n.data) == 0 {
			continue
		}
		name := base
		if dir := path.Base(path.Dir(p)); strings.HasPrefix(dir, "gramine") && dir != "gramine" {
			name = dir + "-" + base
		}
		text := name + "\x00" + string(n.data)
		if taken[text] {
			continue
		}
		if taken[name] {
			name = strings.ReplaceAll(p[1:], "/", "-") // another text of the same name
		}
		if taken[name] {
			return nil, fmt.Errorf("%s: another licence text would have the name %s too", p, name)
		}
		taken[text], taken[name] = true, true
		out = append(out, File{Path: licencesPath + "/" + name, Mode: 0o444, Data: n.data})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("it has no licence text of Gramine, which must travel with its files: wanted usr/share/doc/gramine/copyright, as Debian's package has it, or %s/LICENSE.txt: copy LICENSE.txt of Gramine's source there", lib)
	}
	sortFiles(out)
	return out, nil
}

// libraries takes a folder of shared libraries. A second name of the same content becomes a link.
func (v *view) libraries(from, to string) ([]File, error) {
	var out []File
	first := map[[32]byte]string{}
	names := v.below(from)
	slices.SortStableFunc(names, func(a, b string) int { return len(path.Base(b)) - len(path.Base(a)) }) // sonames before their short forms
	for _, p := range names {
		if !isLibrary(path.Base(p)) {
			continue
		}
		_, n, err := v.find(p)
		if errors.Is(err, errNotThere) {
			continue // a link that leads nowhere
		}
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(n.data, []byte(elf.ELFMAG)) {
			continue // a linker script
		}
		if err := checkELF(p, n.data, elf.ET_DYN); err != nil {
			return nil, err
		}
		f := File{Path: to + "/" + path.Base(p), Mode: 0o555, Data: n.data}
		sum := sha256.Sum256(n.data)
		if at, ok := first[sum]; ok {
			if strings.HasPrefix(path.Base(at), path.Base(p)) {
				continue // libm.so beside libm.so.6 is for linkers
			}
			f = File{Path: f.Path, Mode: 0o777, Link: path.Base(at)}
		} else {
			first[sum] = f.Path
		}
		out = append(out, f)
	}
	sortFiles(out)
	return out, nil
}

// hostLibraries takes what the loader outside the enclave needs; nil where the source lacks one.
func (v *view) hostLibraries() ([]File, error) {
	folders := []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
	var out []File
	for _, want := range []struct{ name, to string }{
		{hostInterpreter, hostLoader}, {"libc.so.6", HostDir + "/libc.so.6"}, {"libprotobuf-c.so.1", hostProtobuf},
	} {
		found := false
		for _, dir := range folders {
			at, n, err := v.find(dir + "/" + want.name)
			if err != nil || strings.Contains(at, "/gramine/") {
				continue
			}
			if err := checkELF(at, n.data, elf.ET_DYN); err != nil {
				return nil, err
			}
			out = append(out, File{Path: want.to, Mode: 0o555, Data: n.data})
			found = true
			break
		}
		if !found {
			return nil, nil
		}
	}
	sortFiles(out)
	return out, nil
}
