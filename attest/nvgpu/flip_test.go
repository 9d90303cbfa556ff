package nvgpu

import (
	"bytes"
	"crypto/x509"
	"testing"

	"hitoku.dev/attest/internal/p384"
)

// flipEveryByte changes one byte at a time and wants a refusal for each, as for each
// length that raw is cut to.
func flipEveryByte(t *testing.T, v *Verifier, raw []byte) {
	t.Helper()
	if r, err := v.Verify(raw, now); err != nil || !r.OK() {
		t.Fatalf("the honest evidence was refused: %v", err)
	}
	flipped := bytes.Clone(raw)
	for i := range raw {
		flipped[i] ^= 1 << (i % 8)
		if r, err := v.Verify(flipped, now); err == nil && r.OK() {
			t.Errorf("byte %d changed from %q to %q, accepted", i, raw[i], flipped[i])
		}
		flipped[i] = raw[i]
		if r, err := v.Verify(raw[:i:i], now); err == nil && r.OK() && len(bytes.TrimRight(raw[i:], "\n")) > 0 {
			t.Errorf("accepted at %d of %d bytes", i, len(raw))
		}
	}
}

func TestFlipEveryByteAndTruncate(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	u := m.gpu(1)
	u.measurements = u.measurements[:5] // each byte costs a verification
	for name, raw := range map[string][]byte{
		"JSON":   list(u),
		"binary": append(u.report(), pemOf(u.chain...)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flipEveryByte(t, NewVerifier(m.options()), raw)
		})
	}
}

func TestFlipEveryByteOfRIM(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	raw, vbios := list(m.gpu(1)), m.vbiosRIM().bytes()
	f := m.driverRIM()
	f.golden = []goldenValue{f.golden[0], f.golden[7], f.golden[9]}
	driver := f.bytes()
	if r, err := Verify(raw, m.options(driver, vbios)); err != nil || !r.OK() {
		t.Fatalf("refused: %v %v", err, failed(r))
	}
	var memory p384.Memory
	check := func(i int, what string, rim []byte) {
		if newSignedRIM(rim, []*x509.Certificate{m.rimRoot}, &memory).err == nil {
			t.Errorf("byte %d %s, accepted", i, what)
		}
	}
	flipped := bytes.Clone(driver)
	for i := range driver {
		flipped[i] ^= 1 << (i % 8)
		check(i, "changed", flipped)
		flipped[i] = driver[i]
		check(i, "cut", driver[:i])
	}
}
