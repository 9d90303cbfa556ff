package image_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

var anonymous = image.Options{Anonymous: true}

func TestRegistryErrors(t *testing.T) {
	t.Parallel()
	plain := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
	basic := imagetest.NewRegistry(t, imagetest.RegistryOptions{Username: "ada", Password: "right"})
	bearer := imagetest.NewRegistry(t, imagetest.RegistryOptions{Username: "ada", Password: "right", Bearer: true})
	tls := imagetest.NewRegistry(t, imagetest.RegistryOptions{TLS: true})
	img := samples(t)["oci-gzip"]
	place{opts: anonymous}.write(t, ref(t, plain.Image("app:1")), img)

	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()

	for _, c := range []struct {
		name, ref string
		opts      image.Options
		kind      image.ErrorKind
		push      image.ErrorKind // "" if a push succeeds
		text      string
	}{
		{"no such tag", plain.Image("app:2"), anonymous, image.ErrNoTag, "", `no tag "2"`},
		{"no such repository", plain.Image("other:1"), anonymous, image.ErrNoName, "", "no such repository"},
		{"no such digest", plain.Image("app@sha256:" + strings.Repeat("0", 64)), anonymous, image.ErrNoTag, image.ErrReference, "no manifest sha256:0"},
		{"basic, no password", basic.Image("app:1"), anonymous, image.ErrAuth, image.ErrAuth, "--username"},
		{"basic, wrong password", basic.Image("app:1"), image.Options{Username: "ada", Password: "wrong"}, image.ErrAuth, image.ErrAuth, "--username"},
		{"bearer, wrong password", bearer.Image("app:1"), image.Options{Username: "ada", Password: "wrong"}, image.ErrAuth, image.ErrAuth, ""},
		{"bearer, wrong token", bearer.Image("app:1"), image.Options{Token: "stale"}, image.ErrAuth, image.ErrAuth, ""},
		{"unknown CA", tls.Image("app:1"), anonymous, image.ErrTLS, image.ErrTLS, "--registry-ca FILE"},
		{"no CA in file", tls.Image("app:1"), image.Options{CA: []byte("nonsense")}, image.ErrTLS, image.ErrTLS, "no PEM certificate"},
		{"nobody listens", gone.Addr().String() + "/app:1", anonymous, image.ErrNetwork, image.ErrNetwork, "check host name"},
		{"no such host", "registry.invalid/app:1", anonymous, image.ErrNetwork, image.ErrNetwork, ""},
		{"token and password", plain.Image("app:1"), image.Options{Token: "x", Username: "y"}, image.ErrCredentials, image.ErrCredentials, "not both"},
		{"no auth file", plain.Image("app:1"), image.Options{AuthFile: "/nonexistent"}, image.ErrCredentials, image.ErrCredentials, "/nonexistent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := ref(t, c.ref)
			_, err := image.Open(t.Context(), r, c.opts)
			wantError(t, err, image.Pull, c.kind)
			if !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), r.String()) {
				t.Errorf("error does not name %q and %q: %v", r, c.text, err)
			}
			if c.push == "" {
				return
			}
			_, err = image.Write(t.Context(), r, img, image.WriteOptions{Options: c.opts})
			wantError(t, err, image.Push, c.push)
		})
	}
}

// TestPlainHTTP reaches a registry under a name that is not the loopback's.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
	place{opts: anonymous}.write(t, ref(t, reg.Image("app:1")), samples(t)["oci-gzip"])
	to := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, reg.Host())
	}}
	t.Cleanup(to.CloseIdleConnections)
	for _, host := range []string{"registry.example.com", "10.1.2.3:5000", "192.168.7.7"} {
		r := ref(t, host+"/app:1")
		_, err := image.Open(t.Context(), r, image.Options{Anonymous: true, Transport: to})
		wantError(t, err, image.Pull, image.ErrTLS, image.ErrPlainHTTP)
		if !strings.Contains(err.Error(), "--insecure") {
			t.Errorf("error does not name --insecure: %v", err)
		}
		s, err := image.Open(t.Context(), r, image.Options{Anonymous: true, Transport: to, Insecure: true})
		if err != nil {
			t.Error(err)
			continue
		}
		s.Close()
	}
}

func TestRedirectToPlainHTTP(t *testing.T) {
	t.Parallel()
	reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
	place{opts: anonymous}.write(t, ref(t, reg.Image("app:1")), samples(t)["oci-gzip"])
	o := image.Options{Anonymous: true, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return http.DefaultTransport.RoundTrip(r)
		}
		return &http.Response{
			StatusCode: http.StatusTemporaryRedirect, Request: r, Body: http.NoBody,
			Header: http.Header{"Location": {"http://cdn.example.com/blob"}},
		}, nil
	})}
	_, err := image.Open(t.Context(), ref(t, reg.Image("app:1")), o)
	wantError(t, err, image.Pull, image.ErrPlainHTTP)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestToken(t *testing.T) {
	t.Parallel()
	reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{Username: "ada", Password: "x", Bearer: true})
	img := samples(t)["oci-gzip"]
	push := image.Options{Token: reg.GrantToken("repository:app:pull,push")}
	pull := image.Options{Token: reg.GrantToken("repository:app:pull")}
	place{opts: push}.write(t, ref(t, reg.Image("app:1")), img)
	same(t, img, place{opts: pull}.open(t, ref(t, reg.Image("app:1"))).Image(), true)
	_, err := image.Write(t.Context(), ref(t, reg.Image("app:2")), img, image.WriteOptions{Options: pull})
	wantError(t, err, image.Push, image.ErrAuth)
}

func TestCredentialStore(t *testing.T) {
	// Not parallel: the helper is found by PATH.
	reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{Username: "ada", Password: "from-store"})
	img := samples(t)["oci-gzip"]
	dir := t.TempDir()
	helper := "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"ada\",\"Secret\":\"from-store\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-hitokutest"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-hitokubroken"), []byte("#!/bin/sh\necho locked; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	auth := base64.StdEncoding.EncodeToString([]byte("ada:from-store"))
	for name, c := range map[string]struct {
		config string
		kind   image.ErrorKind
	}{
		"auths":          {fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, reg.Host(), auth), ""},
		"helper":         {fmt.Sprintf(`{"credHelpers":{%q:"hitokutest"}}`, reg.Host()), ""},
		"store":          {`{"credsStore":"hitokutest"}`, ""},
		"other host":     {fmt.Sprintf(`{"auths":{"example.com":{"auth":%q}}}`, auth), image.ErrAuth},
		"broken helper":  {fmt.Sprintf(`{"credHelpers":{%q:"hitokubroken"}}`, reg.Host()), image.ErrCredentials},
		"missing helper": {fmt.Sprintf(`{"credHelpers":{%q:"hitokumissing"}}`, reg.Host()), image.ErrCredentials},
		"no JSON":        {`{"auths":`, image.ErrCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			conf := t.TempDir()
			file := filepath.Join(conf, "config.json")
			if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
			// The named file, and docker's own place.
			t.Setenv("DOCKER_CONFIG", conf)
			t.Setenv("HOME", conf)
			for _, o := range []image.Options{{AuthFile: file}, {}} {
				_, err := image.Write(t.Context(), ref(t, reg.Image("app:1")), img, image.WriteOptions{Options: o})
				if c.kind != "" {
					wantError(t, err, image.Push, c.kind)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	for name, c := range map[string]struct {
		fault imagetest.Fault
		kind  image.ErrorKind
	}{
		"503 twice on ping":      {imagetest.Fault{Path: "/v2/", Status: 503, Times: 2}, ""},
		"500 once on manifest":   {imagetest.Fault{Path: "/manifests/", Status: 500, Times: 1}, ""},
		"502 twice on blob":      {imagetest.Fault{Path: "/blobs/", Status: 502, Times: 2}, ""},
		"429 with Retry-After":   {imagetest.Fault{Path: "/manifests/", Status: 429, Code: "TOOMANYREQUESTS", RetryAfter: 1, Times: 1}, ""},
		"503 for ever":           {imagetest.Fault{Path: "/manifests/", Status: 503}, image.ErrBusy},
		"429 for ever":           {imagetest.Fault{Path: "/blobs/", Status: 429, Code: "TOOMANYREQUESTS"}, image.ErrBusy},
		"403":                    {imagetest.Fault{Path: "/blobs/", Status: 403, Code: "DENIED"}, image.ErrDenied},
		"blob breaks off twice":  {imagetest.Fault{Path: "/blobs/", Cut: 50, Times: 2}, ""},
		"upload breaks off once": {imagetest.Fault{Method: "PATCH", Status: 500, Times: 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
			reg.Inject(c.fault)
			r := ref(t, reg.Image("app:1"))
			_, err := image.Write(t.Context(), r, img, image.WriteOptions{Options: anonymous})
			if c.kind != "" {
				wantError(t, err, image.Push, c.kind)
			} else if err != nil {
				t.Fatal(err)
			}
			reg.Heal()
			place{opts: anonymous}.write(t, r, img)
			if c.fault.Method != "" {
				return
			}
			reg.Inject(c.fault)
			s, err := image.Open(t.Context(), r, anonymous)
			if c.kind != "" {
				wantError(t, err, image.Pull, c.kind)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			same(t, img, s.Image(), true)
		})
	}
}

// TestCancelWhileWaiting cancels during a retry pause and during a reply that
// does not come.
func TestCancelWhileWaiting(t *testing.T) {
	t.Parallel()
	img, other := samples(t)["oci-gzip"], samples(t)["docker-gzip"]
	for name, fault := range map[string]imagetest.Fault{
		"pause":   {Path: "/blobs/", Status: 503, RetryAfter: 600},
		"no byte": {Path: "/blobs/", Wait: make(chan struct{})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
			r := ref(t, reg.Image("app:1"))
			place{opts: anonymous}.write(t, r, img)
			reg.Inject(fault)
			for side, do := range map[image.Side]func(context.Context) error{
				image.Pull: func(ctx context.Context) error { _, err := image.Open(ctx, r, anonymous); return err },
				image.Push: func(ctx context.Context) error {
					_, err := image.Write(ctx, ref(t, reg.Image("app:2")), other, image.WriteOptions{Options: anonymous})
					return err
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				start := time.Now()
				err := do(ctx)
				cancel()
				wantError(t, err, side, image.ErrCanceled)
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("%s took %v to notice", side, took)
				}
			}
		})
	}
}

func TestDamagedPull(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	layer := must(must(img.Layers())[1].Digest()).String()
	config := must(img.ConfigName()).String()
	pinned := "app@" + must(img.Digest()).String()
	for name, c := range map[string]struct {
		image string
		fault imagetest.Fault
		kinds []image.ErrorKind
	}{
		"layer flipped":       {"app:1", imagetest.Fault{Path: layer, Flip: 5000}, []image.ErrorKind{image.ErrDigest}},
		"layer's last byte":   {"app:1", imagetest.Fault{Path: layer, Flip: must(must(img.Layers())[1].Size())}, []image.ErrorKind{image.ErrDigest}},
		"layer cut":           {"app:1", imagetest.Fault{Path: layer, Cut: 9000}, []image.ErrorKind{image.ErrTruncated, image.ErrNetwork}},
		"layer shorter":       {"app:1", imagetest.Fault{Path: layer, Shorten: 10}, []image.ErrorKind{image.ErrTruncated}},
		"layer gone":          {"app:1", imagetest.Fault{Path: layer, Status: 404, Code: "BLOB_UNKNOWN"}, []image.ErrorKind{image.ErrInvalid}},
		"config flipped":      {"app:1", imagetest.Fault{Path: config, Flip: 3}, []image.ErrorKind{image.ErrDigest}},
		"config shorter":      {"app:1", imagetest.Fault{Path: config, Shorten: 3}, []image.ErrorKind{image.ErrTruncated}},
		"manifest flipped":    {pinned, imagetest.Fault{Path: "/manifests/", Flip: 40}, []image.ErrorKind{image.ErrDigest}},
		"manifest shorter":    {pinned, imagetest.Fault{Path: "/manifests/", Shorten: 40}, []image.ErrorKind{image.ErrDigest}},
		"manifest not JSON":   {"app:1", imagetest.Fault{Path: "/manifests/", Flip: 1}, []image.ErrorKind{image.ErrInvalid}},
		"called schema 1":     {"app:1", imagetest.Fault{Path: "/manifests/", ContentType: string(types.DockerManifestSchema1Signed)}, nil},
		"called another type": {"app:1", imagetest.Fault{Path: "/manifests/", ContentType: "text/plain"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
			place{opts: anonymous}.write(t, ref(t, reg.Image("app:1")), img)
			reg.Inject(c.fault)
			err := readAll(t, ref(t, reg.Image(c.image)), anonymous)
			if c.kinds == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, image.Pull, c.kinds...)
		})
	}
}

// readAll opens an image and reads every layer, stored and decompressed.
func readAll(t testing.TB, r image.Ref, o image.Options) error {
	s, err := image.Open(t.Context(), r, o)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, l := range must(s.Image().Layers()) {
		for _, open := range []func() (io.ReadCloser, error){l.Uncompressed, l.Compressed} {
			rc, err := open()
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, rc)
			if err := errors.Join(err, rc.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestRefusedForms pushes manifests that this package does not take.
func TestRefusedForms(t *testing.T) {
	t.Parallel()
	reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
	zero := strings.Repeat("0", 64)
	manifest := func(config, layer string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,"size":2,"digest":"sha256:%s"},"layers":[{"mediaType":%q,"size":1,"digest":"sha256:%s"}]}`, config, zero, layer, zero)
	}
	oci := string(types.OCIConfigJSON)
	for name, c := range map[string]struct {
		mediaType types.MediaType
		body      string
		kind      image.ErrorKind
		text      string
	}{
		"schema 1":        {types.DockerManifestSchema1Signed, `{"schemaVersion":1,"name":"x"}`, image.ErrUnsupported, "schema 1"},
		"foreign layer":   {types.DockerManifestSchema2, manifest(string(types.DockerConfigJSON), string(types.DockerForeignLayer)), image.ErrUnsupported, "foreign layer"},
		"restricted":      {types.OCIManifestSchema1, manifest(oci, string(types.OCIRestrictedLayer)), image.ErrUnsupported, "foreign layer"},
		"unknown layer":   {types.OCIManifestSchema1, manifest(oci, "application/x-squashfs"), image.ErrUnsupported, "squashfs"},
		"artifact":        {types.OCIManifestSchema1, manifest("application/vnd.cncf.helm.config.v1+json", string(types.OCILayer)), image.ErrUnsupported, "no container image"},
		"huge config":     {types.OCIManifestSchema1, strings.Replace(manifest(oci, string(types.OCILayer)), `"size":2`, `"size":999999999999`, 1), image.ErrTooLarge, "999999999999"},
		"negative layer":  {types.OCIManifestSchema1, strings.Replace(manifest(oci, string(types.OCILayer)), `"size":1`, `"size":-1`, 1), image.ErrInvalid, "negative"},
		"too large":       {types.OCIManifestSchema1, `{"x":"` + strings.Repeat("a", image.MaxManifestSize) + `"}`, image.ErrTooLarge, "manifest"},
		"empty":           {types.OCIManifestSchema1, ``, image.ErrInvalid, "not valid"},
		"other algorithm": {types.OCIManifestSchema1, strings.Replace(manifest(oci, string(types.OCILayer)), "sha256:", "md5:", 1), image.ErrInvalid, "md5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tag := strings.ReplaceAll(name, " ", "-")
			serve := image.Options{Anonymous: true, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return http.DefaultTransport.RoundTrip(r)
				}
				return &http.Response{
					StatusCode: 200, Request: r, ContentLength: -1, Body: io.NopCloser(strings.NewReader(c.body)),
					Header: http.Header{"Content-Type": {string(c.mediaType)}},
				}, nil
			})}
			_, err := image.Open(t.Context(), ref(t, reg.Image("app:"+tag)), serve)
			wantError(t, err, image.Pull, c.kind)
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("error does not name %q: %v", c.text, err)
			}
		})
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	reg := imagetest.NewRegistry(t, imagetest.RegistryOptions{})
	build := func(platform string) v1.Image {
		return imagetest.New(t, imagetest.Spec{
			OCI: true, Platform: platform,
			Layers: []imagetest.LayerSpec{{Entries: []imagetest.Entry{imagetest.File("platform", platform)}}},
		})
	}
	amd, v3, arm, riscv := build("linux/amd64"), build("linux/amd64/v3"), build("linux/arm64"), build("linux/riscv64")
	push := func(tag string, images ...v1.Image) image.Ref {
		idx := imagetest.Index(t, images...)
		r, err := name.NewTag(reg.Image(tag))
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(r, idx); err != nil {
			t.Fatal(err)
		}
		return ref(t, reg.Image(tag))
	}
	both := push("app:both", arm, v3, amd)
	s := place{opts: anonymous}.open(t, both)
	if s.Digest() != must(amd.Digest()) || s.IndexDigest() == (v1.Hash{}) {
		t.Errorf("chose %s of index %s, wanted %s", s.Digest(), s.IndexDigest(), must(amd.Digest()))
	}
	if h, err := image.ResolveDigest(t.Context(), both, anonymous); err != nil || h != s.IndexDigest() {
		t.Errorf("ResolveDigest = %s, %v; wanted the index's %s", h, err, s.IndexDigest())
	}
	_, err := image.Open(t.Context(), push("app:others", arm, riscv, v3), anonymous)
	wantError(t, err, image.Pull, image.ErrPlatform)
	for _, text := range []string{"linux/arm64", "linux/riscv64", "linux/amd64/v3", "wanted linux/amd64"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not name %s: %v", text, err)
		}
	}
}

func TestMount(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	for name, o := range map[string]imagetest.RegistryOptions{
		"anonymous": {},
		"bearer":    {Username: "ada", Password: "x", Bearer: true},
		"refused":   {NoMount: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Blobs are shared by all repositories of the test registry, so HEAD is made
			// to say that the second one has none.
			reg := imagetest.NewRegistry(t, o)
			p := place{opts: image.Options{Username: o.Username, Password: o.Password, Anonymous: o.Username == ""}}
			p.write(t, ref(t, reg.Image("one:1")), img)
			s := p.open(t, ref(t, reg.Image("one:1")))
			reg.Inject(imagetest.Fault{Method: http.MethodHead, Path: "/v2/two/blobs/", Status: 404})
			reg.Forget()
			res, err := image.Write(t.Context(), ref(t, reg.Image("two:1")), s.Image(), image.WriteOptions{Options: p.opts, MountFrom: s})
			if err != nil {
				t.Fatal(err)
			}
			if o.NoMount {
				if res.Uploaded.Blobs != 3 {
					t.Errorf("%+v, wanted 3 uploads", res)
				}
				return
			}
			if res.Mounted.Blobs != 2 || res.Uploaded.Blobs != 1 {
				t.Errorf("%+v, wanted 2 mounts and the configuration sent", res)
			}
			if n := len(reg.Requests(http.MethodPatch, "")); n != 1 {
				t.Errorf("%d blobs were sent, wanted the configuration only", n)
			}
		})
	}
}
