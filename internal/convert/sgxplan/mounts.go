package sgxplan

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

const (
	maxLinks     = 40  // followed for one path, as Linux does
	maxEncrypted = 512 // bytes of a path in an encrypted mount
	maxPath      = 4096
)

// alwaysMemory are folders that get enclave memory in every image.
func alwaysMemory() []string { return []string{"/run", "/tmp", "/var/tmp"} }

// mount fills fs: memory and encrypted folders, and an alias for each link to a folder.
func (p *planner) mount(m *gramine.Manifest) {
	p.links = map[string]string{}
	for _, l := range p.in.DirLinks {
		p.links[path.Clean(l.Path)] = l.Target
	}
	m.FS.Root = &gramine.Mount{Type: gramine.MountChroot, URI: "file:/"}
	mounts := map[string]gramine.Mount{}
	p.encrypted(mounts)
	p.memory(mounts)
	for at, mount := range mounts {
		p.mounts[at] = mount.Type
	}
	p.aliases(mounts)
	if h := p.in.Hosts.Path; h != "" && !slices.Contains(p.in.Options.Allowed, hostsFile) {
		mounts[hostsFile] = gramine.Mount{Type: gramine.MountChroot, Path: hostsFile, URI: "file:" + h}
	}
	for _, at := range sortedKeys(mounts) { // parents before what lies in them
		m.FS.Mounts = append(m.FS.Mounts, mounts[at])
	}
	p.section(m)
}

// mountable judges a folder and gives all paths under which programs may reach it.
func (p *planner) mountable(dir, option string) []string {
	clean := path.Clean(dir)
	why := untext(dir)
	switch {
	case why != "":
	case !strings.HasPrefix(dir, "/") || clean == "/":
		why = "wanted an absolute path other than /"
	case workload.Within(clean, workload.Dir):
		why = "it belongs to the conversion"
	case clean != "/dev/shm" && slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, func(o string) bool { return workload.Within(clean, o) }):
		why = "Gramine makes it itself"
	case len(clean) > maxPath:
		why = "longer than 4096 bytes"
	default:
		real, ok := p.resolve(clean)
		if ok && real != clean && real != "/" {
			if clean != "/var/run" { // every distribution has that one
				p.note("%s is %s by a link: under Gramine the two are folders of their own; let the program use one name", clean, real)
			}
			return []string{clean, real}
		}
		return []string{clean}
	}
	p.refuse("fs.mounts", strconv.Quote(dir), why, option)
	return nil
}

func (p *planner) encrypted(mounts map[string]gramine.Mount) {
	keys := map[string]string{}
	for _, f := range p.in.Folders {
		if f.Mode == workload.FolderEncrypted && !slices.Contains(alwaysMemory(), f.Path) {
			keys[f.Path] = ""
		}
	}
	for _, e := range p.in.Options.Encrypted {
		at := path.Clean(e.Path)
		if old := keys[at]; old != "" && e.Key != "" && old != e.Key {
			p.refuse("fs.mounts", at, "it is given two keys, "+old+" and "+e.Key, "--encrypted PATH=KEY once for each path")
		}
		if keys[at] == "" {
			keys[at] = e.Key
		}
	}
	for _, at := range sortedKeys(keys) {
		name, ok := keyName(keys[at])
		if !ok {
			p.refuse("fs.mounts.key_name", strconv.Quote(keys[at]), "wanted sealing-mrenclave, sealing-mrsigner, or at most 64 letters, digits, '_', '-' and '.' that begin with a letter or digit", "--encrypted "+at+"=KEY")
			continue
		}
		if keys[at] == "" {
			p.note("%s is sealed to this enclave's measurement: the next version cannot read it; --encrypted %s=sealing-mrsigner lets the same signer's versions do so", at, at)
		}
		if len(at) > maxEncrypted {
			p.refuse("fs.mounts", at, "paths in encrypted folders have at most 512 bytes", "--encrypted PATH")
			continue
		}
		paths := p.mountable(at, "--encrypted PATH")
		for _, to := range paths { // one storage: the path of the host is bound into each file
			mounts[to] = gramine.Mount{Type: gramine.MountEncrypted, Path: to, URI: "file:" + paths[len(paths)-1], KeyName: name}
		}
	}
}

func keyName(key string) (string, bool) {
	switch key {
	case "", "sealing-mrenclave", workload.KeyMREnclave:
		return workload.KeyMREnclave, true
	case "sealing-mrsigner", workload.KeyMRSigner:
		return workload.KeyMRSigner, true
	}
	return key, workload.IsKeyName(key)
}

func (p *planner) memory(mounts map[string]gramine.Mount) {
	volumes := map[string]bool{}
	if p.in.Config != nil {
		for v := range p.in.Config.Volumes {
			volumes[path.Clean(v)] = true
		}
	}
	dirs := slices.Concat(alwaysMemory(), p.in.PackedFolders)
	for _, f := range p.in.Folders {
		dirs = append(dirs, f.Path)
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if _, ok := mounts[path.Clean(dir)]; ok {
			continue
		}
		for _, at := range p.mountable(dir, "--rw PATH") {
			if _, ok := mounts[at]; !ok {
				mounts[at] = gramine.Mount{Type: gramine.MountTmpfs, Path: at}
			}
		}
		if volumes[dir] {
			p.note("%s is a volume: it is in enclave memory, for one process, and gone at its end; --encrypted %s keeps it", dir, dir)
		}
	}
}

// aliases mounts the target of each link to a folder at the link's path: Gramine compares
// paths as they are. A link that leads nowhere, in a circle, or into memory is left out.
func (p *planner) aliases(mounts map[string]gramine.Mount) {
	for _, at := range sortedKeys(p.links) {
		if why := badPath(at); why != "" {
			p.note("link %q is left out: %s", at, why)
			continue
		}
		if _, ok := mounts[at]; ok || p.hidden(at) || reserved(at) {
			continue
		}
		real, ok := p.resolve(at)
		switch {
		case !ok:
			p.note("link %s is left out: it leads in a circle", at)
		case workload.Within(at, real):
			p.note("link %s is left out: it leads to a folder above itself, %s", at, real)
		case badPath(real) != "":
			p.note("link %s is left out: its target %q: %s", at, real, badPath(real))
		case reserved(real):
			p.note("link %s is left out: %s is Gramine's own", at, real)
		case p.covered(real) == gramine.MountTmpfs && at == "/var/lock":
			mounts[at] = gramine.Mount{Type: gramine.MountTmpfs, Path: at}
		case p.hidden(real):
			p.note("link %s is left out: %s is in memory or encrypted; let the program use that name", at, real)
		default:
			mounts[at] = gramine.Mount{Type: gramine.MountChroot, Path: at, URI: "file:" + real}
		}
	}
}

func reserved(name string) bool {
	return slices.ContainsFunc([]string{"/proc", "/sys", "/dev", workload.Dir}, func(o string) bool { return workload.Within(name, o) })
}

func (p *planner) hidden(name string) bool { return p.covered(name) != "" }

// covered is the type of the mount that hides a name; empty for none.
func (p *planner) covered(name string) string {
	for dir := name; dir != "/" && dir != "."; dir = path.Dir(dir) {
		if kind := p.mounts[dir]; kind != "" {
			return kind
		}
	}
	return ""
}

// resolve follows links to folders in each part of a path. It reports false for a circle.
func (p *planner) resolve(name string) (string, bool) {
	done, rest := "/", strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	for followed := 0; len(rest) > 0; {
		at := path.Join(done, rest[0])
		rest = rest[1:]
		target, ok := p.links[at]
		if !ok {
			done = at
			continue
		}
		if followed++; followed > maxLinks {
			return "", false
		}
		if strings.HasPrefix(target, "/") {
			done = "/"
		}
		rest = slices.Concat(strings.FieldsFunc(target, func(r rune) bool { return r == '/' }), rest)
	}
	return done, true
}

// section repeats the mounts for the guest.
func (p *planner) section(m *gramine.Manifest) { p.report.SGX = Section(m, p.in.Packed) }

// Section is what the guest is told of a manifest's mounts.
func Section(m *gramine.Manifest, archive *workload.Packed) *workload.SGX {
	s := &workload.SGX{Encrypted: []workload.EncryptedMount{}, Memory: []string{}, Packed: archive}
	for _, mount := range m.FS.Mounts {
		switch mount.Type {
		case gramine.MountEncrypted:
			s.Encrypted = append(s.Encrypted, workload.EncryptedMount{Key: cmp.Or(mount.KeyName, "default"), Path: mount.Path})
		case gramine.MountTmpfs:
			s.Memory = append(s.Memory, mount.Path)
		}
	}
	slices.SortFunc(s.Encrypted, func(a, b workload.EncryptedMount) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(s.Memory)
	return s
}
