//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// workload is an image as somebody would bring it, and how it shows that it works.
type workload struct {
	name    string
	root    string            // tar in the cache of images.sh, or empty for FROM scratch
	files   map[string]string // added by `docker build`
	docker  []string          // instructions of the Dockerfile after FROM and COPY
	convert []string          // flags of `hitoku image create`
	run     []string          // flags of `docker run`
	front   int               // port of the TLS front inside the container, 0 for none
	path    string            // fetched through the front
	want    string            // in the reply
	check   func(t *testing.T, s *stack, container string)
}

const flaskApp = `from flask import Flask
app = Flask(__name__)

@app.route("/")
def index():
    return "hello from unchanged flask\n"
`

const nodeApp = `require("http").createServer((q, r) => r.end("hello from unchanged node " + process.version + "\n")).listen(3000);
`

var workloads = []workload{
	{
		name: "flask", root: "flask", files: map[string]string{"/srv/app.py": flaskApp},
		docker:  []string{"WORKDIR /srv", "ENV FLASK_APP=app.py", "EXPOSE 5000", `CMD ["/usr/bin/python3", "-m", "flask", "run", "--host=0.0.0.0"]`},
		convert: []string{"--tls", "8443=5000"}, front: 8443, path: "/", want: "hello from unchanged flask",
	},
	{
		name: "nginx", root: "nginx", files: map[string]string{"/var/www/html/index.html": "hello from unchanged nginx\n"},
		docker:  []string{"EXPOSE 80", `CMD ["/usr/sbin/nginx", "-g", "daemon off;"]`},
		convert: []string{"--tls", "8443=80", "--rw", "/var/lib/nginx"}, front: 8443, path: "/", want: "hello from unchanged nginx",
	},
	{
		name: "node", root: "node", files: map[string]string{"/srv/app.js": nodeApp},
		docker:  []string{"USER 1000:1000", `ENTRYPOINT ["/usr/bin/node"]`, `CMD ["/srv/app.js"]`},
		convert: []string{"--tls", "8443=3000"}, front: 8443, path: "/", want: "hello from unchanged node",
	},
	{
		name: "busybox", root: "busybox",
		files:   map[string]string{"/www/index.html": "hello from unchanged busybox\n", "/entry.sh": "#!/bin/sh\necho starting as $(id -u)\nexec httpd -f -v -p 8080 -h /www\n"},
		docker:  []string{"RUN [\"/bin/busybox\", \"chmod\", \"755\", \"/entry.sh\"]", "USER web", `ENTRYPOINT ["/entry.sh"]`},
		convert: []string{"--tls", "8443=8080"}, front: 8443, path: "/index.html", want: "hello from unchanged busybox",
	},
	{
		name: "static-go", docker: []string{"USER 65532", "EXPOSE 8080", `ENTRYPOINT ["/hello"]`},
		files:   map[string]string{"/www/index.html": "hello from a static Go program\n", "/hello": ""},
		convert: []string{"--tls", "8443=8080"}, front: 8443, path: "/", want: "hello from a static Go program",
	},
	{
		name: "postgres", root: "postgres", docker: []string{
			"USER postgres", `RUN ["/usr/lib/postgresql/15/bin/initdb", "-D", "/var/lib/postgresql/data", "--auth=trust"]`,
			"VOLUME /var/lib/postgresql/data", `CMD ["/usr/lib/postgresql/15/bin/postgres", "-D", "/var/lib/postgresql/data", "-c", "unix_socket_directories=/tmp"]`,
		},
		check: func(t *testing.T, s *stack, container string) {
			s.eventually("postgres answers", func() error {
				out, err := tryDocker("exec", "-u", "postgres", container, "psql", "-h", "/tmp", "-Atc", "select 6*7")
				if err != nil || strings.TrimSpace(out) != "42" {
					return fmt.Errorf("psql: %v %s", err, out)
				}
				return nil
			})
		},
	},
}

// TestPath brings each image through convert, register, approve, run and verify.
func TestPath(t *testing.T) {
	s := newStack(t)
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			sub := *s
			sub.t = t
			sub.path(w)
		})
	}
}

func (s *stack) path(w workload) {
	t := s.t
	plain := s.buildImage(w)
	domain := w.name + ".e2e.internal"
	converted := s.convertAndApprove(w.name, plain, domain, w.convert...)

	docker(t, "pull", converted)
	run := []string{"run", "-d", "-v", s.tee + ":/run/hitoku/tee:ro", "-e", "NODE_AGENT_BASE_URL=" + s.agent}
	if w.front != 0 {
		run = append(run, "-p", fmt.Sprintf("127.0.0.1::%d", w.front))
	}
	container := strings.TrimSpace(docker(t, append(append(run, w.run...), converted)...))
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := tryDocker("logs", container)
			t.Logf("container log:\n%s", out)
		}
		tryDocker("rm", "-f", container)
	})
	if w.front != 0 {
		address := s.published(container, w.front)
		s.verified(address, domain, converted)
		body := s.get(address, domain, w.path)
		if !strings.Contains(body, w.want) {
			t.Errorf("GET %s: %q, wanted %q in it", w.path, body, w.want)
		}
	}
	if w.check != nil {
		w.check(t, s, container)
	}
	docker(t, "stop", "-t", "10", container)
	if code := strings.TrimSpace(docker(t, "inspect", "-f", "{{.State.ExitCode}}", container)); code == "137" {
		t.Errorf("the program was killed: the stop signal did not reach it")
	}
}

// buildImage makes the plain image in the engine and pushes it to the registry.
func (s *stack) buildImage(w workload) string {
	t := s.t
	t.Helper()
	dir := t.TempDir()
	from := "scratch"
	if w.root != "" {
		from = "e2e-root-" + w.root
		if _, err := tryDocker("image", "inspect", from); err != nil {
			docker(t, "import", filepath.Join(env(t, "HITOKU_E2E_IMAGES"), w.root+".tar"), from)
		}
	}
	file := "FROM " + from + "\n"
	for name, content := range w.files {
		local := filepath.Join(dir, filepath.Base(name))
		if name == "/hello" {
			cmd := exec.Command("go", "build", "-o", local, "hitoku.dev/examples/hello")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
		} else if err := os.WriteFile(local, []byte(content), fileMode(content)); err != nil {
			t.Fatal(err)
		}
		file += fmt.Sprintf("COPY %s %s\n", filepath.Base(name), name)
	}
	file += strings.Join(w.docker, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	ref := s.registry + "/" + w.name + ":1"
	docker(t, "build", "-q", "-t", ref, dir)
	docker(t, "push", "-q", ref)
	return ref
}

func fileMode(content string) os.FileMode {
	if strings.HasPrefix(content, "\x7fELF") {
		return 0o755
	}
	return 0o644
}

// convertAndApprove makes the application and its image, approves both and returns the converted reference.
func (s *stack) convertAndApprove(app, plain, domain string, flags ...string) string {
	s.t.Helper()
	name := strings.TrimSuffix(plain, ":1")
	s.cli("app", "create", app, "--input", name, "--output", name+"-hitoku", "--domain", domain)
	s.cli(append([]string{"image", "create", "--app", app, "--tag", "1", "--key", filepath.Join(s.dir, "key.pem")}, flags...)...)
	s.approveAll()
	return name + "-hitoku:1"
}

func (s *stack) approveAll() {
	s.t.Helper()
	var tasks []struct {
		TaskID string `json:"task_id"`
	}
	if err := json.Unmarshal([]byte(s.cli("task", "list", "--json")), &tasks); err != nil {
		s.t.Fatal(err)
	}
	if len(tasks) == 0 {
		s.t.Fatal("no task waits for an approval")
	}
	for _, task := range tasks {
		s.cli("task", "approve", task.TaskID)
	}
}

func (s *stack) published(container string, port int) string {
	s.t.Helper()
	out := docker(s.t, "port", container, fmt.Sprintf("%d/tcp", port))
	return strings.TrimSpace(strings.Split(out, "\n")[0])
}

// roots writes the two roots that a client needs and returns their files.
func (s *stack) roots() (account, simulated string) {
	account, simulated = filepath.Join(s.dir, "acme.pem"), filepath.Join(s.dir, "acme-simulated.pem")
	s.cli("account", "root", "-o", account)
	s.cli("account", "simulated-root", "-o", simulated)
	return account, simulated
}

// verified waits until `hitoku verify` accepts the address, with the measurement computed from the image.
func (s *stack) verified(address, domain, image string) {
	s.t.Helper()
	account, simulated := s.roots()
	s.eventually("hitoku verify accepts "+address, func() error {
		_, err := s.try("", "verify", "https://"+address, "--name", domain, "--root", account, "--trust-simulated-root", simulated, "--image", image)
		return err
	})
}

// get fetches a page with curl, which checks the chain and the name as any client would.
func (s *stack) get(address, domain, path string) string {
	s.t.Helper()
	account, _ := s.roots()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		s.t.Fatal(err)
	}
	var body string
	s.eventually("GET "+path, func() error {
		out, err := exec.Command("curl", "-sS", "--max-time", "10", "--cacert", account, "--resolve", domain+":"+port+":"+host, "https://"+domain+":"+port+path).CombinedOutput()
		body = string(out)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return body
}
