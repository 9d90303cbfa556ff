package dcap

import (
	"crypto/x509"
	"testing"
	"time"
)

// NewEvidence makes evidence for the examples: a quote of SGX version 3 or TDX
// version 5 by a platform of a maker of its own, with that maker's root and
// collateral, and the time at which it is valid.
func NewEvidence(tdx bool) (quote []byte, root *x509.Certificate, c *Collateral, at time.Time) {
	if !tdx {
		w := newWorld(quiet{})
		return w.seal(w.quote()), w.root, w.collateral(), now
	}
	w := newTDWorld(quiet{})
	return w.seal(w.tdQuote(Version5, true)), w.root, w.collateral(), now
}

// quiet stands for a test where there is none.
type quiet struct{ testing.TB }

func (quiet) Fatal(args ...any) { panic(args) }
