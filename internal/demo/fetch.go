package demo

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"hitoku.dev/attest/atls"
)

func (d *demo) fetch(ctx context.Context) (string, error) {
	accountFile, simulatedFile := d.roots()
	root, err := readCertificate(accountFile)
	if err != nil {
		return "", err
	}
	simulated, err := readCertificate(simulatedFile)
	if err != nil {
		return "", err
	}
	measurement, err := hex.DecodeString(d.measurement)
	if err != nil {
		return "", err
	}
	cfg := atls.ClientConfig(atls.Options{
		Root: root, SimulatedRoot: simulated, Name: domainName, Measurements: [][]byte{measurement}, Now: time.Now,
	})
	transport := &http.Transport{TLSClientConfig: cfg}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	d.Note("(GET %s/ by a Go client with attest/atls)", d.appURL)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.appURL+"/", nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK || string(body) != page {
		return "", fmt.Errorf("GET /: status %d, body %q", res.StatusCode, body)
	}
	return "200 OK, " + strings.TrimSpace(strings.Split(page, "\n")[2]), nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM certificate in it", file)
	}
	return x509.ParseCertificate(block.Bytes)
}

// state is what demo.json tells programs about what stays up.
type state struct {
	Manager    string `json:"manager"`
	Agent      string `json:"agent"`
	Registry   string `json:"registry"`
	TEEDir     string `json:"tee_dir"`
	App        string `json:"app"`
	ManagerPID int    `json:"manager_pid"`
	AgentPID   int    `json:"agent_pid"`
}

// writeState writes demo.json into the working folder.
func (d *demo) writeState() error {
	raw, err := json.Marshal(state{
		Manager: d.manager, Agent: d.agentURL, Registry: d.registry, TEEDir: d.teeDir, App: d.appURL,
		ManagerPID: d.PID("manager"), AgentPID: d.PID("agent"),
	})
	if err != nil {
		return err
	}
	tmp := d.Path("demo.json.part")
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, d.Path("demo.json"))
}

// summary says what stays up and how to get at it.
func (d *demo) summary() {
	account, simulated := d.roots()
	fmt.Fprintf(d.Out, `
What stays up until Ctrl-C:
    manager      %s   log in as %s, password %s, pin %s
    node agent   %s
    registry     http://%s
    application  %s   (name %s)
Try it, in another terminal:
    export HITOKU_SESSION=%s
    hitoku task list --all; hitoku node list; hitoku audit
    hitoku verify %s --name %s --root %s --trust-simulated-root %s
    curl --cacert %s --connect-to %s::%s https://%s/
`, d.manager, email, password, d.pin, d.agentURL, d.registry, d.appURL, domainName, d.Path("session.json"),
		d.appURL, domainName, account, simulated, account, domainName, strings.TrimPrefix(d.appURL, "https://"), domainName)
}
