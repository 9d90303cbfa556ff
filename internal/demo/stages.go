package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/registry"
)

func (d *demo) stages() []stage {
	return []stage{
		{"Start a registry and put a sample application into it", d.startRegistry},
		{"Start the manager", d.startManager},
		{"Become its administrator and create a test-only account", d.createAccount},
		{"Describe the application", d.createApp},
		{"Convert the image and register its measurement", d.convert},
		{"Approve the name and the image", d.approve},
		{"Enrol this machine: node agent and simulated TEE", d.enrol},
		{"Run the converted image", d.runImage},
		{"Verify from outside: certificate and evidence", d.verify},
		{"Fetch the page over TLS, checking both", d.fetch},
		{"Refusal: somebody changed a file in the image", d.refuseTampered},
		{"Refusal: an image that nobody approved", d.refuseUnapproved},
		{"Refusal: a machine that is not enrolled", d.refuseNode},
	}
}

func (d *demo) startRegistry(ctx context.Context) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	d.registry = ln.Addr().String()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); _ = registry.Serve(serving, ln, d.path("registry")) }()
	d.closers = append(d.closers, func() { stop(); <-done })
	img, err := sampleImage(d.Hello, os.Geteuid() == 0)
	if err != nil {
		return "", err
	}
	ref, err := image.Parse(d.registry + "/hello:1")
	if err != nil {
		return "", err
	}
	if _, err := image.Write(ctx, ref, img, image.WriteOptions{}); err != nil {
		return "", err
	}
	return "image " + ref.String() + ": a static program and a page, plain HTTP on 8080", nil
}

func (d *demo) startManager(ctx context.Context) (string, error) {
	ready := d.path("ready.json")
	p, err := d.spawn("manager", "manager", "--data-dir", d.path("manager"), "--listen", freeOr("127.0.0.1", 8443), "--ready-file", ready)
	if err != nil {
		return "", err
	}
	var first struct{ URL, Pin, Code string }
	err = d.until(ctx, p, 20*time.Second, func() error {
		raw, err := os.ReadFile(ready)
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &first)
	})
	d.manager, d.pin, d.code = first.URL, first.Pin, first.Code
	return fmt.Sprintf("%s, pin %s", d.manager, d.pin), err
}

func (d *demo) createAccount(ctx context.Context) (string, error) {
	if _, err := d.command(ctx, password+"\n", "login", d.manager, "--pin", d.pin, "--email", email, "--code", d.code, "--password-stdin"); err != nil {
		return "", err
	}
	return d.command(ctx, "", "account", "create", "demo", "--test-only")
}

func (d *demo) createApp(ctx context.Context) (string, error) {
	out, err := d.command(ctx, "", "app", "create", appName, "--input", d.registry+"/hello", "--output", d.registry+"/hello-hitoku", "--domain", domainName)
	return firstLine(out), err
}

func (d *demo) convert(ctx context.Context) (string, error) {
	var b struct {
		Build struct {
			EnclaveInfo struct {
				MREnclave string `json:"mrenclave"`
				MRSigner  string `json:"mrsigner"`
			} `json:"enclave_info"`
		} `json:"build"`
	}
	err := d.commandJSON(ctx, &b, "image", "create", "--app", appName, "--tag", "1", "--tls", "8443=8080", "--key", d.path("signing-key.pem"))
	d.measurement = b.Build.EnclaveInfo.MREnclave
	return "measurement " + d.measurement + "\nsigner      " + b.Build.EnclaveInfo.MRSigner, err
}

func (d *demo) approve(ctx context.Context) (string, error) {
	var tasks []struct {
		TaskID string `json:"task_id"`
	}
	if err := d.commandJSON(ctx, &tasks, "task", "list"); err != nil {
		return "", err
	}
	if len(tasks) != 2 {
		return "", fmt.Errorf("%d tasks wait, wanted 2: the name and the image", len(tasks))
	}
	var said strings.Builder
	for _, t := range tasks {
		out, err := d.command(ctx, "", "task", "approve", t.TaskID)
		if err != nil {
			return "", err
		}
		said.WriteString(out)
	}
	return said.String(), nil
}

func (d *demo) enrol(ctx context.Context) (string, error) {
	token, err := d.command(ctx, "", "node", "token", "-q")
	if err != nil {
		return "", err
	}
	d.tokenFile = d.path("join-token")
	if err := os.WriteFile(d.tokenFile, []byte(token), 0o600); err != nil {
		return "", err
	}
	listen := freeOr("127.0.0.1", 9092)
	d.agentURL, d.teeDir = "http://"+listen, d.path("tee")
	p, err := d.spawn("agent", "agent", "--manager", d.manager, "--join-token-file", d.tokenFile, "--data-dir", d.path("agent"),
		"--listen", listen, "--tee-dir", d.teeDir, "--name", "this-machine")
	if err != nil {
		return "", err
	}
	err = d.until(ctx, p, 20*time.Second, func() error {
		out, err := d.quiet(ctx, "", "node", "list", "--json")
		if err == nil && !strings.Contains(out, `"RUNNING"`) {
			err = errors.New("the node is not RUNNING yet")
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return d.command(ctx, "", "node", "list")
}

func (d *demo) runImage(ctx context.Context) (string, error) {
	listen := freeOr("127.0.0.1", 8444)
	d.appURL = "https://" + listen
	p, err := d.spawn("application", d.runArgs(d.agentURL, d.registry+"/hello-hitoku:1", "-p", listen+":8443")...)
	if err != nil {
		return "", err
	}
	err = d.until(ctx, p, 30*time.Second, func() error {
		conn, err := net.DialTimeout("tcp", listen, time.Second)
		if err != nil {
			return err
		}
		conn.Close()
		raw, err := os.ReadFile(p.log)
		if err == nil && !strings.Contains(string(raw), "listening on") {
			err = errors.New("the application does not listen yet")
		}
		return err
	})
	raw, readErr := os.ReadFile(p.log)
	return string(raw), errors.Join(err, readErr)
}

// runArgs is the command line that runs an image with the built-in runner.
func (d *demo) runArgs(agent, ref string, flags ...string) []string {
	args := append([]string{"run", "--engine", "builtin", "--agent", agent, "--tee-dir", d.teeDir, "--runner-dir", d.path("runner")}, flags...)
	return append(args, ref)
}

func (d *demo) roots() (account, simulated string) {
	return d.path("account-root.pem"), d.path("simulated-root.pem")
}

func (d *demo) verify(ctx context.Context) (string, error) {
	account, simulated := d.roots()
	if _, err := d.command(ctx, "", "account", "root", "-o", account); err != nil {
		return "", err
	}
	if _, err := d.command(ctx, "", "account", "simulated-root", "-o", simulated); err != nil {
		return "", err
	}
	out, err := d.command(ctx, "", "verify", d.appURL, "--name", domainName, "--root", account, "--trust-simulated-root", simulated, "--measurement", d.measurement)
	if err != nil {
		return "", err
	}
	return shortReport(out), nil
}

// shortReport leaves the sections on certificates and evidence out of what verify printed.
func shortReport(report string) string {
	var kept []string
	keep := true
	for _, line := range strings.Split(report, "\n") {
		if line != "" && line[0] != ' ' {
			keep = !strings.HasPrefix(line, "Certificates") && !strings.HasPrefix(line, "Evidence") && !strings.HasPrefix(line, "TCB")
		}
		if keep {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// freeOr is host:port with the wanted port when it is free, else any free one.
func freeOr(host string, port int) string {
	for _, p := range []int{port, 0} {
		ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, p))
		if err == nil {
			defer ln.Close()
			return ln.Addr().String()
		}
	}
	return fmt.Sprintf("%s:%d", host, port)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
