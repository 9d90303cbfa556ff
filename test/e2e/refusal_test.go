//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// start runs a container to its end and returns its output and exit code.
func (s *stack) start(image string, flags ...string) (string, int) {
	s.t.Helper()
	run := append([]string{"run", "--rm", "-v", s.tee + ":/run/hitoku/tee:ro", "-e", "NODE_AGENT_BASE_URL=" + s.agent}, flags...)
	cmd := exec.Command("docker", append(run, image)...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// refusedWith fails unless the container ended with another code than 0 and said each of want.
func (s *stack) refusedWith(out string, code int, want ...string) {
	s.t.Helper()
	if code == 0 {
		s.t.Errorf("it was not refused:\n%s", out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			s.t.Errorf("the message lacks %q:\n%s", w, out)
		}
	}
	if strings.Contains(out, "THE PROGRAM RAN") {
		s.t.Errorf("the program was started:\n%s", out)
	}
}

// TestRefusals changes one thing at a time and expects the program not to start.
func TestRefusals(t *testing.T) {
	s := newStack(t)
	w := workload{
		name: "canary", root: "busybox", files: map[string]string{"/entry.sh": "#!/bin/sh\necho THE PROGRAM RAN\n", "/etc/app.conf": "x=1\n"},
		docker: []string{`ENTRYPOINT ["/bin/sh", "/entry.sh"]`},
	}
	plain := s.buildImage(w)
	domain := "canary.e2e.internal"
	image := s.convertAndApprove("canary", plain, domain, "--name", domain)
	docker(t, "pull", "-q", image)

	if out, code := s.start(image); code != 0 || !strings.Contains(out, "THE PROGRAM RAN") {
		t.Fatalf("the untouched image: exit code %d\n%s", code, out)
	}

	var tags []string
	layered := func(t *testing.T, instructions string, files map[string]string) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM "+image+"\n"+instructions+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		tag := "e2e-refused:" + fmt.Sprint(len(tags))
		tags = append(tags, tag)
		docker(t, "build", "-q", "-t", tag, dir)
		return tag
	}
	host := t.TempDir()
	evil := filepath.Join(host, "evil")
	if err := os.WriteFile(evil, []byte("evil\n"), 0o755); err != nil {
		t.Fatal(err)
	}

	for _, tc := range []struct {
		name  string
		image func(t *testing.T) string
		flags []string
		want  []string
	}{
		{"file changed", func(t *testing.T) string {
			return layered(t, "COPY entry.sh /entry.sh", map[string]string{"entry.sh": "#!/bin/sh\necho THE PROGRAM RAN as somebody else wants\n"})
		}, nil, []string{"/entry.sh"}},
		{"file added", func(t *testing.T) string {
			return layered(t, "COPY x /etc/ld.so.preload", map[string]string{"x": "/evil.so\n"})
		}, nil, []string{"/etc/ld.so.preload", "--rw"}},
		{"guest changed", func(t *testing.T) string {
			return layered(t, `RUN ["/bin/busybox", "sh", "-c", "echo >> /.hitoku/init"]`, nil)
		}, nil, []string{"guest_digest", "not started"}},
		{"file added beside the guest", func(t *testing.T) string {
			return layered(t, "COPY x /.hitoku/other", map[string]string{"x": "x"})
		}, nil, []string{"/.hitoku/other"}},
		{"manifest changed", func(t *testing.T) string {
			return layered(t, "COPY m /.hitoku/manifest.json", map[string]string{"m": "{}"})
		}, nil, []string{"manifest"}},
		{"signature changed", func(t *testing.T) string {
			return layered(t, "COPY s /.hitoku/sigstruct", map[string]string{"s": strings.Repeat("x", 1808)})
		}, nil, []string{"sigstruct"}},
		{"mount over a file", nil, []string{"-v", evil + ":/etc/app.conf:ro"}, []string{"/etc/app.conf"}},
		{"mount over a folder", nil, []string{"-v", host + ":/bin:ro"}, []string{"/bin"}},
		{"other user", nil, []string{"--user", "1000"}, []string{"user 0", "--user"}},
		{"no socket", nil, []string{"-v", host + ":/run/hitoku/tee"}, []string{"/run/hitoku/tee"}},
		{"no agent", nil, []string{"-e", "NODE_AGENT_BASE_URL="}, []string{"NODE_AGENT_BASE_URL"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sub := *s
			sub.t = t
			ref := image
			if tc.image != nil {
				ref = tc.image(t)
			}
			out, code := sub.start(ref, tc.flags...)
			sub.refusedWith(out, code, tc.want...)
		})
	}

	t.Run("environment and arguments stay outside", func(t *testing.T) {
		sub := *s
		sub.t = t
		out, code := sub.start(image, "-e", "LD_PRELOAD=/evil.so", "-e", "GODEBUG=inittrace=1")
		if code != 0 || !strings.Contains(out, "THE PROGRAM RAN") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		for _, want := range []string{"environment variable LD_PRELOAD is ignored", "environment variable GODEBUG is ignored"} {
			if !strings.Contains(out, want) {
				t.Errorf("the log lacks %q:\n%s", want, out)
			}
		}
		if strings.Contains(out, "evil.so") {
			t.Errorf("LD_PRELOAD acted:\n%s", out)
		}
	})

	t.Run("nobody approved it", func(t *testing.T) {
		sub := *s
		sub.t = t
		account, _ := sub.roots()
		other := strings.TrimSuffix(plain, ":1") + "-other:1"
		sub.cli("convert", plain, other, "--account-root", account, "--name", domain, "--env", "OTHER=1", "--key", filepath.Join(s.dir, "key.pem"))
		docker(t, "pull", "-q", other)
		out, code := sub.start(other)
		sub.refusedWith(out, code, "known_image")
	})

	t.Run("pending, then approved", func(t *testing.T) {
		sub := *s
		sub.t = t
		sub.cli("image", "create", "--app", "canary", "--tag", "1", "--output-tag", "2", "--name", domain, "--env", "LATER=1", "--key", filepath.Join(s.dir, "key.pem"))
		later := strings.TrimSuffix(image, ":1") + ":2"
		docker(t, "pull", "-q", later)
		id := strings.TrimSpace(docker(t, "run", "-d", "-v", s.tee+":/run/hitoku/tee:ro", "-e", "NODE_AGENT_BASE_URL="+s.agent, later))
		defer tryDocker("rm", "-f", id)
		sub.eventually("the guest names the task", func() error { return logged(id, "task") })
		if logged(id, "THE PROGRAM RAN") == nil {
			t.Fatal("the program started before the approval")
		}
		sub.approveAll()
		sub.eventually("the program runs after the approval", func() error { return logged(id, "THE PROGRAM RAN") })
	})

	t.Run("approval withdrawn", func(t *testing.T) {
		sub := *s
		sub.t = t
		sub.cli("image", "withdraw", image)
		out, code := sub.start(image)
		sub.refusedWith(out, code, "known_image")
	})

	t.Run("node deactivated", func(t *testing.T) {
		sub := *s
		sub.t = t
		sub.cli("node", "deactivate", "node-1")
		later := strings.TrimSuffix(image, ":1") + ":2"
		out, code := sub.start(later)
		sub.refusedWith(out, code, "node")
	})
}

func logged(container, want string) error {
	out, err := tryDocker("logs", container)
	if err != nil {
		return err
	}
	if !strings.Contains(out, want) {
		return fmt.Errorf("%q is not in the log: %s", want, out)
	}
	return nil
}
