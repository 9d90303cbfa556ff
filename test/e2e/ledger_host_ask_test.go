//go:build e2e

package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"hitoku.dev/internal/demo/play"
	"hitoku.dev/internal/ledger/hosttest"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/ledger/client"
)

func (h *ledgerHost) must(args ...string) string {
	h.t.Helper()
	out, err := h.Command(h.t.Context(), "", args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *ledgerHost) approve(slot int) {
	_, _ = h.Quiet(h.t.Context(), "", "ledger", "admin", "approve", "--genesis", h.Path("ledger", "genesis"), "--node", h.url[slot], "--key", h.Path("ledger", "admin-1.key")) // nothing may wait
}

func (h *ledgerHost) until(p *play.Process, what string, check func() error) {
	h.t.Helper()
	if err := h.Until(h.t.Context(), p, 3*time.Minute, check); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
}

// running waits until all nodes serve in one epoch; after an outage of all, administrators approve at the vault.
func (h *ledgerHost) running() {
	h.t.Helper()
	h.until(h.nodes[4], "all nodes run", func() error {
		var said []string
		bad := false
		var epoch uint64
		for slot := 1; slot <= 4; slot++ {
			var v ledgerHealth
			err := h.get(slot, "/api/v1/health", &v)
			if v.Status == "halted" {
				h.t.Fatalf("slot %d has halted: %s", slot, v.Reason)
			}
			bad = bad || err != nil || v.Status != "running" || epoch != 0 && v.Epoch != epoch
			epoch = v.Epoch
			said = append(said, fmt.Sprintf("slot %d: %+v %v", slot, v, err))
		}
		if !bad {
			return nil
		}
		h.approve(4)
		return errors.New(strings.Join(said, "; "))
	})
}

// get asks whoever answers at a slot.
func (h *ledgerHost) get(slot int, path string, out any) error {
	transport := &http.Transport{TLSClientConfig: member.ClientConfig(nil, func([32]byte) error { return nil })}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(h.url[slot] + path)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// client speaks to the executors of some slots, all when none is named.
func (h *ledgerHost) client(slots ...int) *client.Client {
	h.t.Helper()
	if len(slots) == 0 {
		slots = []int{1, 2, 3}
	}
	o := client.Options{Ledger: h.ledger, SimulatedRoots: []*x509.Certificate{h.root}, Retry: 100 * time.Millisecond}
	for _, s := range slots {
		o.URLs = append(o.URLs, h.url[s])
	}
	c, err := client.New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(c.Close)
	return c
}

// call calls the chain, past the relay.
func (h *ledgerHost) call(out any, method string, params ...any) {
	h.t.Helper()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := http.Post(h.endpoint, "application/json", bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	v := struct {
		Result any
		Error  *struct{ Message string }
	}{Result: out}
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil || v.Error != nil {
		h.t.Fatalf("%s: %+v, %v", method, v.Error, err)
	}
}

// agree compares the digests that a quorum has signed, as each executor gives them.
func (h *ledgerHost) agree() {
	h.t.Helper()
	h.until(h.nodes[4], "equal digests", func() error {
		var v ledgerHealth
		if err := h.get(1, "/api/v1/health", &v); err != nil {
			return err
		}
		var first string
		for slot := 1; slot <= 3; slot++ {
			var c struct{ Checkpoint string }
			if err := h.get(slot, fmt.Sprintf("/api/v1/checkpoints/%d", v.Committed), &c); err != nil {
				return err
			}
			if c.Checkpoint == "" || first != "" && c.Checkpoint != first {
				return fmt.Errorf("slot %d: checkpoint %q, slot 1 has %q", slot, c.Checkpoint, first)
			}
			first = c.Checkpoint
		}
		return nil
	})
}

// secret ends all processes and looks through all that the host has seen of them.
func (h *ledgerHost) secret(canaries *hosttest.Canaries) {
	h.t.Helper()
	h.end()
	leaks, size, err := canaries.Secrets.InFolder(h.Dir)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, l := range append(leaks, canaries.Secrets.InTape(&h.tape)...) {
		h.t.Errorf("the host sees %s", l)
	}
	h.t.Logf("%d forms in none of %d bytes of files and %d of traffic", canaries.Secrets.Forms(), size, h.tape.Len())
	if err := os.WriteFile(h.Path("slot-1", "application.log"), canaries.Plain(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if leaks, _, err := canaries.Secrets.InFolder(h.Dir); err != nil || len(leaks) == 0 {
		h.t.Errorf("the search does not find a command that was written down: %v", err)
	}
}

// open constructs the token and has every kind of call made once.
func (h *ledgerHost) open() *hosttest.Canaries {
	h.t.Helper()
	canaries := hosttest.NewCanaries(h.t)
	c := h.client()
	canaries.Construct(h.t.Context(), c)
	canaries.Play(h.t.Context(), c)
	return canaries
}
