//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// TestLedgerOnGeth runs nodes on a node of go-ethereum, and kills one of them.
func TestLedgerOnGeth(t *testing.T) {
	t.Parallel()
	h := newLedgerHost(t)
	h.endpoint = "http://" + startGeth(t, h.Path("chain"))
	keys := h.keys()
	var accounts []string
	h.call(&accounts, "eth_accounts")
	for _, a := range keys {
		h.call(nil, "eth_sendTransaction", map[string]string{"from": accounts[0], "to": a, "value": "0x3635c9adc5dea00000"})
	}
	for balance := "0x0"; balance == "0x0"; time.Sleep(100 * time.Millisecond) {
		h.call(&balance, "eth_getBalance", keys[4], "latest")
	}
	h.overChain(keys, h.endpoint[len("http://"):], "--finality", "confirmations", "--confirmations", "1")
	canaries := h.open()
	p := h.pay(canaries, 4, 1)
	p.more(8)
	h.nodes[3].Kill()
	p.more(8)
	h.start(3)
	h.running()
	p.more(8)
	p.verify(canaries)
	h.secret(canaries)
}

// startGeth returns host:port of its JSON-RPC.
func startGeth(t *testing.T, folder string) string {
	t.Helper()
	log, err := os.Create(folder + ".log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(env(t, "HITOKU_GETH"), "--dev", "--dev.period", "1", "--datadir", folder,
		"--http", "--http.addr", "127.0.0.1", "--http.port", "0", "--authrpc.port", "0", "--port", "0", "--nodiscover", "--ipcdisable")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its folder goes too
		_ = cmd.Wait()
	})
	ready := regexp.MustCompile(`HTTP server started\s+endpoint=(\S+)`)
	for range 600 {
		raw, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		if m := ready.FindSubmatch(raw); m != nil {
			return string(m[1])
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("geth does not listen after a minute")
	return ""
}
