package sgxplan

import (
	"slices"
	"strings"
	"testing"
)

func TestFragment(t *testing.T) {
	t.Parallel()
	in := sample()
	in.Options.Allow = []string{"insecure:sgx.allowed_files", "insecure:loader.log_level"}
	in.Options.Fragment = []byte(`
loader.log_level = "warning"
[sgx]
enclave_size = "8G"
max_threads = 64
trusted_files = ["file:/app/", "file:/usr/bin/py*", { uri = "file:/extra", sha256 = "` + hash + `" }]
allowed_files = ["file:/logs/", "dev:/dev/x", "file:/absent"]
[sys]
stack.size = "4M"
enable_sigterm_injection = false
[[fs.mounts]]
type = "tmpfs"
path = "/cache"
[[fs.mounts]]
type = "encrypted"
path = "/e"
uri = "file:/e"
key_name = "own"
enable_recovery = true
`)
	m, r, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	if m.SGX.EnclaveSize != "8G" || m.Threads() != 64 || m.Sys.StackSize != "4M" || m.Sys.SigtermInjection || len(m.SGX.AllowedFiles) != 3 ||
		!slices.Contains(r.SGX.Memory, "/cache") || len(r.SGX.Encrypted) != 1 || len(r.Conflicts) != 5 || len(r.Weak) != 4 || r.Entries != 5 {
		t.Errorf("%+v %+v", m, r)
	}
	if again, _, _ := Plan(sample()); again.Threads() != 32 {
		t.Error("a fragment changed its base")
	}
	if got := Includes(in.Options.Fragment); !slices.Equal(got, []string{"/app/", "/usr/bin/py*"}) {
		t.Error(got)
	}
	if Includes([]byte("x")) != nil || Includes(make([]byte, maxFragment+1)) != nil {
		t.Error("paths from what is no fragment")
	}
	if !strings.Contains(r.Conflicts[0].String(), "takes the place of") {
		t.Error(r.Conflicts[0])
	}
}

func TestFragmentRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"x": "no TOML", "nonsense = 1": "nonsense: in the fragment", "sgx = 1": "sgx: 1: wanted a table", "sgx.debug = 1": "sgx.debug: 1: wanted a bool",
		"sgx.enclave_size = \"1G\"": "does not fit below 2G", "sgx.thread_num = 4": "sgx.thread_num", "loader.env = 1": "loader.env: 1", "loader.env.A = \"b\"": "loader.env.A",
		"fs.mounts = 1": "fs.mounts: 1", "sgx.trusted_files = 1": "sgx.trusted_files: 1", "sgx.trusted_files = [1]": "wanted a URI", "sgx.trusted_files = [\"file:/none\"]": "--include /none",
		"sgx.trusted_files = [{uri = \"x\"}]": "wanted uri", "sgx.allowed_files = 1": "sgx.allowed_files: 1", "sgx.allowed_files = [\"x\"]": "wanted file: or dev:",
		"sgx.allowed_files = [\"file:/etc/hosts\"]": "--allow insecure:sgx.allowed_files",
		"sgx.insecure__rpc_thread_num = 1":          "--allow insecure:sgx.insecure__rpc_thread_num", "sgx.file_check_policy = \"allow_all_but_log\"": "insecure:sgx.file_check_policy",
		"loader.insecure__use_host_env = true": "insecure:loader.insecure__use_host_env", "sys.insecure__allow_eventfd = true": "insecure:sys.insecure__allow_eventfd",
		"loader.insecure__disable_aslr = true": "disable_aslr", "loader.log_file = \"x\"": "loader.log_file", "sgx.enable_stats = true": "enable_stats", "sgx.debug = true": "--allow debug",
	}
	for key := range fixedKeys() {
		cases[key+" = \"x\""] = key + ": in the fragment"
	}
	for text, want := range map[string]string{
		`path = "x"`: "wanted a clean", `path = "/proc/x"`: "own", `path = "/x"` + "\n" + `type = "y"`: "wanted chroot", `path = "/x"`: "wanted file:",
		`path = "/tmp"` + "\n" + `type = "tmpfs"`: "mounts it already", `path = "/x"` + "\n" + `type = "encrypted"` + "\n" + `uri = "file:/x"`: "name of a key", `y = 1`: "fs.mounts.y",
		`path = "/x"` + "\n" + `type = "untrusted_shm"` + "\n" + `uri = "dev:/x"`: "--allow insecure:fs.mounts",
	} {
		cases["[[fs.mounts]]\n"+text] = want
	}
	cases[strings.Repeat(" ", maxFragment+1)] = "at most 1048576"
	for text, want := range cases {
		in := sample()
		in.Options.Fragment = []byte(text)
		if _, _, err := Plan(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, wanted %q", text, err, want)
		}
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte("sgx.debug = true\n[[fs.mounts]]\npath = \"/x\"\ntype = \"tmpfs\""))
	f.Add([]byte("sgx.trusted_files = [\"file:/app/[\", {uri = 1}]\nsgx.allowed_files = [1]"))
	base, _, err := Plan(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, _, err := Merge(base, text)
		if (m == nil) == (err == nil) {
			t.Fatal(m, err)
		}
		if m != nil && (m.LibOS != base.LibOS || m.Loader.Entrypoint != base.Loader.Entrypoint || !slices.Equal(m.Loader.Argv, base.Loader.Argv) || m.SGX.RemoteAttestation != "dcap") {
			t.Fatal("a fragment changed what is fixed")
		}
	})
}
