//go:build unix

package manager

import (
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/issue/issuetest"
)

// BenchmarkIssueCertificate is the whole domain call, with the node's certificate checked, a
// nonce, SQLite and the audit log. "x-signatures" is the ratio of its CPU time to that of the
// signatures alone; the target is 3.
func BenchmarkIssueCertificate(b *testing.B) {
	w := newWorld(b)
	id, _, _ := w.web()
	m := w.enrol(1)
	messages := make([]*message, b.N)
	for i := range messages {
		w.clock.Advance(1e7) // so that nonces are not refused for being too many
		messages[i] = m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example")
	}
	per := issuetest.SignatureTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	start := issuetest.CPUTime(b)
	for _, msg := range messages {
		if got := outcome(m.issue(msg)); got != "issued" {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(issuetest.CPUTime(b)-start)/float64(b.N)/float64(per), "x-signatures")
}
