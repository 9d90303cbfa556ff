//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"hitoku.dev/internal/demo/play"
	"hitoku.dev/internal/ledger/member"
)

// ledgerWorld is a ledger of three executors and a vault, each a process of its own, that are
// only ever spoken to by commands.
type ledgerWorld struct {
	*play.Play
	t     *testing.T
	nodes [5]*play.Process // by slot
	args  [5][]string
	url   [5]string
}

func newLedgerWorld(t *testing.T) *ledgerWorld {
	dir := t.TempDir()
	var said bytes.Buffer
	w := &ledgerWorld{t: t, Play: &play.Play{Exe: filepath.Join(env(t, "HITOKU_BIN"), "hitoku"), Dir: dir, Out: &said}}
	t.Cleanup(func() {
		w.Stop()
		if t.Failed() {
			t.Log(said.String())
			for _, slot := range []int{1, 2, 3, 4} {
				if raw, err := os.ReadFile(w.Path(fmt.Sprintf("slot-%d.log", slot))); err == nil {
					t.Logf("slot %d:\n%s", slot, raw[max(0, len(raw)-4000):])
				}
			}
		}
	})
	w.must("ledger", "init", w.Path("ledger"), "--simulated", "--admins", "3", "--policy-delay", "2", "--window", "8")
	listen := play.FreeOr("127.0.0.1", 0)
	log, err := w.Spawn("log", "ledger", "log", "--dir", w.Path("log"), "--listen", listen)
	if err != nil {
		t.Fatal(err)
	}
	w.await(log, "the log listens", func() error {
		raw, err := os.ReadFile(log.Log)
		if err == nil && !bytes.Contains(raw, []byte("listening on")) {
			err = fmt.Errorf("it says %q", raw)
		}
		return err
	})
	for slot := 1; slot <= 4; slot++ {
		w.url[slot] = "https://" + play.FreeOr("127.0.0.1", 0)
	}
	for slot := 1; slot <= 4; slot++ {
		verb := map[bool]string{true: "vault", false: "node"}[slot == 4]
		w.args[slot] = []string{
			"ledger", verb, "--genesis", w.genesis(), "--slot", strconv.Itoa(slot), "--operator-key", w.Path("ledger", fmt.Sprintf("operator-%d.key", slot)),
			"--dir", w.Path(fmt.Sprintf("slot-%d", slot)), "--listen", w.url[slot][len("https://"):], "--log", listen,
		}
		for peer := 1; peer <= 4; peer++ {
			w.args[slot] = append(w.args[slot], "--peer", fmt.Sprintf("%d=%s", peer, w.url[peer]))
		}
		w.start(slot)
	}
	return w
}

func (w *ledgerWorld) genesis() string { return w.Path("ledger", "genesis") }

func (w *ledgerWorld) start(slot int, more ...string) {
	w.t.Helper()
	p, err := w.Spawn(fmt.Sprintf("slot-%d", slot), append(w.args[slot], more...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.nodes[slot] = p
}

func (w *ledgerWorld) must(args ...string) string {
	w.t.Helper()
	out, err := w.Command(w.t.Context(), "", args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// admin calls a node with the keys of administrators, or with the slot's operator's.
func (w *ledgerWorld) admin(slot int, verb string, args ...string) (string, error) {
	all := append([]string{"ledger", "admin", verb, "--genesis", w.genesis(), "--node", w.url[slot]}, args...)
	return w.Command(w.t.Context(), "", all...)
}

func (w *ledgerWorld) operator(slot int) []string {
	return []string{"--key", w.Path("ledger", fmt.Sprintf("operator-%d.key", slot))}
}

func (w *ledgerWorld) admins(number ...int) (out []string) {
	for _, n := range number {
		out = append(out, "--key", w.Path("ledger", fmt.Sprintf("admin-%d.key", n)))
	}
	return out
}

func (w *ledgerWorld) await(p *play.Process, what string, check func() error) {
	w.t.Helper()
	if err := w.Until(w.t.Context(), p, 2*time.Minute, check); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

type ledgerHealth struct {
	Status, Reason             string
	Position, Committed, Epoch uint64
}

func (w *ledgerWorld) get(slot int, path string, out any) error {
	transport := &http.Transport{TLSClientConfig: member.ClientConfig(nil, func([32]byte) error { return nil })}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url[slot]+path, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// running waits until nodes serve in an epoch above one.
func (w *ledgerWorld) running(above uint64, slots ...int) (h ledgerHealth) {
	w.t.Helper()
	for _, slot := range slots {
		w.await(w.nodes[slot], fmt.Sprintf("slot %d runs beyond epoch %d", slot, above), func() error {
			h = ledgerHealth{}
			if err := w.get(slot, "/api/v1/health", &h); err != nil {
				return err
			}
			if h.Status != "running" || h.Epoch <= above {
				return fmt.Errorf("%+v", h)
			}
			return nil
		})
	}
	return h
}

// approve waits until a node proposes so many changes, and has them approved.
func (w *ledgerWorld) approve(slot, adds int) {
	w.t.Helper()
	w.await(w.nodes[slot], "a proposal", func() error {
		out, err := w.admin(slot, "proposal", append(w.operator(slot), "--json")...)
		if err != nil {
			return err
		}
		var p struct{ Adds []any }
		if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Adds) != adds {
			return fmt.Errorf("%d added, wanted %d, %v", len(p.Adds), adds, err)
		}
		return nil
	})
	if _, err := w.admin(slot, "approve", w.admins(1, 3)...); err != nil {
		w.t.Fatal(err)
	}
}

// TestLedgerAdministration takes a ledger through its life by commands: the first members, a
// rotation, a backup, an outage of all, an upgrade of the program, a removal.
func TestLedgerAdministration(t *testing.T) {
	w := newLedgerWorld(t)
	w.approve(1, 4)
	w.running(0, 1, 2, 3, 4)

	if out, err := w.admin(1, "rotate", w.operator(2)...); err == nil {
		t.Errorf("another slot's operator may rotate: %s", out)
	}
	if _, err := w.admin(1, "rotate", w.operator(1)...); err != nil {
		t.Fatal(err)
	}
	h := w.running(1, 1, 2, 3, 4)
	w.await(w.nodes[1], "a complete backup", func() error {
		_, err := w.admin(1, "backup", w.operator(1)...)
		return err
	})

	for _, p := range w.nodes[1:] {
		p.Kill()
	}
	for slot := 1; slot <= 4; slot++ {
		w.start(slot)
	}
	w.approve(4, 3)
	h = w.running(h.Epoch, 1, 2, 3, 4)

	// Another build is another program: it is let in when the policy names it.
	other := w.Path("other-ledger")
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(w.Exe), "hitoku-ledger"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, append(raw, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	change := append(w.admins(1), "--add-program", other, "--margin", "2")
	if _, err := w.admin(1, "policy", change...); err == nil {
		t.Error("one administrator of three may change the policy")
	}
	if _, err := w.admin(1, "policy", append(change, w.admins(2)...)...); err != nil {
		t.Fatal(err)
	}
	w.await(w.nodes[1], "the policy is in force", func() error {
		var m struct{ Policy uint64 }
		if err := w.get(1, "/api/v1/members", &m); err != nil {
			return err
		}
		if m.Policy != 1 {
			// Positions must go by.
			if _, err := w.admin(1, "register-report", w.operator(1)...); err != nil {
				return err
			}
			return fmt.Errorf("policy %d is in force", m.Policy)
		}
		return nil
	})
	h = w.running(0, 1)
	w.nodes[2].Kill()
	w.start(2, "--program", other)
	h = w.running(h.Epoch, 2, 1, 3)

	if _, err := w.admin(1, "remove", append(w.admins(2, 3), "--slot", "3")...); err != nil {
		t.Fatal(err)
	}
	w.running(h.Epoch, 1, 2, 4)
	w.await(w.nodes[3], "the removed node has halted", func() error {
		var h ledgerHealth
		if err := w.get(3, "/api/v1/health", &h); err != nil {
			return err
		}
		if h.Status != "halted" {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
}
