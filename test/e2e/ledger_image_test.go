//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/member"
)

// TestLedgerInConvertedImage brings the ledger's node through convert, approve and run as
// docs/ledger.md says: the same program, with evidence and sealing keys from the guest.
func TestLedgerInConvertedImage(t *testing.T) {
	s := newStack(t)
	program, err := os.ReadFile(filepath.Join(env(t, "HITOKU_BIN"), "hitoku-ledger"))
	if err != nil {
		t.Fatal(err)
	}
	plain := s.buildImage(workload{
		name: "ledger", files: map[string]string{"/hitoku-ledger": string(program)},
		docker: []string{"VOLUME /data", `ENTRYPOINT ["/hitoku-ledger", "--config", "/data/ledger.json"]`},
	})
	converted := s.convertAndApprove("ledger", plain, "ledger.e2e.internal")
	var image struct{ Measurement string }
	if err := json.Unmarshal([]byte(s.cli("inspect", converted, "--json")), &image); err != nil {
		t.Fatal(err)
	}

	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	_, root := s.roots()
	s.cli("account", "simulated-collateral", "-o", filepath.Join(data, "collateral.json"))
	ledger := filepath.Join(s.dir, "ledger")
	s.cli("ledger", "init", ledger, "--measurement", image.Measurement, "--application", "erc20=1", "--trust-simulated-root", root, "--executors", "1", "--vaults", "0")
	for _, name := range []string{"genesis", "operator-1.key"} {
		raw, err := os.ReadFile(filepath.Join(ledger, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(data, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.spawn("log", "ledger", "log", "--dir", filepath.Join(s.dir, "log"), "--listen", "unix:"+filepath.Join(data, "log.sock"))
	config := s.cli("ledger", "node", "--genesis", "/data/genesis", "--slot", "1", "--operator-key", "/data/operator-1.key", "--dir", "/data/node",
		"--listen", "0.0.0.0:7411", "--log", "unix:/data/log.sock", "--collateral", "/data/collateral.json", "--print-config")
	if err := os.WriteFile(filepath.Join(data, "ledger.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	docker(t, "pull", converted)
	container := strings.TrimSpace(docker(t, "run", "-d", "-v", s.tee+":/run/hitoku/tee:ro", "-v", data+":/data", "-e", "NODE_AGENT_BASE_URL="+s.agent, "-p", "127.0.0.1::7411", converted))
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := tryDocker("logs", container)
			t.Logf("container log:\n%s", out)
		}
		tryDocker("rm", "-f", container)
	})
	node := "https://" + s.published(container, 7411)
	status := func(want string) func() error {
		return func() error {
			text, err := fetchInsecurely(node + "/api/v1/health")
			if err == nil && !strings.Contains(text, `"`+want+`"`) {
				err = fmt.Errorf("health says %s", text)
			}
			return err
		}
	}
	s.eventually("the node has joined", status("joining"))
	s.eventually("the administrator lets it in", func() error {
		_, err := s.try("", "ledger", "admin", "approve", "--genesis", filepath.Join(ledger, "genesis"), "--node", node, "--key", filepath.Join(ledger, "admin-1.key"))
		return err
	})
	s.eventually("the node runs", status("running"))
	members, err := fetchInsecurely(node + "/api/v1/members")
	if err != nil || !strings.Contains(members, image.Measurement) {
		t.Errorf("members %s, %v; wanted the image's measurement %s", members, err, image.Measurement)
	}
}

// fetchInsecurely asks whoever answers.
func fetchInsecurely(url string) (string, error) {
	transport := &http.Transport{TLSClientConfig: member.ClientConfig(nil, func([32]byte) error { return nil })}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	raw, err := io.ReadAll(res.Body)
	return string(raw), errors.Join(err, res.Body.Close())
}
