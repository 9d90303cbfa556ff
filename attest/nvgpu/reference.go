package nvgpu

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/attest/internal/p384"
)

// indexNVDEC0 is the measurement that has no meaning while the decoder is off.
const indexNVDEC0 = 35

const adviceRIM = "fetch the RIM files for this driver and firmware from NVIDIA's RIM service"

// signedRIM is a RIM file with its signer, as far as they could be checked.
type signedRIM struct {
	rim   *RIM
	err   error               // why it cannot be used at all
	chain []*x509.Certificate // of the signer, the root last
}

func newSignedRIM(raw []byte, roots []*x509.Certificate, memory *p384.Memory) *signedRIM {
	s := &signedRIM{}
	if s.rim, s.err = ParseRIM(raw); s.err != nil {
		return s
	}
	sig, err := readSignature(s.rim.root)
	if err != nil {
		s.err = err
		return s
	}
	last := len(sig.chain) - 1
	root, err := p384.Trusted(roots, sig.chain[last])
	if err != nil {
		s.err = err
		return s
	}
	chain, err := memory.Chain(root, sig.chain[:last])
	if err == nil {
		s.chain = append(chain, root)
		err = sig.verify(s.rim.root, chain[0])
	}
	s.err = err
	return s
}

// reference compares the report with RIM files, when there are some.
func (c *check) reference() {
	if len(c.v.rims) == 0 {
		return
	}
	golden := make(map[int]Golden)
	complete := true
	if !c.isSwitch() {
		complete = c.useRIM("driver_rim", "driver", c.r.DriverVersion(), golden)
	}
	if !c.useRIM("vbios_rim", "VBIOS", c.r.VBIOSVersion(), golden) {
		complete = false
	}
	c.compare(golden, complete)
}

// useRIM finds the RIM file of a version and adds its active values to golden. It
// reports whether they may be relied upon.
func (c *check) useRIM(rule, what, version string, golden map[int]Golden) bool {
	s, err := c.findRIM(what, version)
	seen := ""
	if err == nil {
		seen = fmt.Sprintf("%s %s, signed by %s", s.rim.Product, s.rim.Version, p384.Name(s.chain[0]))
		err = p384.CheckWindows(c.at, s.chain...)
	}
	if err == nil {
		for i, g := range s.rim.Golden {
			if _, both := golden[i]; both && g.Active {
				err = fmt.Errorf("two RIM files give a value for measurement %d", i)
			} else if g.Active {
				golden[i] = g
			}
		}
	}
	c.rule(rule, fmt.Sprintf("a RIM file for %s %s, signed under a trusted root, valid at the time", what, version), seen, err, adviceRIM)
	return err == nil
}

// findRIM returns the first authentic RIM file for a version on this chip.
func (c *check) findRIM(what, version string) (*signedRIM, error) {
	var versions []string
	var broken error
	for _, s := range c.v.rims {
		switch {
		case s.rim == nil:
			broken = errors.Join(broken, s.err)
		case !c.describes(s.rim, version):
			versions = append(versions, s.rim.Product+" "+s.rim.Version)
		case s.err != nil:
			broken = errors.Join(broken, fmt.Errorf("the RIM file for %s: %w", s.rim.Version, s.err))
		default:
			return s, nil
		}
	}
	if broken != nil {
		return nil, broken
	}
	return nil, fmt.Errorf("the device has %s %q, and RIM files were given for %s", what, version, strings.Join(versions, ", "))
}

// describes reports whether a RIM file is for a version on this chip.
func (c *check) describes(r *RIM, version string) bool {
	edition := "GPU"
	if c.isSwitch() {
		edition = "SWITCH"
	}
	chip, _, _ := strings.Cut(c.chip(), " ")
	return version != "" && strings.EqualFold(r.Version, version) && r.Edition == edition &&
		strings.EqualFold(strings.ReplaceAll(r.Product, "_", ""), strings.ReplaceAll(chip, "_", ""))
}

// compare wants every active reference value in the report.
func (c *check) compare(golden map[int]Golden, complete bool) {
	seen := make(map[int][]byte, len(c.r.Measurements))
	for _, m := range c.r.Measurements {
		seen[int(m.Index)-1] = m.Value
	}
	var wrong, indexes []int
	for i := range golden {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	compared := 0
	for _, i := range indexes {
		if i == indexNVDEC0 && bytes.Equal(c.r.Opaque[fieldNVDEC0], []byte{statusDisabled}) {
			continue
		}
		compared++
		if !slices.ContainsFunc(golden[i].Values, func(v []byte) bool { return bytes.Equal(v, seen[i]) }) {
			wrong = append(wrong, i)
		}
	}
	var err error
	switch {
	case len(wrong) > 0:
		err = fmt.Errorf("%d of %d differ: %s", len(wrong), compared, strings.Trim(fmt.Sprint(wrong), "[]"))
	case !complete:
		err = errors.New("not all compared, as a RIM file is missing or not authentic")
	case compared == 0:
		err = errors.New("the RIM files give no value to compare")
	}
	c.rule("measurements", "every measurement for which the RIM files give values, with one of them", fmt.Sprintf("%d compared, all equal", compared), err,
		"the device runs other firmware or another driver than NVIDIA's, or is in debug mode; use versions with RIM files, and reset it")
}
