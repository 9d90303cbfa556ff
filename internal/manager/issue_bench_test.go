package manager

import (
	"testing"

	"hitoku.dev/attest"
)

// BenchmarkIssueCertificate is the whole domain call, with a nonce, SQLite and the audit log.
func BenchmarkIssueCertificate(b *testing.B) {
	w := newWorld(b)
	id, _, _ := w.web()
	m := w.enrol(1)
	messages := make([]*message, b.N)
	for i := range messages {
		w.clock.Advance(1e7) // so that nonces are not refused for being too many
		messages[i] = m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example")
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, msg := range messages {
		if got := outcome(m.issue(msg)); got != "issued" {
			b.Fatal(got)
		}
	}
}
