package gramine

// Manifest is what a Gramine manifest says, in the terms of Gramine 1.7 to 1.9
// (Documentation/manifest-syntax.rst, python/graminelibos/manifest_check.py). Its zero
// members mean that the key is absent; methods give what the runtime takes then.
type Manifest struct {
	LibOS  LibOS  `toml:"libos"`
	Loader Loader `toml:"loader"`
	FS     FS     `toml:"fs"`
	SGX    SGX    `toml:"sgx"`
	Sys    Sys    `toml:"sys"`
}

// LibOS is the table libos.
type LibOS struct {
	Entrypoint           string `toml:"entrypoint"` // path inside the enclave's file system
	CheckInvalidPointers *bool  `toml:"check_invalid_pointers"`
}

// Loader is the table loader.
type Loader struct {
	Entrypoint  TrustedFile       `toml:"entrypoint"` // libsysdb.so
	Argv        []string          `toml:"argv"`       // element 0 included
	ArgvSrcFile string            `toml:"argv_src_file"`
	Env         map[string]EnvVar `toml:"env"`
	EnvSrcFile  string            `toml:"env_src_file"`
	UID         uint32            `toml:"uid"`
	GID         uint32            `toml:"gid"`
	LogFile     string            `toml:"log_file"`
	LogLevel    string            `toml:"log_level"` // none, error, warning, debug, trace, all; absent is error

	InsecureUseCmdlineArgv bool `toml:"insecure__use_cmdline_argv"`
	InsecureUseHostEnv     bool `toml:"insecure__use_host_env"`
	InsecureDisableASLR    bool `toml:"insecure__disable_aslr"`
}

// EnvVar is one variable of loader.env: a fixed value, or the host's.
type EnvVar struct {
	Value       string
	Passthrough bool // the host's value is taken; Value is empty
}

// FS is the table fs.
type FS struct {
	Root         *Mount            `toml:"root"` // absent is chroot of file:., the folder in which the loader was started
	Mounts       []Mount           `toml:"mounts"`
	StartDir     string            `toml:"start_dir"`
	InsecureKeys map[string]string `toml:"insecure__keys"`
}

// The types of Mount.
const (
	MountChroot       = "chroot"
	MountEncrypted    = "encrypted"
	MountTmpfs        = "tmpfs"
	MountUntrustedShm = "untrusted_shm"
)

// Mount is fs.root or one of fs.mounts.
type Mount struct {
	Type           string `toml:"type"` // absent is chroot
	Path           string `toml:"path"` // absolute; empty for fs.root
	URI            string `toml:"uri"`
	KeyName        string `toml:"key_name"`        // of encrypted mounts; absent is "default"
	EnableRecovery *bool  `toml:"enable_recovery"` // of encrypted mounts, from 1.8
}

// TrustedFile is one of sgx.trusted_files, or loader.entrypoint.
type TrustedFile struct {
	URI    string `toml:"uri"`
	SHA256 string `toml:"sha256"` // 64 lower-case hexadecimal digits
}

// CPUFeatures is the table sgx.cpu_features: "unspecified", "disabled" or "required".
type CPUFeatures struct {
	AVX    string `toml:"avx"`    // absent is unspecified
	AVX512 string `toml:"avx512"` // absent is unspecified
	AMX    string `toml:"amx"`    // absent is unspecified
	MPX    string `toml:"mpx"`    // absent is disabled; cannot be unspecified
	PKRU   string `toml:"pkru"`   // absent is disabled; cannot be unspecified
}

// SealKey is the table sgx.seal_key: masks as hexadecimal text, "0x" and 16 or 8 digits.
type SealKey struct {
	FlagsMask string `toml:"flags_mask"`
	XFRMMask  string `toml:"xfrm_mask"`
	MiscMask  string `toml:"misc_mask"`
}

// Profile is the table sgx.profile.
type Profile struct {
	Enable    string `toml:"enable"` // none, main, all
	Mode      string `toml:"mode"`   // aex, ocall_inner, ocall_outer
	WithStack bool   `toml:"with_stack"`
	Frequency int64  `toml:"frequency"`
}

// SGX is the table sgx.
type SGX struct {
	EnclaveSize       string        `toml:"enclave_size"` // such as 256M; absent is 256M, with EDMM 1024G
	MaxThreads        *int64        `toml:"max_threads"`  // absent is 4
	EDMM              bool          `toml:"edmm_enable"`
	Debug             bool          `toml:"debug"`
	ISVProdID         int64         `toml:"isvprodid"`          // 0 to 65535
	ISVSVN            int64         `toml:"isvsvn"`             // 0 to 65535
	RemoteAttestation string        `toml:"remote_attestation"` // none or dcap; absent is none
	UseExinfo         bool          `toml:"use_exinfo"`
	CPUFeatures       CPUFeatures   `toml:"cpu_features"`
	SealKey           SealKey       `toml:"seal_key"`
	TrustedFiles      []TrustedFile `toml:"trusted_files"`
	AllowedFiles      []string      `toml:"allowed_files"`
	FileCheckPolicy   string        `toml:"file_check_policy"` // strict or allow_all_but_log; absent is strict
	PreheatEnclave    bool          `toml:"preheat_enclave"`
	EnableStats       bool          `toml:"enable_stats"`
	VTuneProfile      bool          `toml:"vtune_profile"`
	Profile           Profile       `toml:"profile"`
	FilesCacheSize    string        `toml:"trusted_files_cache_size"`

	InsecureRPCThreads             int64 `toml:"insecure__rpc_thread_num"`
	InsecureMemfaultsWithoutExinfo bool  `toml:"insecure__allow_memfaults_without_exinfo"`
}

// Sys is the table sys.
type Sys struct {
	StackSize           string         `toml:"-"` // sys.stack.size; absent is 256K
	BrkMaxSize          string         `toml:"-"` // sys.brk.max_size; absent is 256K
	FDLimit             int64          `toml:"-"` // sys.fds.limit; absent is 900
	DomainNamesConf     bool           `toml:"enable_extra_runtime_domain_names_conf"`
	SigtermInjection    bool           `toml:"enable_sigterm_injection"`
	DisallowSubprocess  bool           `toml:"disallow_subprocesses"`
	ExperimentalFlock   bool           `toml:"experimental__enable_flock"`
	AllowedIoctls       []Ioctl        `toml:"allowed_ioctls"`
	IoctlStructs        map[string]any `toml:"ioctl_structs"`
	InsecureEventfd     bool           `toml:"insecure__allow_eventfd"`
	DebugMockedSyscalls []MockSyscall  `toml:"debug__mock_syscalls"`
}

// Ioctl is one of sys.allowed_ioctls.
type Ioctl struct {
	RequestCode int64  `toml:"request_code"`
	Struct      string `toml:"struct"`
}

// MockSyscall is one of sys.debug__mock_syscalls.
type MockSyscall struct {
	Name   string `toml:"name"`
	Return int64  `toml:"return"`
}
