package convert

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// forged is a converted image that an adversary may take apart.
type forged struct {
	base   v1.Image // without the added layer
	config v1.Config
	own    ownFiles
	adds   []addition
	bytes  []byte // the manifest
}

func forge(t *testing.T, change func(f *forged)) string {
	t.Helper()
	q := request(t, sample(t))
	convertOK(t, q)
	src := openImage(t, q.Output)
	layers, err := src.Image().Layers()
	if err != nil {
		t.Fatal(err)
	}
	own, err := readOwn(layers[2])
	if err != nil {
		t.Fatal(err)
	}
	cf, err := src.Image().ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	guest, err := readGuest(q.Guest, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	f := &forged{
		base: openImage(t, q.Input).Image(), config: cf.Config, bytes: own.manifest,
		own:  ownFiles{guest: guest, sigstruct: own.sigstruct},
		adds: []addition{{path: "/srv", ino: impliedFolder()}},
	}
	change(f)
	return f.save(t)
}

func (f *forged) save(t *testing.T) string {
	t.Helper()
	f.own.manifestSize, f.own.measurement = int64(len(f.bytes)), workload.Measurement(f.bytes)
	f.own.manifest = func(w io.Writer) error { _, err := w.Write(f.bytes); return err }
	l, err := buildLayer(withAdditions(f.own.entries(), f.adds), "application/vnd.oci.image.layer.v1.tar+gzip", "added")
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(f.base, l)
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.Config(img, f.config); err != nil {
		t.Fatal(err)
	}
	return save(t, img)
}

func (f *forged) replace(old, repl string) {
	f.bytes = bytes.Replace(f.bytes, []byte(old), []byte(repl), 1)
}

// sign makes manifest and SIGSTRUCT agree again, with the signer's own key.
func (f *forged) sign(t *testing.T) {
	t.Helper()
	s, err := sgx.Sign(t.Context(), sgx.Params{EnclaveHash: workload.Measurement(f.bytes), ISVProdID: 7, ISVSVN: 3}, testSigning().Signer)
	if err != nil {
		t.Fatal(err)
	}
	f.own.sigstruct = s.Marshal()
	m := workload.Measurement(f.bytes)
	f.config.Labels[LabelMeasurement] = hex.EncodeToString(m[:])
}

// withLayer puts another layer under the added one.
func (f *forged) withLayer(t *testing.T, es ...imagetest.Entry) {
	t.Helper()
	l, err := imagetest.NewLayer(imagetest.LayerSpec{Entries: es}, true)
	if err != nil {
		t.Fatal(err)
	}
	if f.base, err = mutate.AppendLayers(f.base, l); err != nil {
		t.Fatal(err)
	}
}

func TestMeasureRefusesForgery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(t *testing.T, f *forged)
		rule    string // that fails in Measure
		inspect bool   // it fails in Inspect too
	}{
		"nothing":          {func(*testing.T, *forged) {}, "", false},
		"guest changed":    {func(_ *testing.T, f *forged) { f.own.guest = append(bytes.Clone(f.own.guest), 0) }, "guest", true},
		"manifest changed": {func(_ *testing.T, f *forged) { f.replace(`"on_renew":0`, `"on_renew":1`) }, "sigstruct_measurement", true},
		"signature changed": {func(_ *testing.T, f *forged) {
			f.own.sigstruct = bytes.Clone(f.own.sigstruct)
			f.own.sigstruct[600] ^= 1
		}, "sigstruct_signature", true},
		"SIGSTRUCT cut":         {func(_ *testing.T, f *forged) { f.own.sigstruct = f.own.sigstruct[:1000] }, "sigstruct_format", true},
		"label changed":         {func(_ *testing.T, f *forged) { f.config.Labels[LabelMeasurement] = testRoot }, "label " + LabelMeasurement, true},
		"other entry point":     {func(_ *testing.T, f *forged) { f.config.Entrypoint = []string{"/bin/app"} }, "entrypoint", true},
		"other user":            {func(_ *testing.T, f *forged) { f.config.User = "app" }, "user", true},
		"file added below":      {func(t *testing.T, f *forged) { f.withLayer(t, file("etc/ld.so.preload", "evil")) }, "files", false},
		"file changed":          {func(t *testing.T, f *forged) { f.withLayer(t, file("bin/app", "evil")) }, "files", false},
		"file removed":          {func(t *testing.T, f *forged) { f.withLayer(t, whiteout("bin/app")) }, "files", false},
		"mode changed":          {func(t *testing.T, f *forged) { f.withLayer(t, meta("bin", '5', 0o777, 0, 0)) }, "files", false},
		"own folder from below": {func(t *testing.T, f *forged) { f.withLayer(t, file(".hitoku/extra", "evil")) }, "own_files", false},
		"added layer beside": {func(_ *testing.T, f *forged) {
			f.adds = append(f.adds, addition{"/evil", regular([]byte("x"), 0o644), []byte("x")})
		}, "files", false},
		"own folder in the added layer": {func(_ *testing.T, f *forged) {
			f.adds = append(f.adds, addition{"/.hitoku/x", regular([]byte("x"), 0o644), []byte("x")})
		}, "own_folder", true},
		"manifest of another image, signed": {func(t *testing.T, f *forged) {
			f.replace(`"size":9`, `"size":8`)
			f.sign(t)
		}, "files", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := forge(t, func(f *forged) { c.change(t, f) })
			x, err := Inspect(t.Context(), ref, image.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if x.OK == c.inspect {
				t.Errorf("inspect: %v", x.Err())
			}
			m, err := Measure(t.Context(), ref, image.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var failed []string
			for _, r := range m.Rules {
				if !r.OK {
					failed = append(failed, r.Name)
				}
			}
			if c.rule == "" && len(failed) > 0 || c.rule != "" && !strings.Contains(strings.Join(failed, "|"), c.rule) {
				t.Errorf("failed rules %q, wanted %q: %v", failed, c.rule, m.Err())
			}
			if m.OK != (c.rule == "") || (m.Err() == nil) != m.OK || !m.OK && KindOf(m.Err()) != KindMismatch {
				t.Errorf("ok %v, error %v", m.OK, m.Err())
			}
		})
	}
}

func TestInspectErrors(t *testing.T) {
	t.Parallel()
	plain := sample(t)
	if _, err := Inspect(t.Context(), plain, image.Options{}); KindOf(err) != KindPlain || !strings.Contains(err.Error(), plain) {
		t.Errorf("plain image: %v", err)
	}
	broken := forge(t, func(f *forged) { f.replace(`"schema":1`, `"schema":9`) })
	if _, err := Inspect(t.Context(), broken, image.Options{}); KindOf(err) != KindMismatch || !strings.Contains(err.Error(), "schema 9") {
		t.Errorf("newer schema: %v", err)
	}
	spec := sampleSpec()
	spec.Config.Entrypoint = []string{workload.GuestPath}
	empty := save(t, imagetest.New(t, spec))
	if _, err := Inspect(t.Context(), empty, image.Options{}); KindOf(err) != KindMismatch || !strings.Contains(err.Error(), "lacks one of") {
		t.Errorf("no added layer: %v", err)
	}
	if _, err := Inspect(t.Context(), "oci:"+t.TempDir()+"/none", image.Options{}); err == nil {
		t.Error("missing image accepted")
	}
}
