package agent

import (
	"encoding/base64"
	"testing"
	"time"

	"hitoku.dev/attest"
)

func TestNoncesAreAskedForAhead(t *testing.T) {
	t.Parallel()
	at := time.Unix(1e9, 0)
	var n nonces
	ask := func(after time.Duration, want int) {
		t.Helper()
		at = at.Add(after)
		value, count := n.take(at)
		if count != want || (value == nil) != (want > 0) {
			t.Fatalf("asks for %d, has %x; wanted to ask for %d", count, value, want)
		}
		if count > 1 {
			n.keep(make([][]byte, count-1))
			for i := range n.kept {
				n.kept[i] = []byte{byte(i)}
			}
		}
	}
	ask(0, 1)
	ask(time.Hour, 1) // seldom: one at a time
	ask(nonceSoon, 1)
	for want := 2; want <= maxNonces; want *= 2 { // often: more and more
		ask(1, want)
		for range want - 1 {
			ask(1, 0)
		}
	}
	ask(1, maxNonces)
	ask(nonceAge-1, 0)
	ask(1, 1) // what is left is too old
	ask(1, 2)
	ask(-time.Hour, 1) // the clock was set
}

// TestEachWorkloadGetsItsOwnNonce: none is handed out twice, and all are the manager's.
func TestEachWorkloadGetsItsOwnNonce(t *testing.T) {
	t.Parallel()
	m, _, base := enrolledAgent(t)
	m.mu.Lock()
	before := m.nonceCalls
	m.mu.Unlock()
	seen := map[string]bool{}
	const many = 40
	for range many {
		status, got := get1(t, base, "/v1/enclave/target-info")
		raw, _ := base64.StdEncoding.DecodeString(got["nonce"].(string))
		nonce := string(raw)
		if status != 200 || seen[nonce] {
			t.Fatalf("%d, nonce %x again: %v", status, nonce, seen[nonce])
		}
		seen[nonce] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for nonce := range seen {
		if m.nonces[nonce] != attest.PurposeAppTLS {
			t.Errorf("nonce %x is not one of the manager's", nonce)
		}
	}
	if calls := m.nonceCalls - before; calls > many/2 {
		t.Logf("%d calls to the manager for %d nonces; the machine is busy", calls, many)
	}
}
