package anonifytest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/ledger"
)

// wantError wants a call to be refused with a status.
func wantError(t *testing.T, err error, status int) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Status != status {
		t.Errorf("%v, wanted status %d", err, status)
	}
}

// checkHealth is both of the tests test_health_check: of a node, and of a vault.
func checkHealth(t *testing.T, d Driver) {
	w := d.start(t, signed, ledgertest.Options{Executors: 1, Vaults: 1, Idle: true})
	for i, n := range w.Nodes {
		n.Start()
		var h api.Health
		if status := n.Health(&h); status != http.StatusServiceUnavailable || h.Status == "running" || h.Status == "" {
			t.Errorf("slot %d before it is a member: %d %+v, wanted 503", i, status, h)
		}
	}
	w.Wait("the first epoch is approved", func() bool {
		p, ok := w.Nodes[0].Replica().Proposal()
		return ok && len(p.Adds) == 2 && w.Approve(0)
	})
	w.WaitRunning()
	for i, n := range w.Nodes {
		var h api.Health
		if status := n.Health(&h); status != http.StatusOK || h.Status != "running" || h.Epoch != 1 {
			t.Errorf("slot %d: %d %+v, wanted 200", i, status, h)
		}
	}
}

// checkRecovery is test_enclave_key_node_recovery, and test_treekem_node_recovery, which Anonify has
// commented out: the keys changed twice while the node was away, and it is that of the lowest index.
func checkRecovery(t *testing.T, d Driver) {
	w := d.start(t, signed, ledgertest.Options{Executors: 3})
	owner, other := w.owner(), w.account()
	wantOK(t, owner.send(0, 2, "transfer", transfer(other, 10)))
	w.Nodes[0].Kill()
	w.Rotate(1)
	wantOK(t, other.send(1, 1, "transfer", transfer(owner, 10)))
	w.Rotate(2)
	wantOK(t, owner.send(2, 3, "transfer", transfer(other, 10)))
	w.Nodes[0].Start()
	w.WaitRunning()
	wantBalance(t, owner, 0, 90)
	wantCounter(t, owner, 3)
	wantOK(t, owner.send(0, 4, "transfer", transfer(other, 10)))
	for i := range 3 {
		wantBalance(t, owner, i, 80)
	}
}

// checkJoinThenRotate is test_enclave_key_join_group_then_handshake, test_treekem_join_group_then_handshake and
// test_treekem_key_rotation. Anonify can rotate from the highest index only, and nobody can join later.
func checkJoinThenRotate(t *testing.T, d Driver) {
	w := d.start(t, signed, ledgertest.Options{Executors: 2, Late: 1})
	owner, other := w.owner(), w.account()
	both := func(a, b uint64) {
		t.Helper()
		for i, n := range w.Nodes {
			if n.Node() != nil {
				wantBalance(t, owner, i, a)
				wantBalance(t, other, i, b)
			}
		}
	}
	wantOK(t, owner.send(0, 2, "transfer", transfer(other, 10)))
	both(90, 10)
	w.Rotate(1)
	wantOK(t, other.send(1, 1, "transfer", transfer(owner, 5)))
	both(95, 5)
	w.Rotate(0)
	wantOK(t, other.send(1, 2, "transfer", transfer(owner, 5)))
	both(100, 0)
	w.Nodes[2].Start()
	w.WaitRunning()
	both(100, 0)
	wantOK(t, owner.send(2, 3, "transfer", transfer(other, 10)))
	w.Rotate(0)
	w.Rotate(2)
	wantOK(t, other.send(2, 3, "transfer", transfer(owner, 10)))
	both(100, 0)
	if o := owner.send(0, 4, "transfer", transfer(other, 101)); o.code != ledger.CodeRefused {
		t.Errorf("%+v, wanted %s", o, ledger.CodeWord(ledger.CodeRefused))
	}
	both(100, 0)
	var m api.Members
	if err := w.Nodes[0].Get("/api/v1/members", &m); err != nil || len(m.Members) != 3 || m.Epoch < 6 {
		t.Errorf("%+v, %v; wanted 3 members after two joins and four rotations", m, err)
	}
}

// checkVault is test_enclave_key_backup, test_treekem_backup_path_secret and both tests of manually_recover: a
// vault holds the keys of every epoch, and a node that lost its files comes back by it, and rotates.
func checkVault(t *testing.T, d Driver) {
	w := d.start(t, signed, ledgertest.Options{Executors: 1, Vaults: 1})
	n, owner := w.Nodes[0], w.owner()
	w.Backup(0)
	w.Rotate(0)
	wantOK(t, owner.send(0, 2, "burn", `{"amount":10}`))
	w.Backup(0)
	var out api.Recovery
	if err := n.Admin("POST", "/api/v1/recover", nil, &out); err != nil || out.Recovered {
		t.Errorf("recover with the state there: %+v, %v; wanted nothing to be done", out, err)
	}
	n.Kill()
	n.Lose(t)
	n.Start()
	// Before administrators have let it in again it is nobody to whom a vault gives anything.
	wantError(t, n.Admin("POST", "/api/v1/recover", nil, nil), http.StatusConflict)
	w.Wait("an approval", func() bool { return w.Approve(1) })
	w.WaitRunning()
	wantBalance(t, owner, 0, 90)
	w.Rotate(0)
	wantOK(t, owner.send(0, 3, "burn", `{"amount":10}`))
	wantBalance(t, owner, 0, 80)
}

// checkVaultLost is both tests of manually_backup, with keys of two epochs.
func checkVaultLost(t *testing.T, d Driver) {
	w := d.start(t, signed, ledgertest.Options{Executors: 1, Vaults: 1})
	vault, owner := w.Nodes[1], w.owner()
	w.Rotate(0)
	w.Backup(0)
	vault.Kill()
	// test_treekem_recover_without_key_vault: the node goes on without it.
	wantBalance(t, owner, 0, 100)
	var gone api.Backups
	if err := w.Nodes[0].Admin("POST", "/api/v1/backup", nil, &gone); err != nil || len(gone.Vaults) != 1 || gone.Vaults[0].Error == "" {
		t.Errorf("a backup without the vault: %+v, %v; wanted to be told", gone, err)
	}
	vault.Lose(t)
	vault.Start()
	w.Wait("the vault is a member again", func() bool {
		w.Approve(0)
		return vault.Replica().Status().Member
	})
	w.WaitRunning()
	w.Backup(0)
	w.Stop()
	w.Recover(1)
	wantBalance(t, owner, 0, 100)
}

// checkNodeLost is test_treekem_recover_without_key_vault where the node restarts: the other nodes let it in.
func checkNodeLost(t *testing.T, d Driver) {
	w := d.start(t, signed, ledgertest.Options{Executors: 3, Vaults: 1})
	owner := w.owner()
	w.Nodes[3].Kill()
	w.Nodes[0].Kill()
	w.Nodes[0].Lose(t)
	w.Nodes[0].Start()
	w.WaitRunning()
	wantBalance(t, owner, 0, 100)
	wantOK(t, owner.send(0, 2, "burn", `{"amount":10}`))
	wantBalance(t, owner, 1, 90)
}

// strangers wants routes to refuse who has not signed the call, or is nobody here (W14), and queries that
// are no POST (R3, R4).
func (w world) strangers() {
	t, n := w.t, w.Nodes[0]
	for _, path := range []string{"key_rotation", "register_report", "backup", "recover"} {
		path = "/api/v1/" + path
		wantError(t, n.Post(path, struct{}{}, nil), http.StatusUnauthorized)
		key := w.User().Key
		r, err := http.NewRequest("POST", n.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = n.SignCall(key, "POST", path, nil)
		if status := w.status(r); status != http.StatusForbidden {
			t.Errorf("%s by a stranger: status %d, wanted %d", path, status, http.StatusForbidden)
		}
	}
	for _, path := range []string{"state", "user_counter"} {
		r, err := http.NewRequest("GET", n.URL+"/api/v1/"+path, strings.NewReader(`{"ephemeral_public_key":"00","nonce":"00","ciphertext":"00"}`))
		if err != nil {
			t.Fatal(err)
		}
		if status := w.status(r); status != http.StatusMethodNotAllowed {
			t.Errorf("GET %s with a body: status %d, wanted %d", path, status, http.StatusMethodNotAllowed)
		}
	}
}

func (w world) status(r *http.Request) int {
	w.t.Helper()
	resp, err := w.Nodes[0].HTTP().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // only the status is wanted
	var e api.Error
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Code == "" || e.Message == "" {
		w.t.Errorf("%s %s: %v; wanted an error with code and message", r.Method, r.URL.Path, err)
	}
	return resp.StatusCode
}
