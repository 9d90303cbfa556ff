package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

// prog builds the test program of package box once: a static one.
var prog = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hitoku-runner-test")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "prog"), "./box/testdata/prog")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "prog"))
	return string(raw), err
})

// layout writes an image with the test program to an OCI layout and returns its reference.
func layout(t *testing.T, cfg v1.Config, more ...imagetest.LayerSpec) string {
	t.Helper()
	program, err := prog()
	if err != nil {
		t.Fatal(err)
	}
	layers := append([]imagetest.LayerSpec{{Entries: []imagetest.Entry{imagetest.Dir("bin"), imagetest.Program("bin/prog", program), imagetest.File("etc/lower", "lower")}}}, more...)
	img := imagetest.New(t, imagetest.Spec{OCI: true, Config: cfg, Layers: layers})
	text := "oci:" + filepath.Join(t.TempDir(), "layout") + ":1"
	ref, err := image.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Write(t.Context(), ref, img, image.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return text
}

// options runs with the built-in runner in a folder of the test's own.
func options(t *testing.T, ref string) (Options, *bytes.Buffer) {
	t.Helper()
	out := new(bytes.Buffer)
	dir, tee := t.TempDir(), t.TempDir()
	t.Cleanup(func() {
		if runs, err := os.ReadDir(filepath.Join(dir, "runs")); err != nil || len(runs) != 0 {
			t.Errorf("left behind: %v %v", runs, err)
		}
	})
	return Options{
		Engine: EngineBuiltin, Image: ref, Dir: dir, TEEDir: tee, Stdout: out, Stderr: out, StopTimeout: 2 * time.Second,
		Logf: func(format string, args ...any) { t.Logf(format, args...) },
	}, out
}

func TestBuiltinRunsAnImage(t *testing.T) {
	t.Parallel()
	ref := layout(t, v1.Config{Entrypoint: []string{"prog", "look"}, Env: []string{"A=image", "B=image"}, WorkingDir: "/srv", Volumes: map[string]struct{}{"/data": {}}},
		imagetest.LayerSpec{Entries: []imagetest.Entry{imagetest.Whiteout("etc/lower"), imagetest.File("etc/upper", "upper")}, Compression: imagetest.Zstd})
	o, out := options(t, ref)
	o.Env, o.Name = []string{"B=user", "C=user"}, "boxed"
	if err := os.WriteFile(filepath.Join(o.TEEDir, "mark"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from the unpacked image
		out.Reset()
		code, err := Run(t.Context(), o)
		if err != nil || code != 0 {
			t.Fatalf("%d %v %s", code, err, out)
		}
		var v struct {
			PID       int
			Host, Dir string
			Env, Root []string
			Mounts    []string
		}
		if err := json.Unmarshal(out.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		env := strings.Join(v.Env, " ")
		if v.PID != 1 || v.Host != "boxed" || v.Dir != "/srv" || !strings.Contains(env, "HOSTNAME=boxed A=image B=user NODE_AGENT_BASE_URL=http://127.0.0.1:9092 C=user HOME=/root") {
			t.Errorf("%+v", v)
		}
		if mounts := strings.Join(v.Mounts, "\n"); !strings.Contains(mounts, ContainerTEEDir+" ro") || !strings.Contains(mounts, "/etc/hosts") {
			t.Errorf("mounts %s", mounts)
		}
		if !strings.Contains(strings.Join(v.Root, " "), "data") {
			t.Errorf("root %v", v.Root)
		}
	}
	o.Args = []string{"x"} // replaces nothing here: the image has no Cmd
	o2, out2 := options(t, ref)
	o2.Volumes = []string{o.TEEDir + ":/bin2:ro"}
	if code, err := Run(t.Context(), o2); err != nil || code != 0 || !strings.Contains(out2.String(), "/bin2 ro") {
		t.Errorf("%d %v %s", code, err, out2)
	}
}

func TestBuiltinExitCodesAndStop(t *testing.T) {
	t.Parallel()
	ref := layout(t, v1.Config{Entrypoint: []string{"/bin/prog"}, Cmd: []string{"exit", "0"}, StopSignal: "USR1"})
	o, _ := options(t, ref)
	o.Args = []string{"exit", "42"}
	if code, err := Run(t.Context(), o); err != nil || code != 42 {
		t.Errorf("%d %v", code, err)
	}
	for name, want := range map[string]int{"wait": 50, "ignore": 137} {
		o, _ := options(t, ref)
		o.Args = []string{name}
		r, w := io.Pipe()
		o.Stdout = w
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			io.ReadFull(r, make([]byte, 8))
			cancel()
			io.Copy(io.Discard, r)
		}()
		if name == "ignore" {
			o.StopTimeout = 50 * time.Millisecond
		}
		if code, err := Run(ctx, o); err != nil || code != want {
			t.Errorf("%s: %d %v, wanted %d", name, code, err, want)
		}
		cancel()
	}
	o, _ = options(t, layout(t, v1.Config{Entrypoint: []string{"/bin/none"}}))
	_, err := Run(t.Context(), o)
	if code, ok := StartCode(err); !ok || code != 127 {
		t.Errorf("missing program: %v", err)
	}
	o, _ = options(t, layout(t, v1.Config{}))
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no entry point") {
		t.Errorf("no program: %v", err)
	}
}

func TestBuiltinPortsAndAgent(t *testing.T) {
	t.Parallel()
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "agent at "+r.URL.Path) }))
	defer agent.Close()
	ref := layout(t, v1.Config{Entrypoint: []string{"/bin/prog"}})
	o, _ := options(t, ref)
	o.Args, o.Ports = []string{"serve", ":8080"}, []string{"127.0.0.1::8080"}
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + c.Ports()[8080]
	var body []byte
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if res, err := http.Get(base); err == nil {
			body, _ = io.ReadAll(res.Body)
			res.Body.Close()
			break
		}
	}
	if !strings.HasPrefix(string(body), "hello from") {
		t.Errorf("%q", body)
	}
	p := options1(t, ref, c.Ports()[8080])
	if _, err := Start(t.Context(), p); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("port in use: %v", err)
	}
	c.Stop()
	c.Wait()
	o, out := options(t, ref)
	o.Args, o.Agent = []string{"get", "http://127.0.0.1:9092/v1/x"}, agent.URL+"/v1"
	if code, err := Run(t.Context(), o); err != nil || code != 0 || out.String() != "agent at /v1/x" {
		t.Errorf("%d %v %s", code, err, out)
	}
	agent.Close()
	o, out = options(t, ref)
	o.Args, o.Agent = []string{"get", "http://127.0.0.1:9092/v1/x"}, agent.URL
	if code, err := Run(t.Context(), o); err != nil || code != 0 || !strings.Contains(out.String(), "no node agent answers at "+agent.URL) {
		t.Errorf("%d %v %s", code, err, out)
	}
}

func options1(t *testing.T, ref, addr string) Options {
	o, _ := options(t, ref)
	o.Args, o.Ports = []string{"exit", "0"}, []string{addr + ":8080"}
	return o
}

func TestBuiltinRefusesDamagedImages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		layer imagetest.LayerSpec
		want  string
	}{
		"path that leaves": {imagetest.LayerSpec{Entries: []imagetest.Entry{imagetest.File("../../evil", "x")}}, "leaves its folder"},
		"no tar":           {imagetest.LayerSpec{Tar: bytes.Repeat([]byte("junk"), 1000)}, "layer 2"},
	} {
		o, _ := options(t, layout(t, v1.Config{Entrypoint: []string{"/bin/prog", "exit", "0"}}, tc.layer))
		_, err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		left, _ := filepath.Glob(filepath.Join(o.Dir, "images", "*"))
		for _, l := range left {
			if !strings.HasSuffix(l, ".lock") {
				t.Errorf("%s: left behind %s", name, l)
			}
		}
	}
}

func TestBuiltinCleansUpAfterAKilledRunner(t *testing.T) {
	t.Parallel()
	ref := layout(t, v1.Config{Entrypoint: []string{"/bin/prog", "exit", "0"}})
	o, _ := options(t, ref)
	left := filepath.Join(o.Dir, "runs", "0123")
	if err := errors.Join(os.MkdirAll(filepath.Join(left, "upper", "x"), 0o700), os.WriteFile(left+".lock", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if code, err := Run(t.Context(), o); err != nil || code != 0 {
		t.Errorf("%d %v", code, err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("HITOKU_TEST_PASSED", "here")
	got := environment("h", []string{"PATH=/x", "A=1", "A=2"}, []string{"HITOKU_TEST_PASSED", "HITOKU_TEST_UNSET", "B=", "NODE_AGENT_BASE_URL=http://x"})
	want := []string{"PATH=/x", "HOSTNAME=h", "A=2", "NODE_AGENT_BASE_URL=http://x", "HITOKU_TEST_PASSED=here", "B="}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
