package sgxplan

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

// maxFragment is the size of the largest fragment, in bytes.
const maxFragment = 1 << 20

// fixedKeys are what the guest and the measurement need as generated.
func fixedKeys() map[string]string {
	const guest = "the guest must be the first program"
	return map[string]string{
		"libos.entrypoint": guest, "loader.entrypoint": "Gramine's own library is chosen with --gramine",
		"loader.argv": "the guest compares the arguments; give --entrypoint and --args", "loader.argv_src_file": "arguments must be measured",
		"loader.env_src_file": "variables must be measured", "loader.insecure__use_cmdline_argv": "the guest compares the arguments",
		"loader.uid": "the guest compares the user; give the image another USER", "loader.gid": "the guest compares the group; give the image another USER",
		"sgx.remote_attestation": "evidence needs dcap", "fs.insecure__keys": "keys in an image are no secret; use --encrypted PATH=KEY",
		"fs.root": "the root is the image", "fs.start_dir": "the guest sets the folder; give the image another WORKDIR",
		"loader.env.LD_LIBRARY_PATH": "Gramine's C library must come first; give --env LD_LIBRARY_PATH=FOLDERS", "loader.env.GODEBUG": "it acts before the guest; give --env GODEBUG=VALUE",
	}
}

// Merge puts the user's fragment over a manifest: scalars replace, lists append, tables
// merge. Keys that the guest or the measurement needs, and keys that Gramine does not know,
// are refused by name. A trusted file must be in the manifest already, alone or below a
// folder or pattern of the fragment's: without the image there is no hash for others.
func Merge(base *gramine.Manifest, fragment []byte) (*gramine.Manifest, []Conflict, error) {
	p := &planner{}
	if len(fragment) > maxFragment {
		p.refuse("--manifest", fmt.Sprintf("%d bytes", len(fragment)), "at most 1048576 are read", "")
		return nil, nil, p.err()
	}
	raw := map[string]any{}
	if _, err := toml.Decode(string(fragment), &raw); err != nil {
		p.refuse("--manifest", "no TOML", err.Error(), "")
		return nil, nil, p.err()
	}
	m := *base
	threads := int64(base.Threads())
	m.SGX.MaxThreads = &threads
	m.FS.Mounts = slices.Clone(base.FS.Mounts)
	m.SGX.AllowedFiles = slices.Clone(base.SGX.AllowedFiles)
	m.SGX.TrustedFiles = slices.Clone(base.SGX.TrustedFiles)
	f := &merger{planner: p, m: &m, fixed: fixedKeys(), scalars: scalars(&m)}
	f.table("", raw)
	if err := p.err(); err != nil {
		return nil, f.conflicts, err
	}
	return &m, f.conflicts, nil
}

type merger struct {
	*planner
	m         *gramine.Manifest
	fixed     map[string]string
	scalars   map[string]any // key to pointer
	conflicts []Conflict
}

// scalars are the keys with one value.
func scalars(m *gramine.Manifest) map[string]any {
	l, s, y := &m.Loader, &m.SGX, &m.Sys
	return map[string]any{
		"loader.log_level": &l.LogLevel, "loader.log_file": &l.LogFile, "loader.insecure__use_host_env": &l.InsecureUseHostEnv, "loader.insecure__disable_aslr": &l.InsecureDisableASLR,
		"sgx.enclave_size": &s.EnclaveSize, "sgx.max_threads": s.MaxThreads, "sgx.edmm_enable": &s.EDMM, "sgx.debug": &s.Debug, "sgx.isvprodid": &s.ISVProdID, "sgx.isvsvn": &s.ISVSVN,
		"sgx.use_exinfo": &s.UseExinfo, "sgx.file_check_policy": &s.FileCheckPolicy, "sgx.preheat_enclave": &s.PreheatEnclave, "sgx.enable_stats": &s.EnableStats, "sgx.vtune_profile": &s.VTuneProfile,
		"sgx.trusted_files_cache_size": &s.FilesCacheSize, "sgx.insecure__rpc_thread_num": &s.InsecureRPCThreads, "sgx.insecure__allow_memfaults_without_exinfo": &s.InsecureMemfaultsWithoutExinfo,
		"sgx.cpu_features.avx": &s.CPUFeatures.AVX, "sgx.cpu_features.avx512": &s.CPUFeatures.AVX512, "sgx.cpu_features.amx": &s.CPUFeatures.AMX, "sgx.cpu_features.mpx": &s.CPUFeatures.MPX, "sgx.cpu_features.pkru": &s.CPUFeatures.PKRU,
		"sgx.seal_key.flags_mask": &s.SealKey.FlagsMask, "sgx.seal_key.xfrm_mask": &s.SealKey.XFRMMask, "sgx.seal_key.misc_mask": &s.SealKey.MiscMask,
		"sys.stack.size": &y.StackSize, "sys.brk.max_size": &y.BrkMaxSize, "sys.fds.limit": &y.FDLimit, "sys.enable_extra_runtime_domain_names_conf": &y.DomainNamesConf, "sys.enable_sigterm_injection": &y.SigtermInjection,
		"sys.disallow_subprocesses": &y.DisallowSubprocess, "sys.experimental__enable_flock": &y.ExperimentalFlock, "sys.insecure__allow_eventfd": &y.InsecureEventfd,
	}
}

func (f *merger) table(at string, t map[string]any) {
	for _, name := range sortedKeys(t) {
		key := strings.TrimPrefix(at+"."+name, ".")
		if why, ok := f.fixed[key]; ok {
			f.refuse(key, "in the fragment", why, "take it out of the fragment")
			continue
		}
		v := t[name]
		switch key {
		case "loader.env":
			f.env(v)
		case "fs.mounts":
			f.mounts(v)
		case "sgx.trusted_files":
			f.trusted(v)
		case "sgx.allowed_files":
			f.allowed(v)
		case "loader", "fs", "sgx", "sys", "libos", "sgx.cpu_features", "sgx.seal_key", "sys.stack", "sys.brk", "sys.fds":
			if sub, ok := v.(map[string]any); ok {
				f.table(key, sub)
				continue
			}
			f.refuse(key, fmt.Sprint(v), "wanted a table", "")
		default:
			f.scalar(key, v)
		}
	}
}

func (f *merger) scalar(key string, v any) {
	to, ok := f.scalars[key]
	if !ok {
		f.refuse(key, "in the fragment", "no key that Gramine knows and a conversion can take", "correct its spelling, or take it out")
		return
	}
	switch p := to.(type) {
	case *string:
		replace(f, key, p, v)
	case *bool:
		replace(f, key, p, v)
	case *int64:
		replace(f, key, p, v)
	}
}

func replace[T comparable](f *merger, key string, to *T, v any) {
	n, ok := v.(T)
	var zero T
	switch {
	case !ok:
		f.refuse(key, fmt.Sprintf("%v", v), fmt.Sprintf("wanted a %T", zero), "")
	case *to != zero && *to != n:
		f.conflicts = append(f.conflicts, Conflict{key, fmt.Sprint(*to), fmt.Sprint(n)})
		*to = n
	default:
		*to = n
	}
}

func (f *merger) env(v any) {
	t, ok := v.(map[string]any)
	if !ok {
		f.refuse("loader.env", fmt.Sprint(v), "wanted a table", "")
		return
	}
	for _, name := range sortedKeys(t) {
		key := "loader.env." + name
		if why, ok := f.fixed[key]; ok {
			f.refuse(key, "in the fragment", why, "take it out of the fragment")
			continue
		}
		// The guest gives the program what the workload manifest has, and nothing else.
		f.refuse(key, "in the fragment", "the guest passes on only what the conversion knows", "give --env, --allow-env or --mutable-env instead")
	}
}

func (f *merger) mounts(v any) {
	for _, item := range tables(v) {
		mount := gramine.Mount{Type: gramine.MountChroot}
		for _, k := range sortedKeys(item) {
			s, isText := item[k].(string)
			b, isBool := item[k].(bool)
			switch {
			case k == "type" && isText:
				mount.Type = s
			case k == "path" && isText:
				mount.Path = s
			case k == "uri" && isText:
				mount.URI = s
			case k == "key_name" && isText:
				mount.KeyName = s
			case k == "enable_recovery" && isBool:
				mount.EnableRecovery = &b
			default:
				f.refuse("fs.mounts."+k, fmt.Sprint(item[k]), "no such key, or of another type", "")
			}
		}
		f.oneMount(mount)
	}
	if !isList(v) {
		f.refuse("fs.mounts", fmt.Sprint(v), "wanted a list of tables", "")
	}
}

func (f *merger) oneMount(mount gramine.Mount) {
	known := []string{gramine.MountChroot, gramine.MountEncrypted, gramine.MountTmpfs, gramine.MountUntrustedShm}
	uri := strings.HasPrefix(mount.URI, "file:") || strings.HasPrefix(mount.URI, "dev:")
	switch {
	case badPath(mount.Path) != "" || mount.Path == "/":
		f.refuse("fs.mounts", strconv.Quote(mount.Path), "wanted a clean absolute path other than /", "")
	case reserved(mount.Path) && !strings.HasPrefix(mount.Path, "/dev/"):
		f.refuse("fs.mounts", mount.Path, "it is Gramine's or the conversion's own", "")
	case !slices.Contains(known, mount.Type):
		f.refuse("fs.mounts", strconv.Quote(mount.Type), "wanted "+strings.Join(known, ", "), "")
	case mount.Type != gramine.MountTmpfs && !uri:
		f.refuse("fs.mounts", strconv.Quote(mount.URI), "wanted file: or dev: and a path", "")
	case slices.ContainsFunc(f.m.FS.Mounts, func(o gramine.Mount) bool { return o.Path == mount.Path }):
		f.refuse("fs.mounts", mount.Path, "the conversion mounts it already", "take it out, or change --rw, --ro or --encrypted")
	case mount.Type == gramine.MountEncrypted:
		name, ok := keyName(mount.KeyName)
		if !ok || mount.KeyName == "" {
			f.refuse("fs.mounts.key_name", strconv.Quote(mount.KeyName), "wanted the name of a key", "")
			return
		}
		mount.KeyName = name
		f.m.FS.Mounts = append(f.m.FS.Mounts, mount)
	default:
		f.m.FS.Mounts = append(f.m.FS.Mounts, mount)
	}
}

func isList(v any) bool {
	switch l := v.(type) {
	case []map[string]any:
		return true
	case []any:
		return !slices.ContainsFunc(l, func(x any) bool { _, ok := x.(map[string]any); return !ok })
	}
	return false
}

func tables(v any) []map[string]any {
	switch l := v.(type) {
	case []map[string]any:
		return l
	case []any:
		var out []map[string]any
		for _, x := range l {
			if t, ok := x.(map[string]any); ok {
				out = append(out, t)
			}
		}
		return out
	}
	return nil
}

// trusted takes files with their hash, and files, folders and patterns that the manifest has.
func (f *merger) trusted(v any) {
	const key = "sgx.trusted_files"
	list, ok := v.([]any)
	for _, t := range tables(v) {
		ok = true
		uri, _ := t["uri"].(string)
		sum, _ := t["sha256"].(string)
		name, isFile := strings.CutPrefix(uri, "file:")
		if len(t) != 2 || !isFile || badPath(name) != "" || !workload.IsHash(sum) {
			f.refuse(key, fmt.Sprint(t), "wanted uri \"file:/…\" and a sha256 of 64 lower-case hexadecimal digits", "")
			continue
		}
		f.m.SGX.TrustedFiles = append(f.m.SGX.TrustedFiles, gramine.TrustedFile{URI: uri, SHA256: sum})
	}
	if !ok {
		f.refuse(key, fmt.Sprint(v), "wanted a list", "")
	}
	for _, item := range list {
		uri, isText := item.(string)
		if !isText {
			if _, table := item.(map[string]any); !table {
				f.refuse(key, fmt.Sprint(item), "wanted a URI or a table", "")
			}
			continue
		}
		if !slices.ContainsFunc(f.m.SGX.TrustedFiles, func(t gramine.TrustedFile) bool { return covers(uri, t.URI) }) {
			f.refuse(key, uri, "no chosen file of the image is it, or below it", "add it with --include "+strings.TrimPrefix(uri, "file:"))
		}
	}
	f.m.SGX.TrustedFiles = sortFiles(f.m.SGX.TrustedFiles, f.refuse)
}

func covers(pattern, uri string) bool {
	if pattern == uri || strings.HasSuffix(pattern, "/") && strings.HasPrefix(uri, pattern) {
		return true
	}
	ok, err := path.Match(pattern, uri)
	return err == nil && ok
}

// Includes are the files, folders and patterns that a fragment wants trusted, as paths for
// the choice of files, which is made before the plan.
func Includes(fragment []byte) []string {
	var d struct {
		SGX struct {
			Files []any `toml:"trusted_files"`
		} `toml:"sgx"`
	}
	if len(fragment) > maxFragment {
		return nil
	}
	if _, err := toml.Decode(string(fragment), &d); err != nil {
		return nil
	}
	var out []string
	for _, f := range d.SGX.Files {
		if s, ok := f.(string); ok {
			out = append(out, strings.TrimPrefix(s, "file:"))
		}
	}
	return out
}

// allowed takes files, folders and devices; none need be there at conversion.
func (f *merger) allowed(v any) {
	list, ok := v.([]any)
	if !ok {
		f.refuse("sgx.allowed_files", fmt.Sprint(v), "wanted a list", "")
	}
	for _, item := range list {
		uri, _ := item.(string)
		name, isFile := strings.CutPrefix(uri, "file:")
		if !isFile {
			name, isFile = strings.CutPrefix(uri, "dev:")
		}
		if !isFile || badPath(strings.TrimSuffix(name, "/")) != "" {
			f.refuse("sgx.allowed_files", fmt.Sprint(item), "wanted file: or dev: and a clean absolute path", "")
			continue
		}
		f.m.SGX.AllowedFiles = append(f.m.SGX.AllowedFiles, uri)
	}
	slices.Sort(f.m.SGX.AllowedFiles)
	f.m.SGX.AllowedFiles = slices.Compact(f.m.SGX.AllowedFiles)
}
