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

	"hitoku.dev/internal/demo/play"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/registry"
)

func (d *demo) stages() []play.Stage {
	return []play.Stage{
		{Title: "Start a registry and put a sample application into it", Run: d.startRegistry},
		{Title: "Start the manager", Run: d.startManager},
		{Title: "Become its administrator and create a test-only account", Run: d.createAccount},
		{Title: "Describe the application", Run: d.createApp},
		{Title: "Convert the image and register its measurement", Run: d.convert},
		{Title: "Approve the name and the image", Run: d.approve},
		{Title: "Enrol this machine: node agent and simulated TEE", Run: d.enrol},
		{Title: "Run the converted image", Run: d.runImage},
		{Title: "Verify from outside: certificate and evidence", Run: d.verify},
		{Title: "Fetch the page over TLS, checking both", Run: d.fetch},
		{Title: "Refusal: somebody changed a file in the image", Run: d.refuseTampered},
		{Title: "Refusal: an image that nobody approved", Run: d.refuseUnapproved},
		{Title: "Refusal: a machine that is not enrolled", Run: d.refuseNode},
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
	go func() { defer close(done); _ = registry.Serve(serving, ln, d.Path("registry")) }()
	d.AtEnd(func() { stop(); <-done })
	img, err := sampleImage(d.options.Hello, os.Geteuid() == 0)
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
	ready := d.Path("ready.json")
	p, err := d.Spawn("manager", "manager", "--data-dir", d.Path("manager"), "--listen", play.FreeOr("127.0.0.1", 8443), "--ready-file", ready)
	if err != nil {
		return "", err
	}
	var first struct{ URL, Pin, Code string }
	err = d.Until(ctx, p, 20*time.Second, func() error {
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
	if _, err := d.Command(ctx, password+"\n", "login", d.manager, "--pin", d.pin, "--email", email, "--code", d.code, "--password-stdin"); err != nil {
		return "", err
	}
	return d.Command(ctx, "", "account", "create", "demo", "--test-only")
}

func (d *demo) createApp(ctx context.Context) (string, error) {
	out, err := d.Command(ctx, "", "app", "create", appName, "--input", d.registry+"/hello", "--output", d.registry+"/hello-hitoku", "--domain", domainName)
	return play.FirstLine(out), err
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
	err := d.CommandJSON(ctx, &b, "image", "create", "--app", appName, "--tag", "1", "--tls", "8443=8080", "--key", d.Path("signing-key.pem"))
	d.measurement = b.Build.EnclaveInfo.MREnclave
	return "measurement " + d.measurement + "\nsigner      " + b.Build.EnclaveInfo.MRSigner, err
}

func (d *demo) approve(ctx context.Context) (string, error) {
	var tasks []struct {
		TaskID string `json:"task_id"`
	}
	if err := d.CommandJSON(ctx, &tasks, "task", "list"); err != nil {
		return "", err
	}
	if len(tasks) != 2 {
		return "", fmt.Errorf("%d tasks wait, wanted 2: the name and the image", len(tasks))
	}
	var said strings.Builder
	for _, t := range tasks {
		out, err := d.Command(ctx, "", "task", "approve", t.TaskID)
		if err != nil {
			return "", err
		}
		said.WriteString(out)
	}
	return said.String(), nil
}

func (d *demo) enrol(ctx context.Context) (string, error) {
	token, err := d.Command(ctx, "", "node", "token", "-q")
	if err != nil {
		return "", err
	}
	d.tokenFile = d.Path("join-token")
	if err := os.WriteFile(d.tokenFile, []byte(token), 0o600); err != nil {
		return "", err
	}
	listen := play.FreeOr("127.0.0.1", 9092)
	d.agentURL, d.teeDir = "http://"+listen, d.Path("tee")
	p, err := d.Spawn("agent", "agent", "--manager", d.manager, "--join-token-file", d.tokenFile, "--data-dir", d.Path("agent"),
		"--listen", listen, "--tee-dir", d.teeDir, "--name", "this-machine")
	if err != nil {
		return "", err
	}
	err = d.Until(ctx, p, 20*time.Second, func() error {
		out, err := d.Quiet(ctx, "", "node", "list", "--json")
		if err == nil && !strings.Contains(out, `"RUNNING"`) {
			err = errors.New("the node is not RUNNING yet")
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return d.Command(ctx, "", "node", "list")
}

func (d *demo) runImage(ctx context.Context) (string, error) {
	listen := play.FreeOr("127.0.0.1", 8444)
	d.appURL = "https://" + listen
	p, err := d.Spawn("application", d.runArgs(d.agentURL, d.registry+"/hello-hitoku:1", "-p", listen+":8443")...)
	if err != nil {
		return "", err
	}
	err = d.Until(ctx, p, 30*time.Second, func() error {
		conn, err := net.DialTimeout("tcp", listen, time.Second)
		if err != nil {
			return err
		}
		conn.Close()
		raw, err := os.ReadFile(p.Log)
		if err == nil && !strings.Contains(string(raw), "listening on") {
			err = errors.New("the application does not listen yet")
		}
		return err
	})
	raw, readErr := os.ReadFile(p.Log)
	return string(raw), errors.Join(err, readErr)
}

// runArgs is the command line that runs an image with the built-in runner.
func (d *demo) runArgs(agent, ref string, flags ...string) []string {
	args := append([]string{"run", "--engine", "builtin", "--agent", agent, "--tee-dir", d.teeDir, "--runner-dir", d.Path("runner")}, flags...)
	return append(args, ref)
}

func (d *demo) roots() (account, simulated string) {
	return d.Path("account-root.pem"), d.Path("simulated-root.pem")
}

func (d *demo) verify(ctx context.Context) (string, error) {
	account, simulated := d.roots()
	if _, err := d.Command(ctx, "", "account", "root", "-o", account); err != nil {
		return "", err
	}
	if _, err := d.Command(ctx, "", "account", "simulated-root", "-o", simulated); err != nil {
		return "", err
	}
	out, err := d.Command(ctx, "", "verify", d.appURL, "--name", domainName, "--root", account, "--trust-simulated-root", simulated, "--measurement", d.measurement)
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
