package manager

import (
	"bytes"
	"os"
	"testing"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

func registryOfTests(url, password string) wire.RegistryRequest {
	r := wire.RegistryRequest{URL: url}
	r.Credential.Default = &wire.AuthConfig{Username: "u@" + url, Password: password}
	return r
}

func TestRegistries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	const secret = "hunter2-not-in-the-database"
	ids := map[string]string{}
	for _, url := range []string{"https://r.example/", "r.example:5000", "r.example/team", "https://index.docker.io/v1/"} {
		r, err := w.m.CreateRegistry(ctx, w.admin, registryOfTests(url, secret))
		w.must(err)
		ids[url] = r.RegistryID
	}
	_, err := w.m.CreateRegistry(ctx, w.admin, registryOfTests("https://R.example", secret))
	refused(t, "registry saved twice", err, Invalid, CodeUnique)
	for _, url := range []string{"", "https://user:pass@r.example", "a b"} {
		_, err := w.m.CreateRegistry(ctx, w.admin, registryOfTests(url, secret))
		refused(t, "address "+url, err, Invalid, CodeInvalidValue)
	}
	for image, want := range map[string]string{
		"r.example/in":                     "https://r.example/",
		"R.EXAMPLE/in:v1":                  "https://r.example/",
		"r.example/team/app@sha256:00":     "r.example/team",
		"r.example/teams":                  "https://r.example/",
		"r.example:5000/x":                 "r.example:5000",
		"python":                           "https://index.docker.io/v1/",
		"library/python:3":                 "https://index.docker.io/v1/",
		"docker.io/fortanix/python-flask":  "https://index.docker.io/v1/",
		"r.example.evil/in":                "",
		"localhost/x":                      "",
		"localhost:5000/r.example/in":      "",
		"evil.example/r.example/team/app":  "",
		"registry-1.docker.io/library/foo": "https://index.docker.io/v1/",
	} {
		r, err := w.m.ImageRegistry(ctx, w.admin, image)
		w.must(err)
		got := ""
		if r.Registry != nil {
			got = r.Registry.RegistryID
		}
		if got != ids[want] {
			t.Errorf("%s uses registry %q, wanted %q", image, got, want)
		}
	}
	login := func() (auth *wire.AuthConfig, err error) {
		err = w.m.view(ctx, func(tx *store.Tx) error {
			auth, err = w.m.credential(ctx, tx, w.account, "r.example/in")
			return err
		})
		return auth, err
	}
	auth, err := login()
	w.must(err)
	if auth.Password != secret {
		t.Errorf("password %q", auth.Password)
	}
	_, err = w.m.UpdateRegistry(ctx, w.admin, ids["https://r.example/"], []wire.PatchOp{{Op: "replace", Path: "/credential", Value: map[string]any{"default": map[string]any{"username": "new", "password": "changed"}}}, {Op: "add", Path: "/description", Value: "mine"}})
	w.must(err)
	if auth, err = login(); err != nil || auth.Username != "new" || auth.Password != "changed" {
		t.Errorf("after the change %+v, %v", auth, err)
	}
	for _, op := range []wire.PatchOp{{Op: "replace", Path: "/url", Value: "x"}, {Op: "remove", Path: "/credential"}, {Op: "replace", Path: "/credential", Value: "x"}} {
		_, err := w.m.UpdateRegistry(ctx, w.admin, ids["r.example:5000"], []wire.PatchOp{op})
		refused(t, "patch "+op.Path, err, Invalid, CodeInvalidValue)
	}
	w.must(w.m.DeleteRegistry(ctx, w.admin, ids["r.example:5000"]))
	for _, ending := range []string{"", "-wal"} {
		raw, err := os.ReadFile(w.backend.Options.DSN + ending)
		w.must(err)
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the password is in the database%s", ending)
		}
	}
}
