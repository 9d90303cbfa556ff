package sgxplan

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

var update = flag.Bool("update", false, "write the golden files")

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func file(path string) TrustedFile { return TrustedFile{Path: path, SHA256: hash, Size: 1} }

// sample is an image like those of Flask.
func sample() Input {
	return Input{
		Config: &v1.Config{},
		Exec:   workload.Exec{Entry: []string{"python3"}, Args: []string{"app.py"}, UID: 1000, GID: 1001, WorkDir: "/app"},
		Env:    workload.Env{Fixed: []string{"PATH=/usr/bin", "A=b=c\n\"'é"}, Allowed: []string{"TZ"}, Mutable: []string{"PORT=80"}},
		Folders: []workload.Folder{
			{Mode: workload.FolderRW, Path: "/dev/shm"}, {Mode: workload.FolderRW, Path: "/run"}, {Mode: workload.FolderRW, Path: "/tmp"}, {Mode: workload.FolderRW, Path: "/var/run"},
		},
		Files:    []TrustedFile{file("/usr/bin/python3"), file("/app/app.py"), file(workload.GuestPath), file("/lib/x86_64-linux-gnu/libc.so.6"), file("/usr/lib/x86_64-linux-gnu/libc.so.6")},
		DirLinks: []DirLink{{"/lib", "usr/lib"}, {"/lib64", "usr/lib64"}, {"/bin", "/usr/bin"}, {"/var/run", "/run"}, {"/loop", "loop2"}, {"/loop2", "loop"}, {"/usr/chain", "../bin"}, {"/a/up", ".."}},
		Runtimes: []string{"elf-glibc", "python3.11"},
		Sysdb:    file("/.hitoku/gramine/libsysdb.so"),
		LibC:     "/.hitoku/gramine/lib",
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	flask := sample()
	static := Input{
		Exec: workload.Exec{Entry: []string{"/server"}, WorkDir: "/"}, Env: workload.Env{Fixed: []string{"PATH=/bin"}},
		Files: []TrustedFile{file("/server"), file(workload.GuestPath)}, Runtimes: []string{"static", "go"}, Sysdb: file("/.hitoku/gramine/libsysdb.so"),
	}
	java := sample()
	java.Exec.Entry, java.Exec.Args = []string{"java", "-jar"}, []string{"/app.jar"}
	java.Runtimes = []string{"elf-glibc", "java17"}
	java.Env.Fixed = append(java.Env.Fixed, "JAVA_TOOL_OPTIONS=-Xmx1g", "LD_LIBRARY_PATH=/opt/lib")
	java.Options = Options{JavaMode: "openjdk", EnclaveSize: "8G", Threads: 64, Encrypted: []EncryptedMount{{"/data", "sealing-mrsigner"}}}
	for name, in := range map[string]Input{"flask": flask, "static": static, "java": java} {
		m, r, err := Plan(in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, _ := json.MarshalIndent(struct {
			Manifest *gramine.Manifest
			Report   Report
		}{m, r}, "", " ")
		got = append(got, '\n')
		golden := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(golden, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		slices.Reverse(in.Files)
		slices.Reverse(in.DirLinks)
		if again, _, err := Plan(in); err != nil || cmp.Diff(m, again) != "" {
			t.Errorf("%s: another order gives another manifest: %v", name, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Input){
		"sgx.enclave_size: \"3G\"":              func(in *Input) { in.Options.EnclaveSize = "3G" },
		"sgx.enclave_size: \"x\"":               func(in *Input) { in.Options.EnclaveSize = "x" },
		"sgx.enclave_size: \"2048G\"":           func(in *Input) { in.Options.EnclaveSize = "2048G" },
		"does not fit below 2G":                 func(in *Input) { in.Options.EnclaveSize = "1G" },
		"sgx.max_threads: 5000":                 func(in *Input) { in.Options.Threads = 5000 },
		"neither ENTRYPOINT nor CMD":            func(in *Input) { in.Exec.Entry, in.Exec.Args = nil, nil },
		"loader.argv: \"\\xff\"":                func(in *Input) { in.Exec.Args = []string{"\xff"} },
		"an argument of 131073 bytes":           func(in *Input) { in.Exec.Args = []string{strings.Repeat("x", 131073)} },
		"it has a zero byte":                    func(in *Input) { in.Exec.Args = []string{"a\x00"} },
		"arguments from the host":               func(in *Input) { in.Exec.AllowArgs = true },
		"fs.start_dir":                          func(in *Input) { in.Exec.WorkDir = "/\xff" },
		"wanted Gramine's libsysdb.so":          func(in *Input) { in.Sysdb.SHA256 = "" },
		"loader.env: \"A=\\xff\"":               func(in *Input) { in.Env.Fixed = []string{"A=\xff"} },
		"loader.env: \"=x\"":                    func(in *Input) { in.Env.Fixed = []string{"=x"} },
		"loader.env: \"\"":                      func(in *Input) { in.Env.Allowed = []string{""} },
		"loader.env.LD_LIBRARY_PATH: from":      func(in *Input) { in.Env.Allowed = []string{"LD_LIBRARY_PATH"} },
		"loader.env.GODEBUG: from":              func(in *Input) { in.Env.Mutable = []string{"GODEBUG=x"} },
		"java mode: \"x\"":                      func(in *Input) { in.Options.JavaMode = "x" },
		"Java mode fixes it":                    func(in *Input) { in.Options.JavaMode, in.Env.Allowed = "openjdk", []string{"JAVA_TOOL_OPTIONS"} },
		"preheat_enclave: with EDMM":            func(in *Input) { in.Options.Preheat, in.Options.EDMM = true, true },
		"sgx.cpu_features.mpx: \"unspecified\"": func(in *Input) { in.Options.CPUFeatures = map[string]string{"mpx": "unspecified"} },
		"sgx.cpu_features.sse: \"required\"":    func(in *Input) { in.Options.CPUFeatures = map[string]string{"sse": "required"} },
		"sys.stack.size: \"1\"":                 func(in *Input) { in.Options.StackSize = "1" },
		"sys.brk.max_size: \"x\"":               func(in *Input) { in.Options.BrkSize = "x" },
		"sys.fds.limit: -1":                     func(in *Input) { in.Options.FDLimit = -1 },
		"fs.mounts: \"/proc/x\": Gramine makes": func(in *Input) { in.Folders = []workload.Folder{{Path: "/proc/x"}} },
		"fs.mounts: \"/\": wanted an absolute":  func(in *Input) { in.Folders = []workload.Folder{{Path: "/"}} },
		"\"/.hitoku/x\": it belongs":            func(in *Input) { in.Folders = []workload.Folder{{Path: "/.hitoku/x"}} },
		"fs.mounts.key_name: \"../k\"":          func(in *Input) { in.Options.Encrypted = []EncryptedMount{{"/d", "../k"}} },
		"it is given two keys, a and b":         func(in *Input) { in.Options.Encrypted = []EncryptedMount{{"/d", "a"}, {"/d", "b"}} },
		"at most 512 bytes":                     func(in *Input) { in.Options.Encrypted = []EncryptedMount{{"/" + strings.Repeat("d", 512), "a"}} },
		"sgx.trusted_files: \"/a\\n\"":          func(in *Input) { in.Files = append(in.Files, TrustedFile{Path: "/a\n", SHA256: hash, Asked: true}) },
		"sgx.trusted_files: /etc/hosts: the container's engine": func(in *Input) {
			in.Files = append(in.Files, TrustedFile{Path: "/etc/hosts", SHA256: hash, Asked: true})
		},
		"sgx.trusted_files: /secret/x: an encrypted": func(in *Input) {
			in.Files = append(in.Files, TrustedFile{Path: "/secret/x", SHA256: hash, Asked: true})
			in.Options.Encrypted = []EncryptedMount{{Path: "/secret"}}
		},
		"sgx.trusted_files: /z: hash":              func(in *Input) { in.Files = append(in.Files, TrustedFile{Path: "/z"}) },
		"libc.so.6: it has two hashes":             func(in *Input) { in.Files[3].SHA256 = strings.Repeat("1", 64) },
		"the guest is not among the trusted":       func(in *Input) { in.Files = in.Files[:2] },
		"sgx.allowed_files: \"x\"":                 func(in *Input) { in.Options.Allowed = []string{"x"} },
		"--allow insecure:sgx.allowed_files acc":   func(in *Input) { in.Options.Allowed = []string{"/usr/lib/x"} },
		"whose check would end":                    func(in *Input) { in.Options.Allowed = []string{"/app/app.py"} },
		"trusted files lie below it":               func(in *Input) { in.Options.Allowed = []string{"/app/"} },
		"it is code":                               func(in *Input) { in.Options.Allowed = []string{"/opt/x.so.1"} },
		"sgx.debug: true: whoever":                 func(in *Input) { in.Options.Debug = true },
		"--allow: \"x\": no such word":             func(in *Input) { in.Options.Allow = []string{"x"} },
		"cannot run under Gramine: it is a proces": func(in *Input) { in.Exec.Entry = []string{"/sbin/init"} },
		"no raw sockets":                           func(in *Input) { in.Exec.Entry = []string{"tini", "--", "ping"} },
		"s6 is a process manager":                  func(in *Input) { in.Exec.Entry, in.Files = []string{"/init"}, append(in.Files, file("/bin/s6-svscan")) },
	} {
		in := sample()
		change(&in)
		if _, _, err := Plan(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	no := false
	for name, c := range map[string]struct {
		change func(*Input)
		holds  func(*gramine.Manifest, *Report) bool
	}{
		"edmm": {func(in *Input) { in.Options.EDMM, in.Options.EnclaveSize = true, "1G" }, func(m *gramine.Manifest, _ *Report) bool { return m.SGX.EDMM && m.SGX.EnclaveSize == "1G" }},
		"isv":  {func(in *Input) { in.Options.ISVProdID, in.Options.ISVSVN = 3, 4 }, func(m *gramine.Manifest, _ *Report) bool { return m.SGX.ISVProdID == 3 && m.SGX.ISVSVN == 4 }},
		"debug": {func(in *Input) { in.Options.Debug, in.Options.Allow = true, []string{"debug", "insecure:x"} }, func(m *gramine.Manifest, r *Report) bool {
			return m.SGX.Debug && len(r.Weak) == 1 && said(r, "nothing needs it")
		}},
		"cpu": {func(in *Input) { in.Options.CPUFeatures = map[string]string{"avx": "required", "pkru": "required"} }, func(m *gramine.Manifest, _ *Report) bool {
			return m.SGX.CPUFeatures.AVX == "required" && m.SGX.CPUFeatures.PKRU == "required"
		}},
		"exinfo": {func(in *Input) { in.Runtimes = []string{"node"} }, func(m *gramine.Manifest, _ *Report) bool { return m.SGX.UseExinfo }},
		"none":   {func(in *Input) { in.Runtimes, in.Options.UseExinfo = []string{"node"}, &no }, func(m *gramine.Manifest, _ *Report) bool { return !m.SGX.UseExinfo }},
		"sys": {func(in *Input) {
			in.Options = Options{StackSize: "1M", BrkSize: "1G", FDLimit: 7, NoSigterm: true, NoDomainNames: true, NoSubprocesses: true, Preheat: true}
		}, func(m *gramine.Manifest, _ *Report) bool {
			y := m.Sys
			return y.StackSize == "1M" && y.BrkMaxSize == "1G" && y.FDLimit == 7 && !y.SigtermInjection && !y.DomainNamesConf && y.DisallowSubprocess && m.SGX.PreheatEnclave
		}},
		"allowed": {func(in *Input) { in.Options.Allowed = []string{"/etc/hosts", "/dev/x"} }, func(m *gramine.Manifest, _ *Report) bool {
			return slices.Equal(m.SGX.AllowedFiles, []string{"dev:/dev/x", "file:/etc/hosts"})
		}},
		"keys": {func(in *Input) {
			in.Options.Encrypted = []EncryptedMount{{"/a", ""}, {"/b", "own"}}
			in.Folders = append(in.Folders, workload.Folder{Mode: workload.FolderEncrypted, Path: "/c"})
		}, func(_ *gramine.Manifest, r *Report) bool {
			return cmp.Equal(r.SGX.Encrypted, []workload.EncryptedMount{{Key: workload.KeyMREnclave, Path: "/a"}, {Key: "own", Path: "/b"}, {Key: workload.KeyMREnclave, Path: "/c"}}) && said(r, "next version cannot read")
		}},
		"key of a link": {func(in *Input) {
			in.DirLinks = append(in.DirLinks, DirLink{"/data", "srv/data"})
			in.Folders = append(in.Folders, workload.Folder{Mode: workload.FolderEncrypted, Path: "/data"})
		}, func(m *gramine.Manifest, r *Report) bool {
			return len(r.SGX.Encrypted) == 2 && slices.ContainsFunc(m.FS.Mounts, func(f gramine.Mount) bool {
				return f.Path == "/data" && f.Type == gramine.MountEncrypted && f.URI == "file:/srv/data"
			})
		}},
		"packed": {func(in *Input) {
			in.Packed, in.PackedFolders = &workload.Packed{Path: "/.hitoku/sgx/packed.tar", Root: "/", SHA256: hash, Size: 1}, []string{"/srv"}
		}, func(m *gramine.Manifest, r *Report) bool {
			return slices.Contains(r.SGX.Memory, "/srv") && slices.Contains(m.SGX.TrustedFiles, gramine.TrustedFile{URI: "file:/.hitoku/sgx/packed.tar", SHA256: hash})
		}},
		"volume": {func(in *Input) {
			in.Config.Volumes = map[string]struct{}{"/v": {}}
			in.Folders = append(in.Folders, workload.Folder{Mode: workload.FolderRW, Path: "/v"})
		}, func(_ *gramine.Manifest, r *Report) bool { return said(r, "--encrypted /v keeps it") }},
		"hosts": {func(in *Input) {
			in.Files = append(in.Files, file("/etc/hosts"), file("/etc/resolv.conf"))
			in.Hosts = file("/.hitoku/sgx/hosts")
		}, func(m *gramine.Manifest, _ *Report) bool {
			return slices.Contains(m.FS.Mounts, gramine.Mount{Type: gramine.MountChroot, Path: "/etc/hosts", URI: "file:/.hitoku/sgx/hosts"}) &&
				slices.Contains(m.SGX.TrustedFiles, gramine.TrustedFile{URI: "file:/.hitoku/sgx/hosts", SHA256: hash}) &&
				!slices.ContainsFunc(m.SGX.TrustedFiles, func(f gramine.TrustedFile) bool { return strings.HasPrefix(f.URI, "file:/etc/") })
		}},
		"hosts of the engine": {func(in *Input) {
			in.Hosts, in.Options.Allowed = file("/.hitoku/sgx/hosts"), []string{"/etc/hosts"}
		}, func(m *gramine.Manifest, _ *Report) bool {
			return slices.Contains(m.SGX.AllowedFiles, "file:/etc/hosts") && !slices.ContainsFunc(m.FS.Mounts, func(x gramine.Mount) bool { return x.Path == "/etc/hosts" })
		}},
		"odd": {func(in *Input) {
			for range 12 {
				in.Files = append(in.Files, TrustedFile{Path: "/\xff", SHA256: hash})
			}
		}, func(_ *gramine.Manifest, r *Report) bool {
			return said(r, "is left out: it is not UTF-8") && said(r, "2 more files")
		}},
		"covered": {func(in *Input) { in.Files = append(in.Files, file("/var/run/x")) }, func(m *gramine.Manifest, _ *Report) bool {
			return !slices.ContainsFunc(m.SGX.TrustedFiles, func(f gramine.TrustedFile) bool { return strings.HasSuffix(f.URI, "run/x") })
		}},
		"threads": {func(in *Input) { in.Options.Threads, in.Runtimes = 8, []string{"java21"} }, func(_ *gramine.Manifest, r *Report) bool {
			return said(r, "the guest alone") && said(r, "java21 starts")
		}},
		"memory": {func(in *Input) { in.Options.EnclavesAtOneMoment = 3 }, func(_ *gramine.Manifest, r *Report) bool { return r.Memory == "12288 MiB for 3 enclaves of 4G" }},
		"2G":     {func(in *Input) { in.Options.EnclaveSize = "2G" }, func(_ *gramine.Manifest, r *Report) bool { return said(r, "4G is advised") }},
		"openj9": {func(in *Input) { in.Options.JavaMode = "openj9" }, func(m *gramine.Manifest, _ *Report) bool {
			return strings.HasPrefix(m.Loader.Env["JAVA_TOOL_OPTIONS"].Value, "-Xnojit") && m.Loader.Env["MALLOC_ARENA_MAX"].Value == "1"
		}},
		"findings": {func(in *Input) {
			in.Exec.Entry, in.Options.Allow = []string{"systemd"}, []string{"unsupported"}
			in.Exec.Groups = []uint32{1}
			in.Files[0].Mode = 0o4755
			in.Files = append(in.Files, file("/lib/liburing.so.2"))
			in.Config = &v1.Config{StopSignal: "SIGQUIT", Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "x"}}, Volumes: map[string]struct{}{"/a\n": {}}}
		}, func(_ *gramine.Manifest, r *Report) bool { return len(r.Findings) == 7 }},
		"shell":  {func(in *Input) { in.Exec.Entry, in.Exec.Args = []string{"/bin/sh", "-c", "exec nginx -g x"}, nil }, func(_ *gramine.Manifest, r *Report) bool { return len(r.Findings) == 2 }},
		"script": {func(in *Input) { in.Exec.Entry = []string{"/start.sh", "init"} }, func(_ *gramine.Manifest, r *Report) bool { return len(r.Findings) == 1 }},
		"many": {func(in *Input) {
			for i := range 3001 {
				in.Files = append(in.Files, file("/d/"+strings.Repeat("x", i+1)))
			}
		}, func(_ *gramine.Manifest, r *Report) bool { return r.Entries == 3005 && said(r, "3005 trusted files") }},
	} {
		in := sample()
		c.change(&in)
		m, r, err := Plan(in)
		if err != nil || !c.holds(m, &r) {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
	if d := PredictedStart(10000); d != 5200*time.Millisecond {
		t.Error(d)
	}
}

func said(r *Report, text string) bool {
	return slices.ContainsFunc(r.Notices, func(n string) bool { return strings.Contains(n, text) })
}

func TestTrust(t *testing.T) {
	t.Parallel()
	m, _, err := Plan(sample())
	if err != nil {
		t.Fatal(err)
	}
	n := len(m.SGX.TrustedFiles)
	if err := Trust(m, file("/.hitoku/manifest.json")); err != nil || len(m.SGX.TrustedFiles) != n+1 || m.SGX.TrustedFiles[1].URI != "file:/.hitoku/manifest.json" {
		t.Error(err, m.SGX.TrustedFiles)
	}
	other := file("/.hitoku/manifest.json")
	other.SHA256 = strings.Repeat("2", 64)
	if Trust(m, other) == nil || Trust(m, file("x")) == nil {
		t.Error("a second hash or a relative path is taken")
	}
}
