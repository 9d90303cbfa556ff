package gramine

import (
	"fmt"
	"slices"
	"strings"
)

// Weakness is something in a manifest that takes protection away. Gramine prints a line about
// most of them when it starts, and runs on.
type Weakness struct {
	Key   string
	Value string
	Why   string
}

func (w Weakness) String() string { return fmt.Sprintf("%s = %s: %s", w.Key, w.Value, w.Why) }

// Weaknesses lists what takes protection away, sorted by key.
func (m *Manifest) Weaknesses() []Weakness {
	var out []Weakness
	add := func(when bool, key, value, why string) {
		if when {
			out = append(out, Weakness{key, value, why})
		}
	}
	l, s := &m.Loader, &m.SGX
	add(l.InsecureUseCmdlineArgv, "loader.insecure__use_cmdline_argv", "true", "the host chooses the program's arguments")
	add(l.InsecureUseHostEnv, "loader.insecure__use_host_env", "true", "the host chooses the program's whole environment")
	add(l.InsecureDisableASLR, "loader.insecure__disable_aslr", "true", "addresses inside the enclave can be foretold")
	add(slices.Contains([]string{"warning", "debug", "trace", "all"}, l.LogLevel), "loader.log_level", l.LogLevel, "the log, which the host reads, tells what the program does")
	add(l.ArgvSrcFile != "", "loader.argv_src_file", l.ArgvSrcFile, "the arguments are only protected when this file is trusted or encrypted")
	add(l.EnvSrcFile != "", "loader.env_src_file", l.EnvSrcFile, "the environment is only protected when this file is trusted or encrypted")
	add(len(m.FS.InsecureKeys) > 0, "fs.insecure__keys", fmt.Sprintf("%d keys", len(m.FS.InsecureKeys)), "the host reads the keys of encrypted files in the manifest")
	for i, t := range m.FS.Mounts {
		add(t.Type == MountUntrustedShm, fmt.Sprintf("fs.mounts[%d]", i), t.Path, "the host reads and writes this memory")
	}
	add(s.Debug, "sgx.debug", "true", "the host reads all of the enclave's memory")
	add(s.FileCheckPolicy == "allow_all_but_log", "sgx.file_check_policy", s.FileCheckPolicy, "files that nobody has measured are opened")
	add(s.InsecureRPCThreads != 0, "sgx.insecure__rpc_thread_num", fmt.Sprint(s.InsecureRPCThreads), "exitless calls leave side channels open")
	add(s.InsecureMemfaultsWithoutExinfo, "sgx.insecure__allow_memfaults_without_exinfo", "true", "the host tells the program which of its accesses failed")
	for i, f := range s.AllowedFiles {
		add(true, fmt.Sprintf("sgx.allowed_files[%d]", i), f, "the host reads and changes what is there")
	}
	add(m.Sys.InsecureEventfd, "sys.insecure__allow_eventfd", "true", "the host forges events between processes")
	add(len(m.Sys.DebugMockedSyscalls) > 0, "sys.debug__mock_syscalls", fmt.Sprintf("%d calls", len(m.Sys.DebugMockedSyscalls)), "these system calls do nothing")
	add(len(m.Sys.AllowedIoctls) > 0, "sys.allowed_ioctls", fmt.Sprintf("%d requests", len(m.Sys.AllowedIoctls)), "devices of the host are asked, whose answers nobody checks")
	slices.SortStableFunc(out, func(a, b Weakness) int { return strings.Compare(a.Key, b.Key) })
	return out
}
