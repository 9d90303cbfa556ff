package guest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/gramine"
	"hitoku.dev/enclave/gramine/graminetest"
	"hitoku.dev/internal/packed"
	"hitoku.dev/measure/workload"
)

// enclosed is an image for SGX with everything around it: device, platform, node agent.
type enclosed struct {
	t        *testing.T
	root     string
	manifest *workload.Manifest
	device   *graminetest.Device
	agent    *fakeAgent
	world    *collateraltest.World
	clock    *fakeClock
	lines    *logLines
	options  SGXOptions
	started  *Replacement
}

func newEnclosed(t *testing.T) *enclosed {
	t.Helper()
	e := &enclosed{t: t, root: t.TempDir(), clock: newFakeClock(), lines: &logLines{}}
	e.world = collateraltest.New(t, e.clock.Now())
	platform := e.world.Platform("00906ed50000", dcap.CAPlatform)
	e.device = graminetest.New(platform, graminetest.Identity([32]byte{1, 2}, [32]byte{3}), "own", "other")
	e.agent = newFakeAgent(t, newFakeTEE(t), e.clock)
	verifier := dcap.NewVerifier(e.world.Root(), platform.Collateral(attest.SGX), false)
	e.agent.verify = func(b *attest.Binding, quote []byte) error {
		r, err := verifier.Verify(quote, e.world.Now())
		if err != nil {
			return err
		}
		if data := b.ReportData(); !r.OK() || !bytes.Equal(r.Claims.ReportData, data[:]) {
			return fmt.Errorf("evidence is refused: %+v", r.Rules)
		}
		return nil
	}
	e.manifest = manifestOf(t, t.TempDir())
	m := e.manifest
	m.TEE, m.Files, m.AccountRoot = workload.TEESGX, []workload.File{}, e.agent.ca.rootHash()
	m.SGX = &workload.SGX{Encrypted: []workload.EncryptedMount{}, Memory: []string{"/run", "/srv", "/usr/lib/app"}}
	m.Exec = workload.Exec{Entry: []string{"app"}, Args: []string{"report", "x"}, Groups: []uint32{}, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), WorkDir: "/srv/work", Home: "/home/app"}
	m.Env.Fixed = []string{"PATH=/nowhere:/bin", "LD_LIBRARY_PATH=/opt/lib"}
	m.Env.Allowed, m.Env.Mutable = []string{"REGION"}, []string{"LEVEL=info"}
	m.Certificates = []workload.Certificate{{
		AltNames: []string{"DNS:www.example"}, Subject: "app.example", KeyType: "EC", KeySize: 256,
		KeyPath: "/run/key.pem", CertPath: "/run/tls/cert.pem", ChainPath: "/run/tls/chain.pem",
	}}
	write(t, e.root+"/bin/app", "program", 0o755)
	must(t, os.MkdirAll(e.root+"/usr/lib/app", 0o755))
	e.options = SGXOptions{
		Root: e.root, Args: []string{"app", "report", "x"}, Device: e.device, Log: NewLog(e.lines), Clock: e.clock, Rand: rand.Reader,
		Env:     []string{"NODE_AGENT_BASE_URL=" + e.agent.URL, "LD_LIBRARY_PATH=/.hitoku/gramine/lib", "REGION=eu", "SECRET=1", "PATH=/nowhere:/bin"},
		Replace: func(p *Replacement) error { e.started = p; return syscall.ENOEXEC },
	}
	return e
}

// pack puts an archive into the image.
func (e *enclosed) pack(names ...string) {
	e.t.Helper()
	var b bytes.Buffer
	w := packed.NewWriter(&b)
	for _, name := range names {
		entry := packed.Entry{Name: strings.TrimSuffix(name, "/"), Dir: strings.HasSuffix(name, "/"), Mode: 0o555}
		if !entry.Dir {
			entry.Size = int64(len(name))
		}
		must(e.t, w.Add(entry, strings.NewReader(name)))
	}
	must(e.t, w.Close())
	sum := sha256.Sum256(b.Bytes())
	e.manifest.SGX.Packed = &workload.Packed{Path: "/.hitoku/sgx/packed.tar", Root: "/", SHA256: hex.EncodeToString(sum[:]), Size: int64(b.Len())}
	write(e.t, e.root+e.manifest.SGX.Packed.Path, b.String(), 0o644)
}

// convert writes the manifest, as `hitoku convert` does.
func (e *enclosed) convert() {
	e.t.Helper()
	raw, err := workload.Encode(e.manifest)
	must(e.t, err)
	write(e.t, e.root+workload.ManifestPath, string(raw), 0o644)
}

func (e *enclosed) run() int {
	e.t.Helper()
	e.convert()
	return RunSGX(e.t.Context(), e.options)
}

func TestSGXStartsTheProgram(t *testing.T) {
	t.Parallel()
	e := newEnclosed(t)
	e.manifest.SGX.Encrypted = []workload.EncryptedMount{{Key: "own", Path: "/data"}, {Key: workload.KeyMREnclave, Path: "/data2"}, {Key: "own", Path: "/data3"}}
	e.pack("usr/lib/app/", "usr/lib/app/deep/", "usr/lib/app/deep/x.js")
	if code := e.run(); code != exitCannotExecute || e.started == nil {
		t.Fatalf("exit code %d; log:\n%s", code, e.lines)
	}
	p := e.started
	if p.Path != "/bin/app" || p.Dir != "/srv/work" || !slices.Equal(p.Args, []string{"app", "report", "x"}) {
		t.Errorf("%+v", p)
	}
	if want := []string{"PATH=/nowhere:/bin", "LD_LIBRARY_PATH=/.hitoku/gramine/lib:/opt/lib", "LEVEL=info", "REGION=eu", "HOME=/home/app"}; !slices.Equal(p.Env, want) {
		t.Errorf("environment %q", p.Env)
	}
	for name, mode := range map[string]os.FileMode{"/run/key.pem": 0o600, "/run/tls/cert.pem": 0o644, "/run/tls/chain.pem": 0o644, "/usr/lib/app/deep/x.js": 0o555} {
		if st, err := os.Lstat(e.root + name); err != nil || st.Mode() != mode || st.Size() == 0 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if !isFolder(e.root + "/srv/work") {
		t.Error("no working folder")
	}
	key := e.device.Key("own")
	if len(key) != gramine.KeySize || bytes.Equal(key, make([]byte, gramine.KeySize)) || e.device.Key("other") != nil {
		t.Errorf("keys %x, %x", key, e.device.Key("other"))
	}
	for _, text := range []string{"measurement 0102", "ends at", "nothing renews it", "3 files and folders", "variable SECRET is ignored", `step "program" failed`} {
		if !strings.Contains(e.lines.String(), text) {
			t.Errorf("log has no %q:\n%s", text, e.lines)
		}
	}
	if strings.Contains(e.lines.String(), "LD_LIBRARY_PATH") {
		t.Errorf("log:\n%s", e.lines)
	}
	// Once more over what the first start left: the same key of the folder, unless the host gives something else.
	must(t, os.RemoveAll(e.root+"/usr/lib/app/deep"))
	if e.run(); !bytes.Equal(key, e.device.Key("own")) {
		t.Error("another key at the second start")
	}
	must(t, os.RemoveAll(e.root+"/usr/lib/app/deep"))
	e.options.Env[2] = "REGION=us"
	if e.run(); bytes.Equal(key, e.device.Key("own")) {
		t.Error("the host's variable does not change the key of the folder")
	}
}

func TestSGXRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(e *enclosed)
		step   string
		want   string
		code   int
	}{
		"simulated image": {func(e *enclosed) {
			e.manifest.TEE, e.manifest.SGX, e.manifest.Files = workload.TEESimulated, nil, []workload.File{{Path: "/", Type: workload.TypeDir}}
		}, "manifest", `for "sim"`, 1},
		"another user": {func(e *enclosed) { e.manifest.Exec.UID++ }, "surroundings", "loader.uid", 1},
		"arguments":    {func(e *enclosed) { e.options.Args = []string{"app", "evil"} }, "surroundings", `seen ["app" "evil"]`, 1},
		"GODEBUG":      {func(e *enclosed) { e.options.Env = append(e.options.Env, "GODEBUG=x") }, "surroundings", "GODEBUG", 1},
		"direct mode":  {func(e *enclosed) { e.device.Type = "" }, "enclave", "certificate for app.example: no SGX attestation here", 1},
		"direct mode, key": {func(e *enclosed) {
			e.device.Type, e.manifest.Certificates = "", nil
			e.manifest.SGX.Encrypted = []workload.EncryptedMount{{Key: "own", Path: "/data"}}
		}, "enclave", "key own of an encrypted folder", 1},
		"no attestation":    {func(e *enclosed) { e.device.Type = "none" }, "certificates", `remote attestation "none"`, 1},
		"no quote":          {func(e *enclosed) { e.device.Fail = failing("quote", syscall.EACCES) }, "certificates", "aesm.socket", 1},
		"sealing key":       {func(e *enclosed) { encrypt(e, "own"); e.device.Fail = failing("keys/_sgx_mrenclave", syscall.EACCES) }, "keys of encrypted folders", "permission denied", 1},
		"unknown key":       {func(e *enclosed) { encrypt(e, "foreign") }, "keys of encrypted folders", "no encrypted mount", 1},
		"no archive":        {func(e *enclosed) { e.pack("usr/lib/app/x"); must(e.t, os.Remove(e.root+"/.hitoku/sgx/packed.tar")) }, "packed archive", "packed.tar: no such file", 1},
		"longer archive":    {func(e *enclosed) { e.pack("usr/lib/app/x"); e.manifest.SGX.Packed.Size++ }, "packed archive", "wanted 2049 bytes", 1},
		"other archive":     {func(e *enclosed) { e.pack("usr/lib/app/x"); e.manifest.SGX.Packed.SHA256 = strings.Repeat("0", 64) }, "packed archive", "as measured", 1},
		"outside memory":    {func(e *enclosed) { e.pack("usr/lib/application") }, "packed archive", "/usr/lib/application is in no folder", 1},
		"over a file":       {func(e *enclosed) { e.pack("usr/lib/app/x"); write(e.t, e.root+"/usr/lib/app/x", "old", 0o644) }, "packed archive", "file exists", 1},
		"no agent":          {func(e *enclosed) { e.options.Env = nil }, "certificates", "NODE_AGENT_BASE_URL is not set", 1},
		"another account":   {func(e *enclosed) { e.agent.ca = newFakeCA(e.t, "evil", e.clock.Now()) }, "certificates", "account", 1},
		"no working folder": {func(e *enclosed) { e.manifest.Exec.WorkDir = "/nowhere" }, "program", "working folder /nowhere", 1},
		"not in PATH":       {func(e *enclosed) { e.manifest.Exec.Entry = []string{"none"}; e.options.Args[0] = "none" }, "program", "none in PATH", exitNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnclosed(t)
			e.t = t
			c.change(e)
			code := e.run()
			if code != c.code || e.started != nil || !strings.Contains(e.lines.String(), c.want) || !strings.Contains(e.lines.String(), fmt.Sprintf("step %q failed", c.step)) {
				t.Errorf("exit code %d, started %v, wanted %q in step %q; log:\n%s", code, e.started != nil, c.want, c.step, e.lines)
			}
		})
	}
}

func encrypt(e *enclosed, key string) {
	e.manifest.SGX.Encrypted = []workload.EncryptedMount{{Key: key, Path: "/data"}}
}

func failing(file string, err error) func(string) error {
	return func(name string) error {
		if name == file {
			return err
		}
		return nil
	}
}

// TestSGXWithoutProtection: an image that needs no evidence runs in Gramine's direct mode, and says so.
func TestSGXWithoutProtection(t *testing.T) {
	t.Parallel()
	e := newEnclosed(t)
	e.manifest.AccountRoot, e.manifest.Certificates = "", nil
	e.device.Type = ""
	e.run()
	if e.started == nil || !strings.Contains(e.lines.String(), "nothing here is protected") || !strings.Contains(e.lines.String(), "without a manager") {
		t.Errorf("started %v; log:\n%s", e.started, e.lines)
	}
	e.device.Type, e.started = "dcap", nil
	e.manifest.Env.Fixed = append(e.manifest.Env.Fixed, "GODEBUG=madvdontneed=1") // measured, so that it may act
	e.options.Env = append(e.options.Env, "GODEBUG=madvdontneed=1")
	e.device.Body.Flags |= dcap.FlagDebug
	if e.run(); e.started == nil || !strings.Contains(e.lines.String(), "debug enclave") {
		t.Errorf("log:\n%s", e.lines)
	}
}

func TestWithLibraries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ own, first, want string }{
		{"-", "", ""},
		{"/a", "", "/a"},
		{"-", "/g", "/g"},
		{"", "/g", "/g"},
		{"/g", "/g", "/g"},
		{"/a", "/g:/a", "/g:/a"},
		{"/a", "/g", "/g:/a"},
	} {
		env := []string{"X=1"}
		if c.own != "-" {
			env = append(env, "LD_LIBRARY_PATH="+c.own)
		}
		if got := envMap(withLibraries(env, c.first)); got["LD_LIBRARY_PATH"] != c.want || got["X"] != "1" {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestOnSGX(t *testing.T) {
	t.Parallel()
	e := newEnclosed(t)
	if OnSGX(e.root) {
		t.Error("no manifest")
	}
	write(t, e.root+workload.ManifestPath, "{}", 0o644)
	if OnSGX(e.root) {
		t.Error("a short manifest")
	}
	e.convert()
	if !OnSGX(e.root) {
		t.Error("not recognised")
	}
	e.manifest.TEE, e.manifest.SGX, e.manifest.Files = workload.TEESimulated, nil, []workload.File{{Path: "/", Type: workload.TypeDir}}
	if e.convert(); OnSGX(e.root) {
		t.Error("the simulation's manifest")
	}
}

// TestSGXNatively runs the real guest program with a device made of files: its
// quote is a pipe, from which this test answers as Gramine would, and the program
// really replaces the guest.
func TestSGXNatively(t *testing.T) {
	t.Parallel()
	needRoot(t)
	e := newEnclosed(t)
	folder, err := programs()
	must(t, err)
	for from, to := range map[string]string{"app": "/bin/app", "init": workload.GuestPath} {
		data, err := os.ReadFile(filepath.Join(folder, from))
		must(t, err)
		write(t, e.root+to, string(data), 0o755)
	}
	m := e.manifest
	m.Exec.UID, m.Exec.GID, m.Exec.Groups = 1000, 1000, []uint32{4, 1000}
	m.Exec.Entry, m.Exec.Args = []string{"app"}, []string{"report", "x"}
	m.SGX.Encrypted = []workload.EncryptedMount{{Key: "own", Path: "/data"}}
	e.pack("usr/lib/app/", "usr/lib/app/x.js")
	e.convert()
	device := e.root + gramine.Dir
	for _, name := range []string{"attestation_type", "my_target_info", "report", "keys/_sgx_mrenclave"} {
		data, err := e.device.Read(name, 1<<10)
		must(t, err)
		write(t, filepath.Join(device, name), string(data), 0o644)
	}
	for _, name := range []string{"user_report_data", "target_info", "keys/own"} {
		write(t, filepath.Join(device, name), "", 0o666)
	}
	quote := filepath.Join(device, "quote")
	must(t, syscall.Mkfifo(quote, 0o644))
	must(t, errors.Join(os.Chmod(filepath.Join(device, "user_report_data"), 0o666), os.Chmod(filepath.Join(device, "target_info"), 0o666), os.Chmod(filepath.Join(device, "keys/own"), 0o666)))
	must(t, os.MkdirAll(e.root+"/run", 0o755))
	must(t, errors.Join(os.MkdirAll(e.root+"/srv", 0o755), os.Chown(e.root+"/run", 1000, 1000), os.Chown(e.root+"/srv", 1000, 1000), os.Chown(e.root+"/usr/lib/app", 1000, 1000), os.Chmod(e.root, 0o755)))
	e.agent.clock = SystemClock{}
	e.agent.ca = newFakeCA(t, "account", SystemClock{}.Now())
	m.AccountRoot = e.agent.ca.rootHash()
	e.convert()

	answered := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(quote, os.O_WRONLY, 0) // waits for the guest to open it
		if err != nil {
			answered <- err
			return
		}
		defer f.Close()
		data, err := os.ReadFile(filepath.Join(device, "user_report_data"))
		err = errors.Join(err, e.device.Write("user_report_data", data))
		made, err2 := e.device.Read("quote", gramine.MaxQuote)
		_, err3 := f.Write(made)
		answered <- errors.Join(err, err2, err3)
	}()
	cmd := exec.Command(workload.GuestPath, "app", "report", "x")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &log, "/"
	cmd.Env = e.options.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: e.root, Credential: &syscall.Credential{Uid: 1000, Gid: 1000, Groups: []uint32{4, 1000}}}
	if err := cmd.Run(); err != nil {
		// Whoever waits at the pipe must not wait for ever.
		f, _ := os.OpenFile(quote, os.O_RDWR, 0)
		t.Fatalf("%v (%v); log:\n%s", err, f.Close(), log.String())
	}
	must(t, <-answered)
	var r reported
	must(t, json.Unmarshal(out.Bytes(), &r))
	if !slices.Equal(r.Args, []string{"app", "report", "x"}) || r.UID != 1000 || r.GID != 1000 || !slices.Equal(r.Groups, []int{4, 1000}) || r.Dir != "/srv/work" || len(r.Open) != 0 {
		t.Errorf("started as %+v", r)
	}
	if want := []string{"PATH=/nowhere:/bin", "LD_LIBRARY_PATH=/.hitoku/gramine/lib:/opt/lib", "LEVEL=info", "REGION=eu", "HOME=/home/app"}; !slices.Equal(r.Env, want) {
		t.Errorf("environment %q", r.Env)
	}
	key, err := os.ReadFile(filepath.Join(device, "keys/own"))
	if err != nil || len(key) != gramine.KeySize || r.PPID != os.Getpid() {
		t.Errorf("key of %d bytes, %v; parent %d", len(key), err, r.PPID)
	}
	data, err := os.ReadFile(e.root + "/run/key.pem")
	if err != nil || !strings.Contains(string(data), "PRIVATE KEY") || r.Files["key.pem"] != string(data) {
		t.Errorf("%v; log:\n%s", err, log.String())
	}
}

// TestLoadRefusesSGX: an enclave's manifest lists no files, so that the simulation's
// checks would find nothing wrong.
func TestLoadRefusesSGX(t *testing.T) {
	t.Parallel()
	e := newEnclosed(t)
	e.convert()
	write(t, e.root+workload.SigstructPath, strings.Repeat("x", sigstructSize), 0o644)
	if _, _, err := load(e.root); err == nil || !strings.Contains(err.Error(), `is for "sgx"`) {
		t.Error(err)
	}
}
