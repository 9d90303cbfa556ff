package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/internal/image/registry"
)

// serve starts a registry and returns its address and what stops it.
func serve(t *testing.T, dir string) (string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- registry.Serve(ctx, l, dir) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func TestOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host, stop := serve(t, dir)
	img := imagetest.FromFiles(t, map[string]string{"bin/a": "1"}, map[string]string{"b": "2"})
	idx := imagetest.Index(t, img)
	if err := remote.WriteIndex(must(name.NewTag(host+"/team/app:multi")), idx); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(must(name.NewTag(host+"/team/app:1")), img); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(must(name.NewTag(host+"/team/app:gone")), img); err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(must(name.NewTag(host + "/team/app:gone"))); err != nil {
		t.Fatal(err)
	}
	stop()
	host, _ = serve(t, dir)
	got, err := remote.Image(must(name.NewTag(host + "/team/app:1")))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	if must(got.Digest()) != must(img.Digest()) {
		t.Errorf("digest %s, wanted %s", must(got.Digest()), must(img.Digest()))
	}
	if _, err := remote.Index(must(name.NewTag(host + "/team/app:multi"))); err != nil {
		t.Error(err)
	}
	tags, err := remote.List(must(name.NewRepository(host + "/team/app")))
	if err != nil || fmt.Sprint(tags) != "[1 multi]" {
		t.Errorf("tags %v, %v; wanted 1 and multi", tags, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func digestOf(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }

func do(t *testing.T, method, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestUploads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host, _ := serve(t, dir)
	base := "http://" + host + "/v2/app/blobs/uploads/"
	const body = "some blob"
	right := digestOf(body)

	want := func(resp *http.Response, status int) *http.Response {
		t.Helper()
		if resp.StatusCode != status {
			b, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s %s: status %d, wanted %d: %s", resp.Request.Method, resp.Request.URL, resp.StatusCode, status, b)
		}
		return resp
	}
	start := func() string {
		return "http://" + host + want(do(t, "POST", base, ""), 202).Header.Get("Location")
	}
	// In pieces.
	at := start()
	want(do(t, "PATCH", at, body[:4], "Content-Range", "0-3"), 202)
	want(do(t, "PATCH", at, "xxx", "Content-Range", "9-12"), 416)
	want(do(t, "PATCH", at, body[4:], "Content-Range", "4-8"), 202)
	want(do(t, "PUT", at+"?digest="+right, ""), 201)
	// At once, and mounted.
	want(do(t, "POST", base+"?digest="+right, body), 201)
	want(do(t, "POST", strings.Replace(base, "/app/", "/other/", 1)+"?from=app&mount="+right, ""), 201)
	// Refused.
	want(do(t, "PUT", start()+"?digest=sha256:12", body), 400)
	want(do(t, "PUT", start()+"?digest="+digestOf("else"), body), 400)
	want(do(t, "PUT", base+"nosuch?digest="+right, body), 404)
	want(do(t, "PATCH", base+"nosuch", body), 404)
	want(do(t, "GET", base+"nosuch", ""), 405)
	want(do(t, "DELETE", start(), ""), 204)
	want(do(t, "PUT", "http://"+host+"/v2/app/manifests/big", strings.Repeat(" ", 5<<20), "Content-Type", "application/json"), 413)

	got := want(do(t, "GET", "http://"+host+"/v2/app/blobs/"+right, ""), 200)
	if b, _ := io.ReadAll(got.Body); string(b) != body {
		t.Errorf("blob is %q", b)
	}
	left, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil || len(left) > 0 {
		t.Errorf("uploads left behind: %v, %v", left, err)
	}
}

func TestFolderCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 10), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Serve(t.Context(), l, file); err == nil {
		t.Error("served from a file")
	}
}
