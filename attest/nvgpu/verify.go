package nvgpu

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/internal/p384"
)

// FormatReport is the name of the format in claims.
const FormatReport = "nvidia-gpu-report"

// Switch is the kind of an NVSwitch in claims. It is no GPU: it computes nothing, and
// joins those that do.
const Switch attest.TEE = "nvidia-switch"

const (
	adviceRoot     = "is this evidence of the maker that you expect? Another root is trusted only when it is named"
	adviceTampered = "the evidence was changed on its way, or was not made by this device; ask for fresh evidence"
	adviceNewer    = "the device is newer than this program, or the evidence was changed on its way"
)

// check is the verification of one device under way.
type check struct {
	v      *Verifier
	d      *device
	r      *Report
	at     time.Time
	prefix string
	rules  []attest.Rule

	chain []*x509.Certificate // authentic, the leaf first; nil where the chain does not hold
}

// rule appends a rule that holds when err is nil.
func (c *check) rule(name, wanted, seen string, err error, advice string) {
	r := attest.Rule{Name: c.prefix + name, Wanted: wanted, Seen: seen, OK: err == nil}
	if err != nil {
		r.Seen, r.Advice = strings.ReplaceAll(err.Error(), "\n", "; "), advice
		if errors.Is(err, errNoChain) {
			r.Advice = "see the rule " + c.prefix + "certificate_chain"
		}
	}
	c.rules = append(c.rules, r)
}

var errNoChain = errors.New("not checked, as the device's certificates are not authentic")

func (c *check) run() {
	c.format()
	c.certificates()
	c.kind()
	c.fwid()
	c.signature()
	c.declared()
	c.reference()
}

func (c *check) format() {
	var err error
	if v := c.r.opaqueVersion(); v > maxOpaqueVersion {
		err = fmt.Errorf("opaque data of version %d, known up to %d", v, maxOpaqueVersion)
	}
	seen := fmt.Sprintf("SPDM 1.1, %d measurements, %d opaque fields", len(c.r.Measurements), len(c.r.Opaque))
	if c.r.Trailing > 0 {
		seen += fmt.Sprintf(", %d zero bytes after its end ignored", c.r.Trailing)
	}
	c.rule("report_format", "a measurement report of SPDM 1.1 with NVIDIA's opaque data", seen, err, adviceNewer)
}

func (c *check) certificates() {
	const wantedRoot, wanted = "a chain that ends in a trusted root", "a chain of five certificates from the root to the device's attestation key, valid at the time"
	err := c.d.err
	if err == nil && len(c.d.chain) == 0 {
		err = errors.New("the evidence has no certificates")
	}
	if err != nil {
		c.rule("root_trusted", wantedRoot, "", errNoChain, "")
		c.rule("certificate_chain", wanted, "", err, "send the report together with its certificates")
		return
	}
	last := len(c.d.chain) - 1
	root, err := p384.Trusted(c.v.roots, c.d.chain[last])
	seen := ""
	if err == nil {
		seen = p384.Name(root)
	}
	c.rule("root_trusted", wantedRoot, seen, join2(err, windows(c.at, root)), adviceRoot)

	advice := adviceTampered
	switch {
	case root == nil:
		err, advice = errors.New("not checked, as no trusted root is known"), "see the rule "+c.prefix+"root_trusted"
	case len(c.d.chain) != chainLength:
		err = fmt.Errorf("%d certificates, wanted %d", len(c.d.chain), chainLength)
	default:
		var chain []*x509.Certificate
		if chain, err = c.v.memory.Chain(root, c.d.chain[:last]); err == nil {
			c.chain = chain
			seen = p384.Name(chain[0]) + ", of device " + c.platformID()
			err = p384.CheckWindows(c.at, chain...)
		}
	}
	c.rule("certificate_chain", wanted, seen, err, advice)
}

func windows(at time.Time, root *x509.Certificate) error {
	if root == nil {
		return nil
	}
	return p384.CheckWindows(at, root)
}

func join2(a, b error) error {
	if a == nil {
		return b
	}
	return a
}

// identity is the certificate that NVIDIA issued for the device in its factory.
func (c *check) identity() *x509.Certificate {
	if c.chain == nil {
		return nil
	}
	return c.chain[1]
}

// platformID is the serial number of the device's identity certificate, in lower-case
// hexadecimal: it is made of the identifier in the device's fuses.
func (c *check) platformID() string {
	if id := c.identity(); id != nil {
		return hex.EncodeToString(id.SerialNumber.Bytes())
	}
	return ""
}

// chip returns the name of the chip that NVIDIA's certificate gives, such as "GH100 A01".
func (c *check) chip() string {
	id := c.identity()
	if id == nil {
		return ""
	}
	words := strings.Fields(id.Subject.CommonName)
	return strings.Join(words[:min(len(words), 2)], " ")
}

// archPrefix returns how the names of an architecture's chips begin; empty where it is not known.
func archPrefix(arch []byte) string {
	switch string(arch) {
	case "HOPPER", "Hopper":
		return "GH"
	case "BLACKWELL", "Blackwell":
		return "GB"
	case "LS10":
		return "LS_10"
	}
	return ""
}

// isSwitch reports whether the device is an NVSwitch: by its certificate, or by what its
// container says as long as there is none.
func (c *check) isSwitch() bool {
	if c.identity() == nil {
		return string(c.d.arch) == "LS10"
	}
	return strings.HasPrefix(c.chip(), "LS")
}

func (c *check) kind() {
	chip := c.chip()
	var err error
	switch {
	case c.identity() == nil:
		err = errNoChain
	case !strings.HasPrefix(chip, "GH") && !strings.HasPrefix(chip, "GB") && !strings.HasPrefix(chip, "LS_10"):
		err = fmt.Errorf("the certificate is for %q, wanted GH…, GB… or LS_10", c.identity().Subject.CommonName)
	case c.d.arch != nil && archPrefix(c.d.arch) == "":
		err = fmt.Errorf("architecture %.20q is not known", c.d.arch)
	case c.d.arch != nil && !strings.HasPrefix(chip, archPrefix(c.d.arch)):
		err = fmt.Errorf("the container says %s, and the certificate is for %s", c.d.arch, chip)
	}
	c.rule("device_kind", "a certificate for a GPU or NVSwitch of a known architecture, the one that is said", chip, err, adviceNewer)
}

// fwid compares the firmware that the boot ROM certified with the one that the report names.
func (c *check) fwid() {
	reported, ok := c.r.Opaque[fieldFWID]
	if !ok {
		return
	}
	var err error
	if c.chain == nil {
		err = errNoChain
	} else {
		var certified []byte
		if certified, err = leafFWID(c.chain[0]); err == nil && !bytes.Equal(certified, reported) {
			err = fmt.Errorf("the certificate has %x, the report %x", certified, reported)
		}
	}
	c.rule("fwid", "the firmware id of the certificate in the report", hex.EncodeToString(reported), err, adviceTampered)
}

func (c *check) signature() {
	err := errNoChain
	if c.chain != nil {
		key, keyErr := p384.Key(c.chain[0])
		if err = keyErr; err == nil && !p384.Verify(key, c.r.Signature, c.r.Signed) {
			err = errors.New("the signature does not match")
		}
	}
	c.rule("report_signature", "a report signed by the key of its certificate", "signed", err, adviceTampered)
}

// declared compares what the container says with what is signed.
func (c *check) declared() {
	if c.d.nonce != nil {
		var err error
		if seen, said := hex.EncodeToString(c.r.Nonce[:]), string(c.d.nonce); said != seen && said != strings.ToUpper(seen) {
			err = fmt.Errorf("the report was made over %s, and the container says %.64q", seen, c.d.nonce)
		}
		c.rule("nonce_binding", "a report over the nonce that the container names", hex.EncodeToString(c.r.Nonce[:]), err, adviceTampered)
	}
	if c.d.driver == nil && c.d.vbios == nil {
		return
	}
	driver, vbios := c.r.DriverVersion(), c.r.VBIOSVersion()
	var err error
	switch {
	case c.d.driver != nil && string(c.d.driver) != driver:
		err = fmt.Errorf("the report has driver %q, and the container says %.40q", driver, c.d.driver)
	case c.d.vbios != nil && string(c.d.vbios) != vbios:
		err = fmt.Errorf("the report has VBIOS %q, and the container says %.40q", vbios, c.d.vbios)
	}
	c.rule("declared_versions", "the versions that the container names", "driver "+driver+", VBIOS "+vbios, err, adviceTampered)
}
