//go:build e2e

package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"hitoku.dev/internal/demo/play"
	"hitoku.dev/internal/ledger/hosttest"
)

// ledgerHost is what runs three executors, a vault and their log or chain as processes, and stands with
// a tape between any two of them.
type ledgerHost struct {
	*play.Play
	t        *testing.T
	tape     hosttest.Tape
	ledger   [32]byte
	root     *x509.Certificate
	orderBy  []string // the process that puts records in order
	order    *play.Process
	chain    *play.Play      // runs hitoku-devchain
	endpoint string          // of the chain, past the relay
	line     *hosttest.Relay // to log or chain
	nodes    [5]*play.Process
	args     [5][]string
	url      [5]string // through a relay
	listen   [5]string
}

func newLedgerHost(t *testing.T) *ledgerHost {
	var said bytes.Buffer
	h := &ledgerHost{t: t, Play: &play.Play{Exe: filepath.Join(env(t, "HITOKU_BIN"), "hitoku"), Dir: t.TempDir(), Out: &said}}
	h.chain = &play.Play{Exe: filepath.Join(env(t, "HITOKU_BIN"), "hitoku-devchain"), Dir: h.Dir, Out: io.Discard}
	t.Cleanup(func() {
		h.end()
		if t.Failed() {
			for _, name := range []string{"order", "slot-1", "slot-2", "slot-3", "slot-4"} {
				if raw, err := os.ReadFile(h.Path(name + ".log")); err == nil {
					t.Logf("%s:\n%s", name, raw[max(0, len(raw)-3000):])
				}
			}
		}
	})
	return h
}

func (h *ledgerHost) end() {
	h.Stop()
	h.chain.Stop()
}

// overLog makes a ledger on the embedded log.
func (h *ledgerHost) overLog() {
	listen := play.FreeOr("127.0.0.1", 0)
	h.orderBy = []string{"ledger", "log", "--dir", h.Path("log"), "--listen", listen}
	h.startOrder()
	h.line = hosttest.NewRelay(h.t, "log", listen, &h.tape)
	h.found()
	h.startNodes(func(int) []string { return []string{"--log", h.line.Address()} })
}

// overChain makes a ledger on a chain whose JSON-RPC is at address, host:port. The accounts of keys have ether.
func (h *ledgerHost) overChain(keys []string, address string, order ...string) {
	h.endpoint = "http://" + address
	h.line = hosttest.NewRelay(h.t, "chain", address, &h.tape)
	through := "http://" + h.line.Address()
	h.found(append([]string{"--order", "chain", "--endpoint", through, "--deployer-key", h.Path("key-0")}, order...)...)
	deploy := []string{"ledger", "deploy", "--genesis", h.Path("ledger", "genesis"), "--endpoint", through, "--key", h.Path("key-0")}
	for _, a := range keys[1:] {
		deploy = append(deploy, "--submitter", a)
	}
	h.must(deploy...)
	h.startNodes(func(slot int) []string {
		return []string{"--endpoint", through, "--submit-key", h.Path(fmt.Sprintf("key-%d", slot)), "--poll", "100ms"}
	})
}

// keys makes the deployer's key and one for each slot, and returns their addresses.
func (h *ledgerHost) keys() (addresses []string) {
	for i := range 5 {
		addresses = append(addresses, strings.TrimSpace(h.must("ledger", "deploy", "key", h.Path(fmt.Sprintf("key-%d", i)))))
	}
	return addresses
}

func (h *ledgerHost) found(more ...string) {
	h.t.Helper()
	var f struct{ Ledger string }
	args := append([]string{"ledger", "init", h.Path("ledger"), "--simulated", "--window", "8", "--checkpoint-every", "16"}, more...)
	if err := h.CommandJSON(h.t.Context(), &f, args...); err != nil {
		h.t.Fatal(err)
	}
	if n, err := hex.Decode(h.ledger[:], []byte(f.Ledger)); err != nil || n != 32 {
		h.t.Fatal(f, err)
	}
	raw, err := os.ReadFile(h.Path("ledger", "simulated", "simulated-root.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	if h.root, err = x509.ParseCertificate(block.Bytes); err != nil {
		h.t.Fatal(err)
	}
}

// startOrder starts the log or the development chain, and waits until it says that it listens.
func (h *ledgerHost) startOrder() {
	h.t.Helper()
	by, ready := h.Play, []byte("listening on")
	if h.orderBy[0] != "ledger" {
		by, ready = h.chain, []byte("JSON-RPC on")
	}
	before, _ := os.ReadFile(h.Path("order.log")) // of an earlier process, if any
	p, err := by.Spawn("order", h.orderBy...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.order = p
	h.until(p, "the order listens", func() error {
		raw, err := os.ReadFile(p.Log)
		if err == nil && !bytes.Contains(raw[len(before):], ready) {
			err = fmt.Errorf("it says %q", raw[len(before):])
		}
		return err
	})
}

func (h *ledgerHost) startNodes(order func(slot int) []string) {
	h.t.Helper()
	for slot := 1; slot <= 4; slot++ {
		h.listen[slot] = play.FreeOr("127.0.0.1", 0)
		h.url[slot] = "https://" + hosttest.NewRelay(h.t, fmt.Sprintf("slot %d", slot), h.listen[slot], &h.tape).Address()
	}
	for slot := 1; slot <= 4; slot++ {
		verb := map[bool]string{true: "vault", false: "node"}[slot == 4]
		h.args[slot] = append([]string{
			"ledger", verb, "--genesis", h.Path("ledger", "genesis"), "--slot", strconv.Itoa(slot), "--operator-key",
			h.Path("ledger", fmt.Sprintf("operator-%d.key", slot)), "--dir", h.Path(fmt.Sprintf("slot-%d", slot)), "--listen", h.listen[slot],
		}, order(slot)...)
		for peer := 1; peer <= 4; peer++ {
			h.args[slot] = append(h.args[slot], "--peer", fmt.Sprintf("%d=%s", peer, h.url[peer]))
		}
		h.start(slot)
	}
	h.until(h.nodes[1], "all have joined", func() error {
		var m struct{ Pending []any }
		if err := h.get(1, "/api/v1/members", &m); err != nil || len(m.Pending) != 4 {
			return fmt.Errorf("%d wait, %v", len(m.Pending), err)
		}
		return nil
	})
	h.approve(1)
	h.running()
}

func (h *ledgerHost) start(slot int) {
	h.t.Helper()
	p, err := h.Spawn(fmt.Sprintf("slot-%d", slot), h.args[slot]...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.nodes[slot] = p
}
