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
	add := func(when bool, key, value, why string) {
		if when {
			list = append(list, weakness{key, value, why, "insecure:" + key})
		}
	}
	if m.SGX.Debug {
		list = append(list, weakness{"sgx.debug", "true", "whoever runs the machine reads the enclave's memory", "debug"})
	}
	l, s := &m.Loader, &m.SGX
	add(l.InsecureUseCmdlineArgv, "loader.insecure__use_cmdline_argv", "true", "the host chooses the arguments")
	add(l.InsecureUseHostEnv, "loader.insecure__use_host_env", "true", "the host sets every variable")
	add(l.InsecureDisableASLR, "loader.insecure__disable_aslr", "true", "addresses can be predicted")
	add(l.LogLevel != "" && l.LogLevel != "error" && l.LogLevel != "none", "loader.log_level", strconv.Quote(l.LogLevel), "the host reads file names and data in the log")
	add(l.LogFile != "", "loader.log_file", strconv.Quote(l.LogFile), "the enclave writes to a file of the host")
	add(len(m.FS.InsecureKeys) > 0, "fs.insecure__keys", fmt.Sprintf("%d keys", len(m.FS.InsecureKeys)), "everybody who has the image has the keys")
	add(s.FileCheckPolicy != "" && s.FileCheckPolicy != "strict", "sgx.file_check_policy", strconv.Quote(s.FileCheckPolicy), "the host may put any file in")
	add(s.InsecureRPCThreads != 0, "sgx.insecure__rpc_thread_num", strconv.FormatInt(s.InsecureRPCThreads, 10), "exitless calls open side channels")
	add(s.InsecureMemfaultsWithoutExinfo, "sgx.insecure__allow_memfaults_without_exinfo", "true", "the host forges memory faults")
	add(s.EnableStats, "sgx.enable_stats", "true", "the host learns what the enclave does")
	add(s.VTuneProfile, "sgx.vtune_profile", "true", "the host learns what the enclave does")
	add(s.Profile.Enable != "" && s.Profile.Enable != "none", "sgx.profile", strconv.Quote(s.Profile.Enable), "the host learns what the enclave does")
	add(m.Sys.InsecureEventfd, "sys.insecure__allow_eventfd", "true", "the host forges events")
	add(len(m.Sys.DebugMockedSyscalls) > 0, "sys.debug__mock_syscalls", fmt.Sprintf("%d calls", len(m.Sys.DebugMockedSyscalls)), "programs get made-up results")
	add(len(m.Sys.AllowedIoctls) > 0, "sys.allowed_ioctls", fmt.Sprintf("%d codes", len(m.Sys.AllowedIoctls)), "memory of the enclave is copied to a driver of the host")
	for _, mount := range m.FS.Mounts {
		add(mount.Type == gramine.MountUntrustedShm, "fs.mounts", mount.Path+" untrusted_shm", "the host reads and writes that memory")
	}
	named := map[string]bool{}
	for _, a := range allowed {
		named[allowedURI(a)] = true
	}
	for _, uri := range s.AllowedFiles {
		if why := allowedWhy(uri, s.TrustedFiles); why != "" {
			add(true, "sgx.allowed_files", uri, why)
		} else {
			add(!named[uri], "sgx.allowed_files", uri, "the host reads and forges it")
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
