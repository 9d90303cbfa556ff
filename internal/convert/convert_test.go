package convert

import (
	"archive/tar"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/measure/workload"
)

func sampleSpec() imagetest.Spec {
	return imagetest.Spec{
		OCI: true,
		Config: v1.Config{
			Cmd: []string{"/bin/app"}, Env: []string{"PATH=/bin", "A=1"}, User: "app", WorkingDir: "/srv",
			Volumes: map[string]struct{}{"/data": {}}, Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "x"}},
			Labels: map[string]string{"own": "kept"}, StopSignal: "SIGQUIT",
		},
		Layers: []imagetest.LayerSpec{{Entries: entries{
			folder("bin"), imagetest.Program("bin/app", "#!program"), folder("etc"), folder("etc/ssl"), folder("etc/ssl/certs"),
			file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:100:101::/home/app:\n"),
			file("etc/group", "app:x:101:\nlog:x:5:app\n"), file("etc/ssl/certs/ca-certificates.crt", "old"), symlink("etc/ssl/cert.pem", "certs/ca-certificates.crt"),
			meta("tmp", tar.TypeDir, 0o1777, 0, 0), meta("run", tar.TypeDir, 0o711, 0, 0), folder("var"), symlink("var/run", "/run"),
			folder("data"), file("data/file", "in a volume"),
		}}, {Compression: imagetest.Zstd, Entries: entries{file("srv/page", "hello"), file("tmp/x", "x")}}},
	}
}

func sample(t testing.TB) string { return save(t, imagetest.New(t, sampleSpec())) }

func convertOK(t testing.TB, q Request) *Result {
	t.Helper()
	res, err := Convert(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func openImage(t testing.TB, ref string) *image.Source {
	t.Helper()
	r, err := image.Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	s, err := image.Open(t.Context(), r, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConvert(t *testing.T) {
	t.Parallel()
	q := request(t, sample(t))
	q.Version = "test"
	q.Options.Name = "app.example.com"
	q.Options.Fronts = []workload.Front{{Listen: 8443, Forward: 5000}}
	q.Options.CAs = []CA{{PEM: testCA(t), System: true}}
	var stages []string
	q.Progress = func(e Event) {
		if len(stages) == 0 || stages[len(stages)-1] != e.Stage {
			stages = append(stages, e.Stage)
		}
		if e.Total > 0 && e.Done > e.Total {
			t.Errorf("%+v: more than everything", e)
		}
	}
	res := convertOK(t, q)
	if want := []string{StageRead, StageMeasure, StageSign, StageAssemble, StageWrite}; !slices.Equal(stages, want) {
		t.Errorf("stages %v, wanted %v", stages, want)
	}
	if len(res.Notices) != 2 || !strings.Contains(res.Notices[0], "/data is writable: 1 files") || !strings.Contains(res.Notices[1], "HEALTHCHECK") {
		t.Errorf("notices %q", res.Notices)
	}

	src, in := openImage(t, q.Output), openImage(t, q.Input)
	if src.Digest().String() != res.Digest {
		t.Errorf("digest %s, result says %s", src.Digest(), res.Digest)
	}
	before, _ := in.Image().Layers()
	after, _ := src.Image().Layers()
	if len(after) != len(before)+1 || res.Layers != len(after) {
		t.Fatalf("%d layers from %d", len(after), len(before))
	}
	for i, l := range before {
		a, _ := l.Digest()
		b, _ := after[i].Digest()
		if a != b {
			t.Errorf("layer %d changed from %s to %s", i, a, b)
		}
	}
	cf, err := src.Image().ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if len(cf.History) != 3 || !cf.History[2].Created.IsZero() {
		t.Errorf("history %+v", cf.History)
	}
	c := cf.Config
	labels := c.Labels
	c.Labels = nil
	want := v1.Config{
		Entrypoint: []string{"/.hitoku/init"}, Env: []string{"PATH=/bin", "A=1"}, WorkingDir: "/srv", StopSignal: "SIGQUIT",
		Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"8443/tcp": {}},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	wantLabels := map[string]string{
		"own": "kept", LabelSchema: "1", LabelMeasurement: res.Measurement, LabelMRSigner: res.MRSigner, LabelISVProdID: "7", LabelISVSVN: "3",
		LabelAccountRoot: testRoot, LabelTEE: "sim", LabelGuest: res.Guest, LabelSource: in.Digest().String(), LabelVersion: "test",
	}
	if d := cmp.Diff(wantLabels, labels); d != "" {
		t.Error(d)
	}

	x, err := Measure(t.Context(), q.Output, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Err(); err != nil || !x.OK || !x.Verified {
		t.Error(err)
	}
	if x.Measurement != res.Measurement || x.MRSigner != res.MRSigner || x.ISVProdID != 7 || x.ISVSVN != 3 || x.Files != res.Files || x.Size != res.Size {
		t.Errorf("inspection %+v\nresult %+v", x, res)
	}
	m := x.Options.Manifest
	wantExec := workload.Exec{Args: []string{"/bin/app"}, Entry: []string{}, UID: 100, GID: 101, Groups: []uint32{5, 101}, Home: "/home/app", WorkDir: "/srv"}
	if d := cmp.Diff(wantExec, m.Exec); d != "" {
		t.Error(d)
	}
	var lines []string
	for i := range m.Files {
		lines = append(lines, line(&m.Files[i]))
	}
	for _, want := range []string{
		"symlink /run/key.pem -> /dev/shm/hitoku/0/current/key.pem", "symlink /run/cert.pem -> /dev/shm/hitoku/0/current/cert.pem",
		"dir /srv", "file /srv/page 2cf2", "dir /usr/local/share/ca-certificates",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is missing in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// The folders above what the added layer brings keep their owner and mode, and
// folders that a layer only implies are listed.
func TestAddedLayer(t *testing.T) {
	t.Parallel()
	q := request(t, sample(t))
	q.Options.Certificates = []workload.Certificate{{Subject: "a.example.com", KeyType: "RSA", KeySize: 3072, KeyPath: "/var/run/keys/k.pem", CertPath: "/etc/c.pem", ChainPath: "/tmp/chain.pem"}}
	convertOK(t, q)
	layers, err := openImage(t, q.Output).Image().Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var got []string
	for r := tar.NewReader(rc); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: time %v, owner %d %q", h.Name, h.ModTime, h.Uid, h.Uname)
		}
		got = append(got, strings.TrimSpace(h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname))
	}
	want := []string{
		"drwxr-xr-x .hitoku/", "-r-xr-xr-x .hitoku/init", "-r--r--r-- .hitoku/manifest.json", "-r--r--r-- .hitoku/sigstruct",
		"drwxr-xr-x etc/", "Lrwxrwxrwx etc/c.pem /dev/shm/hitoku/0/current/cert.pem",
		"drwx--x--x run/", "drwxr-xr-x run/keys/", "Lrwxrwxrwx run/keys/k.pem /dev/shm/hitoku/0/current/key.pem",
		"drwxr-xr-x srv/", "dtrwxrwxrwx tmp/", "Lrwxrwxrwx tmp/chain.pem /dev/shm/hitoku/0/current/chain.pem",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Two conversions on "two machines": other folders, another order of options,
// with and without a cache.
func TestReproducible(t *testing.T) {
	t.Parallel()
	run := func(cache string, name string) *Result {
		q := request(t, sample(t))
		q.CacheDir = cache
		q.Options.AllowEnv = []string{"X", "B"}
		q.Options.ReadWrite = []string{"/b", "/a"}
		if name == "again" {
			q.Options.AllowEnv = []string{"B", "X"}
			q.Options.ReadWrite = []string{"/a", "/b/"}
		}
		q.Options.CAs = []CA{{PEM: testCA(t), System: true}}
		return convertOK(t, q)
	}
	cache := filepath.Join(t.TempDir(), "c")
	a, b, c := run("", "first"), run(cache, "again"), run(cache, "cached")
	if a.Digest != b.Digest || a.Digest != c.Digest || a.Measurement != b.Measurement || a.Referrer != b.Referrer || a.Referrer == "" {
		t.Errorf("%+v\n%+v\n%+v", a, b, c)
	}
	if a.CachedLayers != 0 || b.CachedLayers != 0 || c.CachedLayers != 2 {
		t.Errorf("cached layers %d %d %d", a.CachedLayers, b.CachedLayers, c.CachedLayers)
	}
	q := request(t, sample(t))
	q.DryRun, q.Output = true, ""
	dry := convertOK(t, q)
	q.Signing.Signer = nil
	q.Signing.Date = 20200101
	q.Signing.ISVSVN = 9
	unsigned := convertOK(t, q)
	if dry.Measurement != unsigned.Measurement || unsigned.Digest != "" || dry.Digest == "" || dry.Size == 0 {
		t.Errorf("dry run %+v\nunsigned %+v", dry, unsigned)
	}
}

// Whatever changes what runs changes the measurement.
func TestMeasurementCovers(t *testing.T) {
	t.Parallel()
	ref := sample(t)
	measure := func(change func(q *Request)) string {
		q := request(t, ref)
		q.DryRun = true
		change(&q)
		return convertOK(t, q).Measurement
	}
	base := measure(func(q *Request) {})
	seen := map[string]string{base: "nothing"}
	for name, change := range map[string]func(q *Request){
		"account root": func(q *Request) { q.Options.AccountRoot = strings.Repeat("cd", 32) },
		"no manager":   func(q *Request) { q.Options.AccountRoot, q.Options.NoManager = "", true },
		"entry point":  func(q *Request) { q.Options.Entrypoint = []string{"/bin/app"} },
		"arguments":    func(q *Request) { q.Options.Args = []string{"/bin/app", "x"} },
		"allow args":   func(q *Request) { q.Options.AllowArgs = true },
		"variable":     func(q *Request) { q.Options.Env = []string{"A=2"} },
		"allowed":      func(q *Request) { q.Options.AllowEnv = []string{"B"} },
		"changeable":   func(q *Request) { q.Options.MutableEnv = []string{"A=1"} },
		"writable":     func(q *Request) { q.Options.ReadWrite = []string{"/srv"} },
		"encrypted":    func(q *Request) { q.Options.Encrypted = []string{"/srv"} },
		"read-only":    func(q *Request) { q.Options.ReadOnly = []string{"/data"} },
		"name":         func(q *Request) { q.Options.Name = "a.example.com" },
		"signal":       func(q *Request) { q.Options.OnRenew = 1 },
		"grace":        func(q *Request) { q.Options.StopGrace = 5 },
		"log":          func(q *Request) { q.Options.LogPath = "/var/log/a" },
		"CA":           func(q *Request) { q.Options.CAs = []CA{{Path: "/ca.pem", PEM: testCA(t)}} },
		"guest": func(q *Request) {
			b, err := os.ReadFile(q.Guest)
			if err != nil {
				t.Fatal(err)
			}
			q.Guest += "2"
			if err := os.WriteFile(q.Guest, append(b, 0), 0o755); err != nil {
				t.Fatal(err)
			}
		},
	} {
		m := measure(change)
		if other, ok := seen[m]; ok {
			t.Errorf("%s has the same measurement as %s", name, other)
		}
		seen[m] = name
	}
}

// Through a registry: layers are mounted or there already, the statement lies
// beside the image, and the media types stay in their family.
func TestRegistry(t *testing.T) {
	t.Parallel()
	reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
	for _, oci := range []bool{false, true} {
		s := sampleSpec()
		s.OCI = oci
		if !oci {
			s.Layers[1].Compression = imagetest.Gzip
		}
		in, err := image.Parse(reg.Host() + "/app:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := image.Write(t.Context(), in, imagetest.New(t, s), image.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		q := request(t, in.String())
		q.Output = reg.Host() + "/app-hitoku:1"
		res := convertOK(t, q)
		if res.Name != q.Output+"@"+res.Digest || res.Image != q.Output {
			t.Errorf("name %s, image %s", res.Name, res.Image)
		}
		src := openImage(t, res.Name)
		m, err := src.Image().Manifest()
		if err != nil {
			t.Fatal(err)
		}
		want := types.DockerLayer
		if oci {
			want = types.OCILayer
		}
		if got := m.Layers[2].MediaType; got != want {
			t.Errorf("added layer has type %s, wanted %s", got, want)
		}
		statementOf(t, reg, res)
	}
}

func statementOf(t *testing.T, reg *imagetest.Registry, res *Result) {
	t.Helper()
	repo := reg.Host() + "/app-hitoku@"
	ref, err := name.NewDigest(repo + res.Digest)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := remote.Referrers(ref)
	if err != nil {
		t.Fatal(err)
	}
	im, err := idx.IndexManifest()
	if err != nil || len(im.Manifests) != 1 || im.Manifests[0].Digest.String() != res.Referrer {
		t.Fatalf("referrers %+v %v, wanted %s", im, err, res.Referrer)
	}
	art, err := name.ParseReference(repo + res.Referrer)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(art)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var st statement
	if err := json.NewDecoder(rc).Decode(&st); err != nil {
		t.Fatal(err)
	}
	if "sha256:"+st.Subject[0].Digest["sha256"] != res.Digest || st.Predicate.Measurement != res.Measurement || st.Predicate.MRSigner != res.MRSigner || st.PredicateType != PredicateType {
		t.Errorf("statement %+v", st)
	}
}

// Docker archives hold layers without compression and no manifest.
func TestArchive(t *testing.T) {
	t.Parallel()
	s := sampleSpec()
	s.OCI = false
	s.Layers[1].Compression = imagetest.Gzip
	in, err := image.Parse("docker-archive:" + filepath.Join(t.TempDir(), "in.tar") + ":app:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Write(t.Context(), in, imagetest.New(t, s), image.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	q := request(t, in.String())
	a := convertOK(t, q)
	q.Output = "docker-archive:" + filepath.Join(t.TempDir(), "out.tar") + ":app:2"
	b := convertOK(t, q)
	if a.Measurement != b.Measurement {
		t.Error("measurement depends on where the image goes")
	}
	if x, err := Measure(t.Context(), q.Output, image.Options{}); err != nil || x.Err() != nil || x.Measurement != b.Measurement {
		t.Errorf("%v %+v", err, x)
	}
}
