package guest

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/measure/workload"
)

// TestContainerLedgerNode: a ledger node inside a converted image proves itself through
// the guest, as the ledger's policy wants it, and gets its sealing key again.
func TestContainerLedgerNode(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	run := func(args ...string) (r appReply, b *box) {
		t.Helper()
		b = newBox(t, m).runs(append([]string{"ledger"}, args...)...)
		if code := b.run(); code != 0 {
			t.Fatalf("exit code %d; log:\n%s", code, b.err.String())
		}
		must(t, json.Unmarshal([]byte(b.out.String()), &r))
		return r, b
	}
	r, b := run()
	raw, err := os.ReadFile(b.spec.Root + workload.ManifestPath)
	must(t, err)
	measurement := workload.Measurement(raw)
	now := time.Now()
	c, err := m.authority.Collateral(now)
	must(t, err)
	collateral, err := member.EncodeCollateral(c)
	must(t, err)
	j := wire.Join{Evidence: r.Evidence, Binding: r.Binding, Collateral: collateral}
	p := wire.Policy{
		Programs: []wire.Program{{Measurement: measurement[:]}}, TCBStatuses: []string{"UpToDate"}, EvidenceAge: 60, Flags: wire.PolicySimulated,
		Roots: []wire.Hash{attest.SPKIHash(m.authority.Root().RawSubjectPublicKeyInfo)},
	}
	t0 := uint64(now.Unix())
	must(t, member.Appraise(j, t0, p, t0))
	p.Programs[0].Measurement = make([]byte, 32)
	if member.Appraise(j, t0, p, t0) == nil {
		t.Error("another program is accepted")
	}
	if again, _ := run(); string(again.Key) != string(r.Key) || len(r.Key) != 32 {
		t.Errorf("keys %x and %x", r.Key, again.Key)
	}
	if other, _ := run("argument"); string(other.Key) == string(r.Key) {
		t.Error("another manifest gets the same key")
	}
}
