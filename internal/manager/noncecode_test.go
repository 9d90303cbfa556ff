package manager

import (
	"testing"

	"hitoku.dev/attest"
)

// TestNonceCodesKeepPartsApart moves bytes between account, node and purpose (docs/findings.md,
// 554). A node of one account could otherwise answer with a nonce that another one was given.
func TestNonceCodesKeepPartsApart(t *testing.T) {
	t.Parallel()
	m := &Manager{opts: Options{NonceKey: make([]byte, 32)}}
	seen := map[string]int{}
	for i, c := range []struct{ account, node, purpose string }{
		{"ab", "cd", "app"}, {"a", "bcd", "app"}, {"abc", "d", "app"}, {"ab", "cda", "pp"}, {"abcd", "", "app"}, {"", "abcd", "app"},
	} {
		code := string(m.nonceMAC(Peer{AccountID: c.account, NodeID: c.node}, attest.Purpose(c.purpose), make([]byte, attest.NonceSize)))
		if other, ok := seen[code]; ok {
			t.Errorf("case %d has the code of case %d", i, other)
		}
		seen[code] = i
	}
}
