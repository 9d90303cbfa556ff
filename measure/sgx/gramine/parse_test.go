package gramine

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	m, err := Parse([]byte(`
libos.entrypoint = "/usr/bin/python3"
[loader]
argv = ["python3", "-c", "x"]
entrypoint = { uri = "file:libsysdb.so", sha256 = "` + strings.Repeat("0f", 32) + `" }
[loader.env]
PATH = "/usr/bin"
TOKEN = { passthrough = true }
"odd name" = { value = "v" }
[fs]
mounts = [{ type = "tmpfs", path = "/tmp" }, { type = "encrypted", path = "/run", uri = "file:/run", key_name = "_sgx_mrenclave" }]
[sgx]
enclave_size = "1G"
max_threads = 8
trusted_files = ["file:/a", { uri = "file:/b", sha256 = "` + strings.Repeat("00", 32) + `" }]
[sys]
stack.size = "2M"
fds.limit = 1000
`))
	if err != nil {
		t.Fatal(err)
	}
	if m.LibOS.Entrypoint != "/usr/bin/python3" || len(m.Loader.Argv) != 3 || !m.Loader.Env["TOKEN"].Passthrough || m.Loader.Env["odd name"].Value != "v" ||
		len(m.FS.Mounts) != 2 || m.FS.Mounts[1].KeyName != "_sgx_mrenclave" || m.Threads() != 8 || len(m.SGX.TrustedFiles) != 2 ||
		m.SGX.TrustedFiles[0].URI != "file:/a" || m.Sys.StackSize != "2M" || m.Sys.FDLimit != 1000 {
		t.Errorf("%+v", m)
	}
	if size, err := m.EnclaveSize(); size != 1<<30 || err != nil {
		t.Errorf("%d, %v", size, err)
	}
}

// TestRefusals: what Gramine ignores, has dropped, or refuses when it loads.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sgx, key string }{
		"unknown key":         {"enclave_sise = \"1G\"", "sgx.enclave_sise"},
		"dropped key":         {"thread_num = 4", "sgx.thread_num"},
		"EPID":                {"remote_attestation = \"epid\"", "sgx.remote_attestation"},
		"no power of two":     {"enclave_size = \"3G\"", "sgx.enclave_size"},
		"hexadecimal":         {"enclave_size = \"0x10000000\"", "sgx.enclave_size"},
		"lower-case unit":     {"enclave_size = \"256m\"", "sgx.enclave_size"},
		"other unit":          {"enclave_size = \"1T\"", "sgx.enclave_size"},
		"leading zero":        {"enclave_size = \"0256M\"", "sgx.enclave_size"},
		"too large":           {"enclave_size = \"2048G\"", "sgx.enclave_size"},
		"overflow":            {"enclave_size = \"99999999999999999999\"", "sgx.enclave_size"},
		"zero size":           {"enclave_size = \"0\"", "sgx.enclave_size"},
		"no room":             {"enclave_size = \"1M\"", "sgx.enclave_size"},
		"no room for threads": {"enclave_size = \"256M\"\nmax_threads = 4096", "sgx.enclave_size"},
		"no thread":           {"max_threads = 0", "sgx.max_threads"},
		"many threads":        {"max_threads = 4097", "sgx.max_threads"},
		"RPC threads":         {"insecure__rpc_thread_num = 257", "sgx.insecure__rpc_thread_num"},
		"statistics":          {"enable_stats = true", "sgx.enable_stats"},
		"VTune":               {"vtune_profile = true", "sgx.vtune_profile"},
		"profile":             {"profile.enable = \"main\"", "sgx.profile.enable"},
		"preheat":             {"edmm_enable = true\npreheat_enclave = true", "sgx.preheat_enclave"},
		"product id":          {"isvprodid = 65536", "sgx.isvprodid"},
		"version":             {"isvsvn = -1", "sgx.isvsvn"},
		"feature":             {"cpu_features.mpx = \"unspecified\"", "sgx.cpu_features.mpx"},
		"no hash":             {"trusted_files = [\"file:/a\"]", "sgx.trusted_files[0]"},
		"short hash":          {"trusted_files = [{uri = \"file:/a\", sha256 = \"00\"}]", "sgx.trusted_files[0]"},
		"wrong type":          {"max_threads = \"4\"", "max_threads"},
		"twice":               {"isvsvn = 1\nisvsvn = 1", "isvsvn"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Measure(t.Context(), manifestText(c.sgx+"\n"), loaderOf(t, plainLoader()))
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.key) {
				t.Errorf("%v, wanted a refusal of %s", err, c.key)
			}
		})
	}
	for name, text := range map[string]string{
		"zero byte": "a = \"\x00\"", "no UTF-8": "a = \"\xff\"", "no entry point": "fs.mounts = []\nloader.entrypoint.uri = \"file:x\"",
		"no mounts":      "libos.entrypoint = \"/a\"\nloader.entrypoint.uri = \"file:x\"",
		"no loader":      "libos.entrypoint = \"/a\"\nfs.mounts = []",
		"no TOML":        "{",
		"env of bools":   "libos.entrypoint = \"/a\"\nfs.mounts = []\nloader.entrypoint.uri = \"file:x\"\nloader.env.A = true",
		"no passthrough": "libos.entrypoint = \"/a\"\nfs.mounts = []\nloader.entrypoint.uri = \"file:x\"\nloader.env.A = { passthrough = false }",
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(manifestText("enclave_size = \"1G\"\n"))
	f.Add([]byte("[loader.env]\nA = { passthrough = true }"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if m, err := Parse(b); err == nil {
			_ = m.Check()
			_, _, _ = m.SignParams([32]byte{}, 20260101)
		}
	})
}
