package convert

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

func TestConvertErrors(t *testing.T) {
	t.Parallel()
	ref := sample(t)
	converted := request(t, ref)
	convertOK(t, converted)
	with := func(change func(s *imagetest.Spec)) string {
		s := sampleSpec()
		change(&s)
		return save(t, imagetest.New(t, s))
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(q *Request)
		kind   ErrorKind
		want   string
	}{
		"no input":            {func(q *Request) { q.Input = "" }, KindRequest, "no input"},
		"no output":           {func(q *Request) { q.Output = "" }, KindRequest, "no output"},
		"bad output":          {func(q *Request) { q.Output = "UPPER:x" }, "", "UPPER"},
		"output is input":     {func(q *Request) { q.Output = q.Input }, KindRequest, "same image"},
		"output no tag":       {func(q *Request) { q.Output = "registry.example.com:5000/x" }, KindRequest, "has no tag"},
		"engine no tag":       {func(q *Request) { q.Output = "docker-daemon:x" }, KindRequest, "has no tag"},
		"output digest":       {func(q *Request) { q.Output = "registry.example.com/x:1@sha256:" + testRoot }, KindRequest, "names a digest"},
		"sgx without Gramine": {func(q *Request) { q.TEE = "sgx" }, KindRequest, "--gramine is missing"},
		"unknown TEE":         {func(q *Request) { q.TEE = "sev" }, KindRequest, "not known"},
		"no key":              {func(q *Request) { q.Signing.Signer = nil }, KindRequest, "no signing key"},
		"no account root":     {func(q *Request) { q.Options.AccountRoot = "" }, KindRequest, "--no-manager"},
		"converted already":   {func(q *Request) { q.Input = converted.Output }, KindConverted, "already"},
		"missing image":       {func(q *Request) { q.Input = "oci:" + t.TempDir() + "/none:1" }, "", "none"},
		"missing tag":         {func(q *Request) { q.Input = strings.TrimSuffix(ref, "v1") + "v2" }, "", "v2"},
		"wrong platform":      {func(q *Request) { q.InputOptions.Platform = v1.Platform{OS: "linux", Architecture: "s390x"} }, "", "linux/s390x"},
		"no guest":            {func(q *Request) { q.Guest += ".none" }, KindGuest, "--guest"},
		"guest is a script":   {func(q *Request) { q.Guest = text }, KindGuest, "no Linux program"},
		"no entry":            {func(q *Request) { q.Input = with(func(s *imagetest.Spec) { s.Config.Cmd = nil }) }, KindNoEntry, "--entrypoint"},
		"unknown user":        {func(q *Request) { q.Input = with(func(s *imagetest.Spec) { s.Config.User = "nobody" }) }, KindImage, "nobody"},
		"workdir is a file":   {func(q *Request) { q.Input = with(func(s *imagetest.Spec) { s.Config.WorkingDir = "/bin/app" }) }, KindImage, "no folder"},
		"workdir below file":  {func(q *Request) { q.Input = with(func(s *imagetest.Spec) { s.Config.WorkingDir = "/bin/app/x" }) }, KindImage, "no folder"},
		"own folder": {func(q *Request) {
			q.Input = with(func(s *imagetest.Spec) { s.Layers[0].Entries = append(s.Layers[0].Entries, file(".hitoku/x", "")) })
		}, KindConverted, "already"},
		"hostile layer": {func(q *Request) {
			q.Input = with(func(s *imagetest.Spec) { s.Layers[1].Entries = entries{file("../x", "")} })
		}, KindLayer, `".." in the name`},
		"too many files":    {func(q *Request) { q.Limits.Entries = 17 }, KindLimit, "the image has more than 17"},
		"key path a folder": {func(q *Request) { q.Options.Certificates = []workload.Certificate{cert("/etc", "/c")} }, KindRequest, "/etc is a folder"},
		"key below a file":  {func(q *Request) { q.Options.Certificates = []workload.Certificate{cert("/bin/app/k", "/c")} }, KindRequest, "no folder"},
		"key path twice":    {func(q *Request) { q.Options.Certificates = []workload.Certificate{cert("/run/k", "/var/run/k")} }, KindRequest, "used twice"},
		"key in our folder": {func(q *Request) { q.Options.Certificates = []workload.Certificate{cert("/.hitoku/k", "/c")} }, KindRequest, "belongs to the conversion"},
		"bad key size": {func(q *Request) {
			c := cert("/k", "/c")
			c.KeySize = 555
			q.Options.Certificates = []workload.Certificate{c}
		}, KindImage, "555"},
		"cache is a file": {func(q *Request) { q.CacheDir = text + "/x" }, KindCache, "--no-cache"},
		"signer fails":    {func(q *Request) { q.Signing.Signer = badSigner{q.Signing.Signer} }, KindSign, "out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := request(t, ref)
			c.change(&q)
			_, err := Convert(t.Context(), q)
			if err == nil || !strings.Contains(err.Error(), c.want) || KindOf(err) != c.kind {
				t.Fatalf("kind %q: %v\nwanted %q: %q", KindOf(err), err, c.kind, c.want)
			}
			var pull *image.Error
			if c.kind == "" && !errors.As(err, &pull) {
				t.Errorf("%T, wanted *image.Error", err)
			}
			if r, err := image.Parse(q.Output); err == nil && r.Path() != "" && q.Output != q.Input {
				if _, err := os.Stat(r.Path()); err == nil {
					t.Errorf("%s was left behind", r.Path())
				}
			}
		})
	}
}

func cert(key, crt string) workload.Certificate {
	c := DefaultCertificate("a.example.com")
	c.KeyPath, c.CertPath = key, crt
	return c
}

type badSigner struct{ sgx.Signer }

func (badSigner) SignPKCS1v15SHA256(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("out of order")
}

// A conversion that is stopped at any stage leaves no output and no temporary files.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{StageRead, StageMeasure, StageSign, StageAssemble, StageWrite} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			q := request(t, sample(t))
			q.CacheDir = filepath.Join(t.TempDir(), "cache")
			q.Progress = func(e Event) {
				if e.Stage == stage {
					cancel()
				}
			}
			if _, err := Convert(ctx, q); !errors.Is(err, context.Canceled) {
				t.Fatalf("%v, wanted context canceled", err)
			}
			r, err := image.Parse(q.Output)
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := image.Exists(t.Context(), r, image.Options{}); ok || err != nil {
				t.Errorf("output is there: %v %v", ok, err)
			}
			if left, _ := filepath.Glob(filepath.Join(q.CacheDir, ".new-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
