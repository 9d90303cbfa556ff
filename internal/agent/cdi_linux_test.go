package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"tags.cncf.io/container-device-interface/specs-go"

	"hitoku.dev/internal/sgxhost"
)

func TestCDISpecGivesTheSocketAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cdi")
	path, err := WriteCDI(dir, "/run/hitoku/tee", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "cdiVersion": "0.5.0",
  "kind": "hitoku.dev/tee",
  "devices": [
    {
      "name": "all",
      "containerEdits": {
        "mounts": [
          {
            "hostPath": "/run/hitoku/tee",
            "containerPath": "/run/hitoku/tee",
            "options": [
              "ro",
              "nosuid",
              "nodev",
              "noexec",
              "bind"
            ]
          }
        ]
      }
    }
  ],
  "containerEdits": {}
}
`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Error(diff)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v %v: engines of other users read it too", fi, err)
	}
	if _, err := WriteCDI(dir, "tee", nil); err == nil {
		t.Error("a relative folder was accepted")
	}
}

func TestCDISpecGivesSGX(t *testing.T) {
	t.Parallel()
	host := &sgxhost.Platform{EnclaveDevice: "/dev/sgx/enclave", AESM: "/run/aesmd/aesm.socket"}
	if n := len(CDISpec("/t", host).Devices); n != 1 {
		t.Errorf("%d devices on a machine that is not ready", n)
	}
	host.Ready = true
	devices := CDISpec("/t", host).Devices
	if len(devices) != 2 || devices[1].Name != CDIDeviceSGX {
		t.Fatalf("%+v", devices)
	}
	want := specs.ContainerEdits{
		DeviceNodes: []*specs.DeviceNode{{Path: "/dev/sgx_enclave", HostPath: "/dev/sgx/enclave", Type: "c", Permissions: "rw"}},
		Mounts:      []*specs.Mount{{HostPath: "/run/aesmd/aesm.socket", ContainerPath: "/var/run/aesmd/aesm.socket", Options: []string{"nosuid", "nodev", "noexec", "bind"}}},
	}
	if diff := cmp.Diff(want, devices[1].ContainerEdits); diff != "" {
		t.Error(diff)
	}
}

func TestHardwareIsSaidToBeUnproven(t *testing.T) {
	t.Parallel()
	if hardware(nil) != nil || hardware(&sgxhost.Platform{SGX: true}) != nil {
		t.Error("a warning about SGX on a machine that is not ready for it")
	}
	if text := strings.Join(hardware(&sgxhost.Platform{Ready: true}), ""); !strings.Contains(text, "same_platform") {
		t.Errorf("%q", text)
	}
}

// inject applies a CDI device to an OCI runtime configuration, as an engine does
// for --device KIND=NAME (CDI specification, "OCI Edits").
func inject(t *testing.T, spec *specs.Spec, device string, config map[string]any) {
	t.Helper()
	kind, name, _ := strings.Cut(device, "=")
	if kind != spec.Kind {
		t.Fatalf("device %s is not of kind %s", device, spec.Kind)
	}
	for _, d := range spec.Devices {
		if d.Name != name {
			continue
		}
		for _, m := range d.ContainerEdits.Mounts {
			options := []any{}
			for _, o := range m.Options {
				options = append(options, o)
			}
			config["mounts"] = append(config["mounts"].([]any), map[string]any{"destination": m.ContainerPath, "source": m.HostPath, "type": "bind", "options": options})
		}
		return
	}
	t.Fatalf("no device %s", device)
}

// TestCDIDeviceInAContainer injects the written file into an OCI configuration and
// runs it with runc: the program inside reaches the socket, and cannot replace it.
func TestCDIDeviceInAContainer(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("runc needs root here; run the tests as root")
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal("runc is missing; install Docker Engine or package runc")
	}
	bundle, tee := t.TempDir(), t.TempDir()
	l, err := net.Listen("unix", filepath.Join(tee, "simtee.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("socket"))
			c.Close()
		}
	}()
	cmd := exec.Command("go", "build", "-o", filepath.Join(bundle, "rootfs", "prog"), "../runner/box/testdata/prog")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	path, err := WriteCDI(filepath.Join(bundle, "cdi"), tee, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []any
		want string
	}{
		"connect": {[]any{"/prog", "sock", "/run/hitoku/tee/simtee.sock"}, "socket"},
		"replace": {[]any{"/prog", "write", "/run/hitoku/tee/other.sock"}, "read-only"},
	} {
		config := map[string]any{
			"ociVersion": "1.0.2",
			"process":    map[string]any{"user": map[string]any{"uid": 0, "gid": 0}, "args": tc.args, "env": []any{"PATH=/"}, "cwd": "/"},
			"root":       map[string]any{"path": "rootfs"},
			"mounts":     []any{map[string]any{"destination": "/proc", "type": "proc", "source": "proc"}},
			"linux":      map[string]any{"namespaces": []any{map[string]any{"type": "pid"}, map[string]any{"type": "mount"}}},
		}
		inject(t, &spec, CDIKind+"="+CDIDevice, config)
		raw, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		run := exec.Command(runc, "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, "hitoku-cdi-"+name+"-"+filepath.Base(filepath.Dir(bundle)))
		run.Stdout, run.Stderr = &out, &out
		var exit *exec.ExitError
		if err := run.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: %s", name, &out)
		}
	}
}

func TestPrivileges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		euid  int
		pidns string
		err   error
		want  []string
	}{
		"root on the host":    {0, initialPIDNamespace, nil, nil},
		"ordinary user":       {1000, initialPIDNamespace, nil, []string{"not root (uid 1000)"}},
		"root in a container": {0, "pid:[4026532201]", nil, []string{"--pid=host"}},
		"both":                {1000, "pid:[4026532201]", nil, []string{"not root", "--pid=host"}},
		"no proc":             {0, "", os.ErrNotExist, []string{"not known"}},
	} {
		got := privileges(tc.euid, tc.pidns, tc.err)
		if len(got) != len(tc.want) {
			t.Errorf("%s: %q", name, got)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], tc.want[i]) {
				t.Errorf("%s: %q, wanted %q", name, got[i], tc.want[i])
			}
		}
	}
}
