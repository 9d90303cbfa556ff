package convert

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"hitoku.dev/internal/convert/sgxplan"
	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/internal/gramine/gramtest"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/internal/packed"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

// sgxSpec is an image with a program for glibc, links of all kinds, and files that it does not need.
func sgxSpec() imagetest.Spec {
	return imagetest.Spec{
		OCI: true,
		Config: v1.Config{
			Entrypoint: []string{"app"}, Cmd: []string{"serve"}, Env: []string{"PATH=/bin", "LD_PRELOAD=/lib/x.so"}, User: "7:8", WorkingDir: "/srv",
			Volumes: map[string]struct{}{"/data": {}},
		},
		Layers: []imagetest.LayerSpec{{Entries: entries{
			folder("usr"), folder("usr/bin"), folder("usr/lib64"), symlink("bin", "usr/bin"), symlink("lib64", "usr/lib64"), symlink("usr/back", ".."),
			imagetest.Program("usr/bin/app-1.0", gramtest.Program("the application")), symlink("usr/bin/app", "app-1.0"),
			imagetest.Program("usr/lib64/ld-linux-x86-64.so.2", gramtest.Library("loader of the image")),
			imagetest.Program("usr/bin/other", gramtest.Program("not needed")),
			file("usr/share/doc/readme", "not needed"), symlink("usr/share/pages", "/srv"), symlink("usr/share/other", "doc"), file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
			folder("var"), folder("var/log"), folder("var/log/app"), file("var/log/old", "x"), folder("data"), folder("data/db"),
			meta("dev/null", tar.TypeChar, 0o666, 0, 0),
		}}, {Entries: entries{folder("srv"), file("srv/page", "hello"), file("srv/caf\xe9", "odd name"), file("srv/deep/data.json", "{}")}}},
	}
}

// sgxRequest converts ref for SGX with a made-up Gramine.
func sgxRequest(t testing.TB, ref string) Request {
	t.Helper()
	q := request(t, ref)
	q.TEE = workload.TEESGX
	q.SGX = SGXOptions{Gramine: libos.Options{Ref: gramtest.Root("1.8").Write(t)}}
	return q
}

// enclaveOf reads the Gramine manifest of a converted image.
func enclaveOf(t testing.TB, ref string) (*Inspection, *gramine.Manifest) {
	t.Helper()
	x, err := Measure(t.Context(), ref, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Err(); err != nil {
		t.Fatal(err)
	}
	m, err := gramine.Parse([]byte(x.ManifestText()))
	if err != nil {
		t.Fatal(err)
	}
	return x, m
}

func trustedPaths(m *gramine.Manifest) []string {
	var out []string
	for _, f := range m.SGX.TrustedFiles {
		out = append(out, strings.TrimPrefix(f.URI, "file:"))
	}
	return out
}

func TestConvertSGX(t *testing.T) {
	t.Parallel()
	q := sgxRequest(t, save(t, imagetest.New(t, sgxSpec())))
	q.Options.Name = "app.example.com"
	q.Options.MutableEnv = []string{"PORT=80"}
	res := convertOK(t, q)
	x, m := enclaveOf(t, q.Output)
	if x.Measurement != res.Measurement || res.Measurement != res.Enclave.MRENCLAVE || x.MRSigner != res.MRSigner || x.ISVProdID != 7 || x.ISVSVN != 3 {
		t.Errorf("converted %+v\nseen %+v", res, x)
	}
	want := []string{
		"/.hitoku/gramine/runtime/glibc/ld-linux-x86-64.so.2", "/.hitoku/init", "/.hitoku/manifest.json", "/usr/bin/app", "/usr/bin/app-1.0", "/usr/lib64/ld-linux-x86-64.so.2",
		"/srv/page", "/srv/deep/data.json",
	}
	paths := trustedPaths(m)
	for _, p := range want {
		if !slices.Contains(paths, p) {
			t.Errorf("%s is not trusted", p)
		}
	}
	for _, p := range paths {
		if strings.HasPrefix(p, "/usr/share") || p == "/usr/bin/other" || strings.Contains(p, "/log") || strings.HasPrefix(p, "/bin/") {
			t.Errorf("%s is trusted and not needed", p)
		}
	}
	alias := func(p string) bool {
		return slices.ContainsFunc(m.FS.Mounts, func(x gramine.Mount) bool { return x.Path == p && x.Type == gramine.MountChroot })
	}
	if !alias("/usr/share/pages") || !alias("/bin") || alias("/usr/share/other") {
		t.Errorf("%+v", m.FS.Mounts)
	}
	if !slices.Equal(m.Loader.Argv, []string{"/.hitoku/init", "app", "serve"}) || m.Loader.UID != 7 || m.Loader.GID != 8 || m.FS.StartDir != "/srv" {
		t.Errorf("%q as %d:%d in %s", m.Loader.Argv, m.Loader.UID, m.Loader.GID, m.FS.StartDir)
	}
	for name, want := range map[string]gramine.EnvVar{
		"NODE_AGENT_BASE_URL": {Passthrough: true}, "NODE_AGENT": {Passthrough: true}, "PORT": {Passthrough: true}, "LD_PRELOAD": {Value: "/lib/x.so"},
		"LD_LIBRARY_PATH": {Value: libos.LibCDir(libos.Glibc) + ":/lib64"}, "PATH": {Value: "/bin"},
	} {
		if m.Loader.Env[name] != want {
			t.Errorf("%s: %+v, wanted %+v", name, m.Loader.Env[name], want)
		}
	}
	c := res.Config
	if !slices.Equal(c.Entrypoint, []string{"/.hitoku/gramine/loader", "/.hitoku/gramine/libpal.so", "init", "/.hitoku/sgx/app"}) || c.Cmd != nil || c.User != "7:8" {
		t.Errorf("%q %q %q", c.Entrypoint, c.Cmd, c.User)
	}
	if !slices.Equal(c.Env, []string{"PATH=/bin", "LD_LIBRARY_PATH=/.hitoku/g"}) {
		t.Errorf("the host's environment is %q", c.Env)
	}
	if !strings.Contains(strings.Join(res.Notices, "\n"), "caf") {
		t.Errorf("nothing is said of the odd name: %q", res.Notices)
	}
	if s := x.Options.SGX; !s.InMemory("/run/key.pem") || !s.InMemory("/data") || s.Packed == nil {
		t.Errorf("%+v", s)
	}
	for _, f := range x.Options.Certificates {
		if f.KeyPath != "/run/key.pem" {
			t.Errorf("%+v", f)
		}
	}
	if !strings.Contains(res.Policy, res.Measurement) || !strings.Contains(res.Policy, "sgx-quote-v3") {
		t.Errorf("policy:\n%s", res.Policy)
	}
}

func TestConvertSGXTwice(t *testing.T) {
	t.Parallel()
	ref := save(t, imagetest.New(t, sgxSpec()))
	first := sgxRequest(t, ref)
	second := first
	first.CacheDir = t.TempDir()
	second.Output, second.CacheDir = "oci:"+filepath.Join(t.TempDir(), "again")+":c", first.CacheDir
	third := second
	third.Output, third.CacheDir = "oci:"+filepath.Join(t.TempDir(), "once")+":c", ""
	a, b, c := convertOK(t, first), convertOK(t, second), convertOK(t, third)
	if a.Digest != b.Digest || a.Digest != c.Digest || b.CachedLayers != 2 {
		t.Errorf("%s, from the cache %s (%d layers), without %s", a.Digest, b.Digest, b.CachedLayers, c.Digest)
	}
	left, err := filepath.Glob(filepath.Join(first.CacheDir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %q %v", left, err)
	}
}

func TestSGXFiles(t *testing.T) {
	t.Parallel()
	var many entries
	for i := range 150 {
		many = append(many, file("app/modules/m"+string(rune('a'+i%26))+string(rune('a'+i/26))+".js", strings.Repeat("x", i)))
	}
	spec := sgxSpec()
	spec.Config.WorkingDir = "/app"
	spec.Layers = append(spec.Layers, imagetest.LayerSpec{Entries: many})
	ref := save(t, imagetest.New(t, spec))
	run := func(mode string, change func(*SGXOptions)) (*Result, *gramine.Manifest) {
		q := sgxRequest(t, ref)
		q.SGX.Files = mode
		if change != nil {
			change(&q.SGX)
		}
		res := convertOK(t, q)
		_, m := enclaveOf(t, q.Output)
		return res, m
	}
	_, lean := run(FilesLean, nil)
	_, all := run(FilesAll, nil)
	res, pack := run(FilesPacked, nil)
	if l, a, p := len(lean.SGX.TrustedFiles), len(all.SGX.TrustedFiles), len(pack.SGX.TrustedFiles); l < 150 || a <= l || p > 15 {
		t.Errorf("lean %d, all %d, packed %d", l, a, p)
	}
	if !slices.Contains(trustedPaths(all), "/usr/share/doc/readme") || slices.Contains(trustedPaths(all), "/var/log/old") {
		t.Errorf("all: %q", trustedPaths(all))
	}
	if res.Enclave.Packed < 150*512 {
		t.Errorf("%d bytes packed", res.Enclave.Packed)
	}
	_, with := run(FilesLean, func(o *SGXOptions) {
		o.Include, o.Exclude, o.Trace = []string{"/usr/share/**"}, []string{"/app/modules/ma*"}, []string{"/usr/bin/other"}
	})
	paths := trustedPaths(with)
	if !slices.Contains(paths, "/usr/share/doc/readme") || !slices.Contains(paths, "/usr/bin/other") || slices.Contains(paths, "/app/modules/maa.js") {
		t.Errorf("%q", paths)
	}
}

// TestSGXArchive reads what the guest unpacks.
func TestSGXArchive(t *testing.T) {
	t.Parallel()
	q := sgxRequest(t, save(t, imagetest.New(t, sgxSpec())))
	q.SGX.Include = []string{"/var/log/old"}
	res := convertOK(t, q)
	fs := layersOf(t, q.Output)
	id, err := fs.lookup(archivePath)
	if err != nil || fs.nodes[id].ino.size != res.Enclave.Packed {
		t.Fatal(err)
	}
	b, err := fs.content(t.Context(), archivePath)
	if err != nil {
		t.Fatal(err)
	}
	r := packed.NewReader(strings.NewReader(string(b)))
	var names []string
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, e.Name)
	}
	if want := []string{"data/db", "var/log/app", "var/log/old"}; !slices.Equal(names, want) {
		t.Errorf("%q, wanted %q", names, want)
	}
}

// layersOf is the merged root of a saved image.
func layersOf(t testing.TB, ref string) *rootfs {
	t.Helper()
	s := &scanner{limits: Limits{}.withDefaults(), note: &notices{}, tell: newProgress(nil), keep: func(p string, n int64) bool { return p == archivePath }}
	fs, _, err := s.scan(t.Context(), openImage(t, ref))
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestSGXRefusals(t *testing.T) {
	t.Parallel()
	ref := save(t, imagetest.New(t, sgxSpec()))
	for name, c := range map[string]struct {
		change func(*Request)
		kind   ErrorKind
		want   string
	}{
		"TLS front": {func(q *Request) {
			q.Options.Name = "a.example.com"
			q.Options.Fronts = []workload.Front{{Listen: 1, Forward: 2}}
		}, KindRequest, "--tls"},
		"on renew":    {func(q *Request) { q.Options.OnRenew = 1 }, KindRequest, "--on-renew"},
		"log":         {func(q *Request) { q.Options.LogPath = "/var/log/x" }, KindRequest, "--log"},
		"arguments":   {func(q *Request) { q.Options.AllowArgs = true }, KindRequest, "--allow-args"},
		"mode":        {func(q *Request) { q.SGX.Files = "most" }, KindRequest, "--files"},
		"no Gramine":  {func(q *Request) { q.SGX.Gramine.Ref = t.TempDir() }, KindRuntime, "no Gramine in it"},
		"no program":  {func(q *Request) { q.Options.Entrypoint = []string{"/none"} }, KindImage, "/none"},
		"small":       {func(q *Request) { q.SGX.Plan.EnclaveSize = "1G" }, KindEnclave, "--enclave-size 4G"},
		"debug":       {func(q *Request) { q.SGX.Plan.Debug = true }, KindEnclave, "--allow debug"},
		"odd name":    {func(q *Request) { q.SGX.Include = []string{"/srv/caf\xe9"} }, KindEnclave, "UTF-8"},
		"key path":    {func(q *Request) { q.Options.Certificates = []workload.Certificate{cert("/etc/k", "/etc/c")} }, KindImage, "/etc/k"},
		"fragment":    {func(q *Request) { q.SGX.Plan.Fragment = []byte("libos.entrypoint = \"/x\"") }, KindEnclave, "libos.entrypoint"},
		"fixed paths": {func(q *Request) { q.Options.AllowEnv = []string{"LD_LIBRARY_PATH"} }, KindEnclave, "LD_LIBRARY_PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := sgxRequest(t, ref)
			c.change(&q)
			_, err := Convert(t.Context(), q)
			if err == nil || !strings.Contains(err.Error(), c.want) || KindOf(err) != c.kind {
				t.Errorf("kind %q: %v\nwanted %q: %q", KindOf(err), err, c.kind, c.want)
			}
		})
	}
}

// TestSGXMeasurement changes one thing at a time: MRENCLAVE follows.
func TestSGXMeasurement(t *testing.T) {
	t.Parallel()
	ref := save(t, imagetest.New(t, sgxSpec()))
	base := sgxRequest(t, ref)
	base.DryRun, base.Output = true, ""
	first := convertOK(t, base).Measurement
	other := sgxSpec()
	other.Layers[1].Entries[1].Body = "HELLO"
	for name, c := range map[string]struct {
		change func(*Request)
		same   bool
	}{
		"nothing":      {func(*Request) {}, true},
		"another key":  {func(q *Request) { q.Signing.Date = 20270101 }, true},
		"a file":       {func(q *Request) { q.Input = save(t, imagetest.New(t, other)) }, false},
		"an argument":  {func(q *Request) { q.Options.Args = []string{"x"} }, false},
		"a variable":   {func(q *Request) { q.Options.Env = []string{"A=1"} }, false},
		"the size":     {func(q *Request) { q.SGX.Plan.EnclaveSize = "8G" }, false},
		"threads":      {func(q *Request) { q.SGX.Plan.Threads = 33 }, false},
		"product id":   {func(q *Request) { q.Signing.ISVProdID = 8 }, false},
		"the account":  {func(q *Request) { q.Options.AccountRoot = strings.Repeat("cd", 32) }, false},
		"Gramine":      {func(q *Request) { q.SGX.Gramine.Ref = gramtest.Root("1.9").Write(t) }, false},
		"files":        {func(q *Request) { q.SGX.Files = FilesAll }, false},
		"encryption":   {func(q *Request) { q.Options.Encrypted = []string{"/data"} }, false},
		"one more key": {func(q *Request) { q.SGX.Plan.Encrypted = []sgxplan.EncryptedMount{{Path: "/data", Key: "mine"}} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := base
			c.change(&q)
			if res := convertOK(t, q); (res.Measurement == first) != c.same {
				t.Errorf("%s, before %s", res.Measurement, first)
			}
		})
	}
}

func TestSGXChanged(t *testing.T) {
	t.Parallel()
	q := sgxRequest(t, save(t, imagetest.New(t, sgxSpec())))
	convertOK(t, q)
	again := q
	again.Output = "oci:" + filepath.Join(t.TempDir(), "b") + ":c"
	again.Options.Args = []string{"other"}
	again.SGX.Plan.Threads = 40
	again.SGX.Gramine.Ref = gramtest.Root("1.9").Write(t)
	convertOK(t, again)
	d, err := Diff(t.Context(), q.Output, again.Output, image.Options{})
	if err != nil || d.Same {
		t.Fatal(d, err)
	}
	var what []string
	for _, x := range d.Differences {
		what = append(what, x.What)
	}
	for _, want := range []string{"exec.args[0]", "sgx.max_threads", "loader.argv[2]", "loader /.hitoku/gramine/libpal.so, page at file offset 0x1000", "trusted file /.hitoku/manifest.json"} {
		if !slices.Contains(what, want) {
			t.Errorf("%s is not among %q", want, what)
		}
	}
	resigned := ResignRequest{Input: q.Output, Output: "oci:" + filepath.Join(t.TempDir(), "r") + ":c", Signer: q.Signing.Signer, Date: 20300101}
	res, err := Resign(t.Context(), resigned)
	if err != nil {
		t.Fatal(err)
	}
	if x, _ := enclaveOf(t, resigned.Output); x.Date != 20300101 || x.Measurement != res.Measurement {
		t.Errorf("%+v", x)
	}
}

func TestMendPyc(t *testing.T) {
	t.Parallel()
	timed := "\xa7\x0d\r\n\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08code"
	for name, c := range map[string]struct{ in, want string }{
		"by time":   {timed, "\xa7\x0d\r\n\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00code"},
		"by hash":   {"\xa7\x0d\r\n\x03\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08code", ""},
		"short":     {"\xa7\x0d\r\n\x00\x00", ""},
		"not a pyc": {strings.Repeat("x", 20), ""},
	} {
		b := []byte(c.in)
		if changed := mendPyc(b); changed != (c.want != "") || changed && string(b) != c.want || !changed && string(b) != c.in {
			t.Errorf("%s: %v %q", name, changed, b)
		}
	}
	spec := sgxSpec()
	spec.Layers = append(spec.Layers, imagetest.LayerSpec{Entries: entries{file("srv/__pycache__/a.cpython-311.pyc", timed), file("srv/a.py", "import os\n")}})
	q := sgxRequest(t, save(t, imagetest.New(t, spec)))
	q.SGX.FixPyc, q.SGX.Include = true, []string{"/srv/__pycache__"}
	convertOK(t, q)
	_, m := enclaveOf(t, q.Output)
	if f := listed(m, "/srv/__pycache__/a.cpython-311.pyc"); f == nil || f.SHA256 == trustedBytes("", []byte(timed)).SHA256 {
		t.Errorf("%+v", f)
	}
}

func TestSGXJava(t *testing.T) {
	t.Parallel()
	spec := sgxSpec()
	spec.Config.Entrypoint, spec.Config.Cmd = []string{"java"}, []string{"-version"}
	spec.Layers = append(spec.Layers, imagetest.LayerSpec{Entries: entries{
		folder("usr/lib"), folder("usr/lib/jvm"), imagetest.Program("usr/lib/jvm/17/bin/java", gramtest.Program("java")), symlink("usr/bin/java", "../lib/jvm/17/bin/java"),
	}})
	q := sgxRequest(t, save(t, imagetest.New(t, spec)))
	convertOK(t, q)
	_, m := enclaveOf(t, q.Output)
	if m.Loader.Argv[1] != "/usr/lib/jvm/17/bin/java" {
		t.Errorf("%q", m.Loader.Argv)
	}
}

func TestSGXTempDir(t *testing.T) {
	if dir := (&enclave{conversion: &conversion{Request: &Request{}}}).tempDir(); dir != os.TempDir() {
		t.Error(dir)
	}
}

func TestImageDate(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("west", -10*3600)
	for made, want := range map[time.Time]uint32{
		{}: sgx.DefaultDate, time.Unix(0, 0): sgx.DefaultDate, time.Date(1980, 1, 1, 0, 0, 1, 0, time.UTC): sgx.DefaultDate,
		time.Date(2024, 2, 29, 23, 0, 0, 0, zone): 20240301, time.Date(12024, 1, 1, 0, 0, 0, 0, time.UTC): sgx.DefaultDate,
	} {
		if got := imageDate(made); got != want {
			t.Errorf("%v: %d, wanted %d", made, got, want)
		}
	}
	spec := sgxSpec()
	img, err := mutate.CreatedAt(imagetest.New(t, spec), v1.Time{Time: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	q := sgxRequest(t, save(t, img))
	q.Signing.Date = 0
	if res := convertOK(t, q); res.Date != 20240506 {
		t.Errorf("%d", res.Date)
	}
}
