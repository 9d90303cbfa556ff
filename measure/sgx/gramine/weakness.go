package gramine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KeyAllowedFiles is the key of the files that nothing protects; each is a [Weakness].
const KeyAllowedFiles = "sgx.allowed_files"

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
	add(s.Debug, "sgx.debug", "true", "whoever runs the machine reads the enclave's memory")
	add(l.InsecureUseCmdlineArgv, "loader.insecure__use_cmdline_argv", "true", "the host chooses the arguments")
	add(l.InsecureUseHostEnv, "loader.insecure__use_host_env", "true", "the host sets every variable")
	add(l.InsecureDisableASLR, "loader.insecure__disable_aslr", "true", "addresses can be predicted")
	add(l.LogLevel != "" && l.LogLevel != "error" && l.LogLevel != "none", "loader.log_level", strconv.Quote(l.LogLevel), "the host reads file names and data in the log")
	add(l.LogFile != "", "loader.log_file", strconv.Quote(l.LogFile), "the enclave writes to a file of the host")
	add(l.ArgvSrcFile != "", "loader.argv_src_file", strconv.Quote(l.ArgvSrcFile), "the arguments are only protected when this file is trusted or encrypted")
	add(l.EnvSrcFile != "", "loader.env_src_file", strconv.Quote(l.EnvSrcFile), "the environment is only protected when this file is trusted or encrypted")
	add(len(m.FS.InsecureKeys) > 0, "fs.insecure__keys", fmt.Sprintf("%d keys", len(m.FS.InsecureKeys)), "everybody who has the image has the keys")
	add(s.FileCheckPolicy != "" && s.FileCheckPolicy != "strict", "sgx.file_check_policy", strconv.Quote(s.FileCheckPolicy), "the host may put any file in")
	add(s.InsecureRPCThreads != 0, "sgx.insecure__rpc_thread_num", fmt.Sprint(s.InsecureRPCThreads), "exitless calls open side channels")
	add(s.InsecureMemfaultsWithoutExinfo, "sgx.insecure__allow_memfaults_without_exinfo", "true", "the host forges memory faults")
	add(s.EnableStats, "sgx.enable_stats", "true", "the host learns what the enclave does")
	add(s.VTuneProfile, "sgx.vtune_profile", "true", "the host learns what the enclave does")
	add(s.Profile.Enable != "" && s.Profile.Enable != "none", "sgx.profile", strconv.Quote(s.Profile.Enable), "the host learns what the enclave does")
	add(m.Sys.InsecureEventfd, "sys.insecure__allow_eventfd", "true", "the host forges events")
	add(len(m.Sys.DebugMockedSyscalls) > 0, "sys.debug__mock_syscalls", fmt.Sprintf("%d calls", len(m.Sys.DebugMockedSyscalls)), "programs get made-up results")
	add(len(m.Sys.AllowedIoctls) > 0, "sys.allowed_ioctls", fmt.Sprintf("%d codes", len(m.Sys.AllowedIoctls)), "memory of the enclave is copied to a driver of the host")
	for _, t := range m.FS.Mounts {
		add(t.Type == MountUntrustedShm, "fs.mounts", t.Path+" untrusted_shm", "the host reads and writes that memory")
	}
	for _, f := range s.AllowedFiles {
		add(true, KeyAllowedFiles, f, "the host reads and forges it")
	}
	slices.SortStableFunc(out, func(a, b Weakness) int { return strings.Compare(a.Key, b.Key) })
	return out
}
