package nitro

import (
	"crypto/x509"
	"testing"
	"time"
)

// NewEvidence makes a document of a world of its own, for examples, with the root and
// the time that it verifies under.
func NewEvidence() (document []byte, root *x509.Certificate, at time.Time) {
	w := newWorld(&testing.B{})
	return w.document(w.members()), w.root, now
}
