package gramine

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func fullManifest() *Manifest {
	yes, threads := true, int64(8)
	return &Manifest{
		LibOS: LibOS{Entrypoint: "/.hitoku/init", CheckInvalidPointers: &yes},
		Loader: Loader{
			Entrypoint: TrustedFile{"file:/libsysdb.so", strings.Repeat("0a", 32)}, Argv: []string{"a", "two words", "quote\" back\\ tab\t é \x7f"},
			Env: map[string]EnvVar{"PATH": {Value: "/bin"}, "odd.name": {Value: "a\nb"}, "TOKEN": {Passthrough: true}, "EMPTY": {}},
			UID: 1000, GID: 100, LogLevel: "error",
		},
		FS: FS{
			Root: &Mount{Type: MountChroot, URI: "file:/"}, StartDir: "/srv",
			Mounts: []Mount{{Path: "/lib", URI: "file:/usr/lib"}, {Type: MountTmpfs, Path: "/tmp"}, {Type: MountEncrypted, Path: "/data", URI: "file:/data", KeyName: "_sgx_mrsigner", EnableRecovery: &yes}},
		},
		SGX: SGX{
			EnclaveSize: "4G", MaxThreads: &threads, EDMM: true, ISVProdID: 3, ISVSVN: 4, RemoteAttestation: "dcap", UseExinfo: true,
			CPUFeatures: CPUFeatures{AVX: "required", PKRU: "disabled"}, SealKey: SealKey{FlagsMask: "0xffffffffffffffff"},
			TrustedFiles: []TrustedFile{{"file:/a", strings.Repeat("00", 32)}, {"file:/b \"c\"", strings.Repeat("01", 32)}}, AllowedFiles: []string{"file:/etc/hosts"},
		},
		Sys: Sys{
			StackSize: "8M", BrkMaxSize: "1M", FDLimit: 4096, DomainNamesConf: true, SigtermInjection: true,
			AllowedIoctls: []Ioctl{{1, "s"}}, DebugMockedSyscalls: []MockSyscall{{"fork", -38}},
		},
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*Manifest{
		"full":  fullManifest(),
		"least": {LibOS: LibOS{Entrypoint: "/a"}, Loader: Loader{Entrypoint: TrustedFile{"file:/l", strings.Repeat("0a", 32)}}},
	} {
		b := m.Encode()
		got, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, b)
		}
		if d := cmp.Diff(m, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s\n%s", name, d, b)
		}
		if again := got.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%s: another encoding the second time", name)
		}
	}
	if _, err := Measure(t.Context(), fullManifest().Encode(), loaderOf(t, plainLoader())); err != nil {
		t.Error(err)
	}
}

func TestWeaknesses(t *testing.T) {
	t.Parallel()
	m := fullManifest()
	m.SGX.AllowedFiles, m.Sys.AllowedIoctls, m.Sys.DebugMockedSyscalls = nil, nil, nil
	if w := m.Weaknesses(); len(w) != 0 {
		t.Errorf("%v, wanted none", w)
	}
	for key, weaken := range map[string]func(m *Manifest){
		"loader.insecure__use_cmdline_argv":            func(m *Manifest) { m.Loader.InsecureUseCmdlineArgv = true },
		"loader.insecure__use_host_env":                func(m *Manifest) { m.Loader.InsecureUseHostEnv = true },
		"loader.insecure__disable_aslr":                func(m *Manifest) { m.Loader.InsecureDisableASLR = true },
		"loader.log_level":                             func(m *Manifest) { m.Loader.LogLevel = "debug" },
		"loader.argv_src_file":                         func(m *Manifest) { m.Loader.ArgvSrcFile = "file:a" },
		"loader.env_src_file":                          func(m *Manifest) { m.Loader.EnvSrcFile = "file:a" },
		"loader.log_file":                              func(m *Manifest) { m.Loader.LogFile = "x" },
		"sgx.enable_stats":                             func(m *Manifest) { m.SGX.EnableStats = true },
		"sgx.vtune_profile":                            func(m *Manifest) { m.SGX.VTuneProfile = true },
		"sgx.profile":                                  func(m *Manifest) { m.SGX.Profile.Enable = "main" },
		"fs.insecure__keys":                            func(m *Manifest) { m.FS.InsecureKeys = map[string]string{"default": "00"} },
		"fs.mounts":                                    func(m *Manifest) { m.FS.Mounts[0].Type = MountUntrustedShm },
		"sgx.debug":                                    func(m *Manifest) { m.SGX.Debug = true },
		"sgx.file_check_policy":                        func(m *Manifest) { m.SGX.FileCheckPolicy = "allow_all_but_log" },
		"sgx.insecure__rpc_thread_num":                 func(m *Manifest) { m.SGX.InsecureRPCThreads = 1 },
		"sgx.insecure__allow_memfaults_without_exinfo": func(m *Manifest) { m.SGX.InsecureMemfaultsWithoutExinfo = true },
		"sgx.allowed_files":                            func(m *Manifest) { m.SGX.AllowedFiles = []string{"file:/x"} },
		"sys.insecure__allow_eventfd":                  func(m *Manifest) { m.Sys.InsecureEventfd = true },
		"sys.debug__mock_syscalls":                     func(m *Manifest) { m.Sys.DebugMockedSyscalls = []MockSyscall{{}} },
		"sys.allowed_ioctls":                           func(m *Manifest) { m.Sys.AllowedIoctls = []Ioctl{{}} },
	} {
		m := fullManifest()
		m.SGX.AllowedFiles, m.Sys.AllowedIoctls, m.Sys.DebugMockedSyscalls = nil, nil, nil
		weaken(m)
		if w := m.Weaknesses(); len(w) != 1 || w[0].Key != key {
			t.Errorf("%s: %v", key, w)
		}
	}
}
