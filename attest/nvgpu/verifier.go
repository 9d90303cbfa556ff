package nvgpu

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/internal/p384"
)

// Options are what a verification rests on.
type Options struct {
	// At is the time at which every certificate must be valid. Zero is refused by the rules.
	At time.Time
	// Roots are the trusted roots of devices; nil means NVIDIA's, which is pinned. The root
	// at the end of a device's chain must be one of them, byte for byte.
	Roots []*x509.Certificate
	// Chain holds a device's certificates in PEM, the leaf first and the root last, where
	// the evidence is a bare report without them. It is not used for JSON.
	Chain []byte
	// RIMs are signed reference values of drivers and of firmware, as NVIDIA's RIM service
	// has them, in XML. When one is given, every device must have all that it needs: a GPU
	// one for its driver and one for its VBIOS, a switch one for its firmware.
	RIMs [][]byte
	// RIMRoots are the trusted roots of RIM files; nil means NVIDIA's, which is pinned.
	RIMRoots []*x509.Certificate
}

// Verify checks evidence of one device or several in any container that [Recognise]
// names. It returns an error, which wraps [ErrFormat], only for bytes that are no such
// evidence; everything else is a rule of the result, and later rules are checked even
// when an earlier one failed.
//
// With several devices each rule's name begins with "device_1_", "device_2_" and so
// on. Claims.Devices lists every device once, also a single one; the claims above them hold
// what all devices have in common.
func Verify(raw []byte, o Options) (*attest.Result, error) {
	return NewVerifier(o).Verify(raw, o.At)
}

// Verifier holds roots and RIM files that were read and checked once, for much
// evidence, and remembers the certificates that held. It is safe for use by several goroutines.
type Verifier struct {
	roots  []*x509.Certificate
	chain  []byte
	rims   []*signedRIM
	memory p384.Memory
}

// NewVerifier reads and checks RIM files, except for the times in their signers'
// certificates; o.At is not used. What is wrong with them shows in the rules of each
// verification.
func NewVerifier(o Options) *Verifier {
	v := &Verifier{roots: o.Roots, chain: o.Chain}
	if v.roots == nil {
		v.roots = []*x509.Certificate{DeviceRoot()}
	}
	rimRoots := o.RIMRoots
	if rimRoots == nil {
		rimRoots = []*x509.Certificate{RIMRoot()}
	}
	for _, raw := range o.RIMs {
		v.rims = append(v.rims, newSignedRIM(raw, rimRoots, &v.memory))
	}
	return v
}

// Verify checks evidence at a time; see the function of the same name.
func (v *Verifier) Verify(raw []byte, at time.Time) (*attest.Result, error) {
	devices, err := read(raw)
	if err != nil {
		return nil, err
	}
	if d := devices[0]; len(devices) == 1 && d.chain == nil && d.err == nil {
		d.chain, d.err = parsePEM(v.chain)
	}
	result := &attest.Result{}
	var distinct []*check
	copies := error(nil)
	for i, d := range devices {
		c := &check{v: v, d: d, r: d.report, at: at}
		if len(devices) > 1 {
			c.prefix = fmt.Sprintf("device_%d_", i+1)
		}
		c.run()
		result.Rules = append(result.Rules, c.rules...)
		if first := c.sameDevice(distinct); first == nil {
			distinct = append(distinct, c)
			result.Claims.Devices = append(result.Claims.Devices, c.claims())
		} else if !bytes.Equal(first.r.Signed, c.r.Signed) {
			copies = fmt.Errorf("two reports of device %s that differ", c.platformID())
		}
	}
	if len(devices) > 1 {
		result.Rules = append(result.Rules, together(distinct, len(devices)-len(distinct), copies)...)
	}
	join(&result.Claims)
	result.NotChecked = v.notChecked()
	return result, nil
}

// sameDevice returns the check of the same device among others, or nil.
func (c *check) sameDevice(others []*check) *check {
	id := c.platformID()
	for _, o := range others {
		if id != "" && o.platformID() == id || id == "" && o.platformID() == "" && bytes.Equal(o.r.Signed, c.r.Signed) {
			return o
		}
	}
	return nil
}

// together judges what several devices must have in common, and what not. Copies of
// one device's evidence are harmless, as it is counted once.
func together(distinct []*check, copies int, err error) []attest.Rule {
	nonces := attest.Rule{Name: "same_nonce", Wanted: "every device's evidence over one nonce", Seen: "one nonce", OK: true}
	for i, c := range distinct {
		if c.r.Nonce != distinct[0].r.Nonce && nonces.OK {
			nonces.OK, nonces.Seen = false, fmt.Sprintf("device %s has %x…, another %x…", c.platformID(), c.r.Nonce[:8], distinct[i-1].r.Nonce[:8])
			nonces.Advice = "ask every device for evidence over the same fresh nonce"
		}
	}
	count := attest.Rule{Name: "distinct_devices", Wanted: "one report of each device", Seen: fmt.Sprintf("%d devices", len(distinct)), OK: err == nil}
	if copies > 0 {
		count.Seen += fmt.Sprintf("; %d copies of their evidence are not counted", copies)
	}
	if err != nil {
		count.Seen, count.Advice = err.Error(), "send the newest report of each device, once"
	}
	return []attest.Rule{nonces, count}
}

func (v *Verifier) notChecked() []string {
	out := []string{"revocation: NVIDIA's OCSP service was not asked whether it revoked, or put on hold, a device's certificate"}
	if len(v.rims) == 0 {
		return append(out,
			"measurements: no reference values (RIM) of NVIDIA were given",
			"debug mode: a report does not say it; only a comparison of measurements with reference values shows it")
	}
	return append(out, "revocation: NVIDIA's OCSP service was not asked about the signers of the RIM files")
}
