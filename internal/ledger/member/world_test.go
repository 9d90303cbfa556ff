package member_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/member/membertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/internal/manager/issue/issuetest"
)

var (
	start  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	second = uint64(start.Unix())
)

const day = 24 * 60 * 60

// join makes the JOIN of slot 3 with its header, and a policy that accepts it.
func join(t testing.TB, w *membertest.World, id issuetest.Identity) (wire.Header, wire.Join, wire.Policy) {
	t.Helper()
	sk := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	j := wire.Join{Slot: 3, Key: [32]byte(sk.Public().(ed25519.PublicKey)), HPKE: []byte("an HPKE key"), PolicyVersion: 2}
	h := wire.Header{Type: wire.TypeJoin, Ledger: wire.Hash{1}, Anchor: 41, AnchorChain: wire.Hash{41}}
	h.Incarnation = wire.IncarnationID(j.Key)
	p, err := w.Attester(1, id).Evidence(t.Context(), member.Subject(h, j), h.AnchorChain)
	if err != nil {
		t.Fatal(err)
	}
	j.Evidence, j.Binding, j.Collateral = p.Evidence, p.Binding, p.Collateral
	policy := wire.Policy{Version: 2}
	w.Approve(&policy)
	return h, j, policy
}
