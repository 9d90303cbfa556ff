package guest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/measure/workload"
)

// TestDocker holds the list of what engines make against a real Docker Engine.
func TestDocker(t *testing.T) {
	t.Parallel()
	needRoot(t)
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("needs a running Docker Engine (DOCKER_HOST names another one): %v\n%s", err, out)
	}
	m := newMachine(t)
	plain := newBox(t, m).runs("report")
	plain.manifest.AccountRoot = ""
	shared := importImage(t, plain)
	for name, c := range map[string]struct {
		change func(b *box)
		flags  []string
		args   []string
		code   int
		want   []string // in the log
	}{
		"plain":             {},
		"terminal":          {flags: []string{"-t"}},
		"tmpfs":             {flags: []string{"--tmpfs", "/run", "--tmpfs", "/tmp", "--shm-size", "8m"}},
		"read-only":         {flags: []string{"--read-only", "--tmpfs", "/run"}},
		"volume":            {flags: []string{"-v", "/srv/data"}},
		"no new privileges": {flags: []string{"--security-opt", "no-new-privileges"}},
		"with arguments":    {args: []string{"exit", "5"}, want: []string{`argument "5" is ignored`}},
		"environment":       {flags: []string{"-e", "LD_PRELOAD=/tmp/x.so"}, want: []string{"variable LD_PRELOAD is ignored"}},
		"working folder that the image has not": {
			change: func(b *box) { b.manifest.Exec.WorkDir = "/work/here" }, flags: []string{"-w", "/work/here"},
		},
		"another user":        {flags: []string{"--user", "1000"}, code: 1, want: []string{"start without --user"}},
		"no capabilities":     {flags: []string{"--cap-drop", "ALL"}, code: 1, want: []string{"--cap-add SETUID", "--cap-add CHOWN"}},
		"init":                {flags: []string{"--init"}, code: 1, want: []string{"start without --init"}},
		"processes of others": {flags: []string{"--pid", "host"}, code: 1, want: []string{"alone: /.hitoku/init"}},
		"bind mount":          {flags: []string{"-v", "/etc/passwd:/app:ro"}, code: 1, want: []string{"mount: /app", "--rw /app"}},
		"folder in /etc":      {flags: []string{"-v", "/tmp:/etc/evil"}, code: 1, want: []string{"mount: /etc/evil"}},
		"without the TEE":     {flags: []string{"-v", "/run/hitoku/tee"}, code: 1, want: []string{"simulated TEE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := shared
			if c.change != nil {
				b := newBox(t, m).runs("report")
				b.manifest.AccountRoot = ""
				c.change(b)
				image = importImage(t, b)
			}
			args := []string{"run", "--rm", "--network", "none"}
			if !slices.Contains(c.flags, teeFolder) && name != "without the TEE" {
				args = append(args, "-v", m.teeFolder+":"+teeFolder+":ro")
			}
			args = append(args, c.flags...)
			args = append(append(args, image), c.args...)
			cmd := exec.Command("docker", args...)
			var out, log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &log
			cmd.Run()
			all := out.String() + log.String()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, wanted %d\n%s", code, c.code, all)
			}
			for _, w := range c.want {
				if !strings.Contains(all, w) {
					t.Errorf("no %q in\n%s", w, all)
				}
			}
			if started := strings.Contains(all, `"uid":1000`); started != (c.code == 0) {
				t.Errorf("started: %v\n%s", started, all)
			}
		})
	}
}

// importImage makes a Docker image of the box's root file system.
func importImage(t *testing.T, b *box) string {
	t.Helper()
	for _, d := range []string{"/run", "/dev", "/proc", "/sys"} {
		must(t, os.MkdirAll(b.spec.Root+d, 0o755))
	}
	b.convert()
	name := fmt.Sprintf("hitoku-guest-test-%x", workload.Measurement([]byte(t.TempDir())))[:40]
	tar := exec.Command("tar", "--xattrs", "--xattrs-include=security.capability", "--numeric-owner", "-C", b.spec.Root, "-c", ".")
	load := exec.Command("docker", "import", "--change", `ENTRYPOINT ["/.hitoku/init"]`, "-", name)
	pipe, err := tar.StdoutPipe()
	must(t, err)
	load.Stdin = pipe
	var log, tarLog bytes.Buffer // each written by its own command
	load.Stderr, tar.Stderr = &log, &tarLog
	must(t, tar.Start())
	if err := load.Run(); err != nil {
		t.Fatalf("docker import: %v\n%s%s", err, log.String(), tarLog.String())
	}
	must(t, tar.Wait())
	t.Cleanup(func() { exec.Command("docker", "rmi", "-f", name).Run() })
	return name
}
