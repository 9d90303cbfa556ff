package node_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

// as makes a client that shows a key's certificate; nil shows none.
func as(t *testing.T, c *ledgertest.Cluster, n *ledgertest.Node, key ed25519.PrivateKey) *http.Client {
	t.Helper()
	only := member.Only([32]byte(n.Replica().Key().Public().(ed25519.PublicKey)))
	tr := &http.Transport{TLSClientConfig: member.ClientConfig(nil, only)}
	if key != nil {
		cert, err := member.Certificate(key, c.World.Now())
		if err != nil {
			t.Fatal(err)
		}
		tr.TLSClientConfig = member.ClientConfig(&cert, only)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

var peerRoutes = []struct{ method, path string }{
	{"POST", "/api/v1/peer/checkpoints"}, {"POST", "/api/v1/peer/fresh"}, {"GET", "/api/v1/peer/snapshot"},
	{"POST", "/api/v1/peer/backup"}, {"GET", "/api/v1/peer/backup"}, {"GET", "/api/v1/peer/backup/held"},
}

// TestStrangers: what nodes say to each other is for members alone.
func TestStrangers(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 2, Vaults: 1})
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range peerRoutes {
		for _, n := range c.Nodes {
			if status, body := peerCall(t, as(t, c, n, nil), n, r.method, r.path, nil); status != http.StatusForbidden {
				t.Errorf("slot %d: %s %s without a certificate: %d %s", n.Slot, r.method, r.path, status, body)
			}
			q, err := http.NewRequest(r.method, n.URL+r.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := as(t, c, n, stranger).Do(q); err == nil {
				_ = resp.Body.Close() // it should not have come
				t.Errorf("slot %d: %s %s with a stranger's certificate: %s", n.Slot, r.method, r.path, resp.Status)
			}
		}
	}
	// An incarnation that was killed is a member until it is replaced, and then a stranger.
	old := c.Nodes[1].Replica().Key()
	if status, body := peerCall(t, as(t, c, c.Nodes[0], old), c.Nodes[0], "POST", "/api/v1/peer/fresh", make([]byte, 16)); status != http.StatusOK {
		t.Errorf("a member: %d %s", status, body)
	}
	c.Nodes[1].Kill()
	c.Nodes[1].Start()
	c.WaitRunning()
	for range 20 { // past the window, in which the last epoch's members are still welcome
		c.User().Do(0, "construct", `{"total_supply":1}`) // whatever comes of it, a position goes by
	}
	q, err := http.NewRequest("POST", c.Nodes[0].URL+"/api/v1/peer/fresh", bytes.NewReader(make([]byte, 16)))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := as(t, c, c.Nodes[0], old).Do(q); err == nil {
		_ = resp.Body.Close() // it should not have come
		t.Errorf("a replaced incarnation: %s", resp.Status)
	}
}

func peerCall(t *testing.T, client *http.Client, n *ledgertest.Node, method, path string, body []byte) (int, string) {
	t.Helper()
	q, err := http.NewRequest(method, n.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }() // it was read
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestPeerRefusals: a member that sends what it should not, or asks the wrong node.
func TestPeerRefusals(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 2, Vaults: 1})
	c.Backup(0)
	executor, vault := c.Nodes[0], c.Nodes[2]
	from, fromVault := c.Nodes[1].Replica().Key(), c.Nodes[2].Replica().Key()
	for _, x := range []struct {
		what         string
		to           *ledgertest.Node
		key          ed25519.PrivateKey
		method, path string
		body         []byte
		status       int
	}{
		{"half a checkpoint", executor, from, "POST", "/api/v1/peer/checkpoints", make([]byte, 199), 400},
		{"a checkpoint that nobody signed", executor, from, "POST", "/api/v1/peer/checkpoints", make([]byte, 200), 409},
		{"too many checkpoints", executor, from, "POST", "/api/v1/peer/checkpoints", make([]byte, 300*200), 400},
		{"checkpoints of a vault", executor, fromVault, "POST", "/api/v1/peer/checkpoints", make([]byte, 200), 409},
		{"a short query id", executor, from, "POST", "/api/v1/peer/fresh", make([]byte, 15), 400},
		{"a long query id", executor, from, "POST", "/api/v1/peer/fresh", make([]byte, 17), 400},
		{"a snapshot for a vault", executor, fromVault, "GET", "/api/v1/peer/snapshot", nil, 403},
		{"a snapshot of a vault", vault, from, "GET", "/api/v1/peer/snapshot", nil, 409},
		{"a backup to an executor", executor, from, "POST", "/api/v1/peer/backup", make([]byte, 500), 403},
		{"a backup by a vault", vault, fromVault, "POST", "/api/v1/peer/backup", make([]byte, 500), 403},
		{"an empty backup", vault, from, "POST", "/api/v1/peer/backup", nil, 400},
		{"a backup of zeros", vault, from, "POST", "/api/v1/peer/backup", make([]byte, 500), 400},
		{"a backup of an executor", executor, from, "GET", "/api/v1/peer/backup", nil, 404},
		{"a backup for a vault", vault, fromVault, "GET", "/api/v1/peer/backup", nil, 403},
		{"what an executor holds", executor, from, "GET", "/api/v1/peer/backup/held", nil, 404},
	} {
		status, body := peerCall(t, as(t, c, x.to, x.key), x.to, x.method, x.path, x.body)
		var e api.Error
		if err := json.Unmarshal([]byte(body), &e); err != nil || status != x.status || e.Code == "" {
			t.Errorf("%s: %d %.200s, wanted %d", x.what, status, body, x.status)
		}
	}
	if status, body := peerCall(t, as(t, c, vault, from), vault, "GET", "/api/v1/peer/backup/held", nil); status != http.StatusOK || !strings.Contains(body, `"complete":true`) {
		t.Errorf("what the vault holds: %d %s", status, body)
	}
	for i, n := range c.Nodes {
		if err := n.Replica().Err(); err != nil {
			t.Errorf("slot %d has halted: %v", i, err)
		}
	}
}

// TestVaultIdentity: a vault whose identity does not open does not start as another one; with an
// empty folder it is a new member.
func TestVaultIdentity(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 2, Vaults: 1})
	alice := construct(t, c)
	before := c.Nodes[2].Replica().ID()
	c.Nodes[2].Kill()
	c.Nodes[2].Start()
	c.WaitRunning()
	if c.Nodes[2].Replica().ID() != before {
		t.Error("the vault is another incarnation after a restart")
	}
	c.Nodes[2].Kill()
	c.Nodes[2].SpoilFile(t, "vault")
	if err := c.Nodes[2].TryStart(); err == nil || !strings.Contains(err.Error(), "vault's identity") {
		t.Errorf("start with an identity that was changed: %v", err)
	}
	c.Nodes[2].Lose(t)
	c.Nodes[2].Start()
	c.WaitRunning()
	if c.Nodes[2].Replica().ID() == before {
		t.Error("a vault without its file is the incarnation that it was")
	}
	mustCommit(t, alice.Do(1, "burn", `{"amount":1}`))
	if r := c.Backup(1); len(r) != 1 || r[0].From != r[0].To {
		t.Errorf("the new vault says that it has old keys: %+v", r)
	}
	if got := balance(t, alice, 0, wire.ModeLocal); got != supply-1 {
		t.Errorf("balance %d, wanted %d", got, supply-1)
	}
}
