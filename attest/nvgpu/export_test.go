package nvgpu

import "testing"

// NewEvidence makes evidence of two devices of a maker of its own, with what verifies
// it, for examples.
func NewEvidence() (evidence []byte, o Options) {
	m := newMaker(&testing.B{})
	return list(m.gpu(1), m.gpu(2)), m.options(m.driverRIM().bytes(), m.vbiosRIM().bytes())
}
