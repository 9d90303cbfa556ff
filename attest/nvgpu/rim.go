package nvgpu

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Namespaces of a RIM file.
const (
	swidSpace   = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
	sha384Space = "http://www.w3.org/2001/04/xmlenc#sha384"
)

const maxAlternatives = 64

// ErrRIM is wrapped by every error about bytes that are no RIM file.
var ErrRIM = errors.New("no RIM file of NVIDIA")

// RIM is a reference integrity manifest: the measurements that a version of a driver
// or of a device's firmware has when it is as its maker made it.
type RIM struct {
	// Version is the driver's or firmware's, such as "550.144.03" or "96.00.5E.00.01".
	Version string
	// Product is the chip, such as "GH100" or "LS10".
	Product string
	// Edition is "GPU" or "SWITCH".
	Edition string
	// Golden are the reference values by index, from 0; SPDM's index is one higher.
	Golden map[int]Golden

	root *element
}

// Golden is a reference value of one measurement.
type Golden struct {
	Name string
	// Active is false where the value says nothing about this index.
	Active bool
	// Values are those that the measurement may have, 48 bytes each.
	Values [][]byte
}

// ParseRIM reads a RIM file, and nothing of its signature. Its errors wrap [ErrRIM].
func ParseRIM(raw []byte) (*RIM, error) {
	root, err := parseXML(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRIM, err)
	}
	r := &RIM{root: root, Golden: make(map[int]Golden)}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRIM, err)
	}
	return r, nil
}

func (r *RIM) read() error {
	if r.root.space != swidSpace || r.root.local != "SoftwareIdentity" {
		return fmt.Errorf("the document is a %.40q, wanted a SWID tag", r.root.local)
	}
	meta, payload := r.root.find(swidSpace, "Meta"), r.root.find(swidSpace, "Payload")
	if len(meta) != 1 || len(payload) != 1 {
		return fmt.Errorf("%d Meta and %d Payload elements, wanted one of each", len(meta), len(payload))
	}
	for name, to := range map[string]*string{"colloquialVersion": &r.Version, "product": &r.Product, "edition": &r.Edition} {
		if *to, _ = meta[0].attr("", name); *to == "" {
			return fmt.Errorf("the Meta element has no %s", name)
		}
	}
	for _, c := range payload[0].children {
		switch {
		case c.elem == nil && strings.Trim(c.text, xmlSpace) == "":
		case c.elem == nil || c.elem.space != swidSpace || c.elem.local != "Resource":
			return errors.New("the Payload element has something else than Resource elements")
		default:
			if err := r.resource(c.elem); err != nil {
				return err
			}
		}
	}
	if len(r.Golden) == 0 {
		return errors.New("no measurement")
	}
	return nil
}

// resource reads one reference value.
func (r *RIM) resource(e *element) error {
	text := func(name string) string { v, _ := e.attr("", name); return v }
	index, err := number(text("index"), 255)
	if err != nil {
		return fmt.Errorf("index of a Resource: %w", err)
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("measurement %d: "+format, append([]any{index}, args...)...)
	}
	if text("type") != "Measurement" {
		return fail("type %.20q, wanted Measurement", text("type"))
	}
	if _, twice := r.Golden[index]; twice {
		return fail("twice")
	}
	g := Golden{Name: text("name")}
	switch text("active") {
	case "True":
		g.Active = true
	case "False":
	default:
		return fail("active is %.20q, wanted True or False", text("active"))
	}
	if text("size") != "48" {
		return fail("size %.20q, wanted 48", text("size"))
	}
	alternatives, err := number(text("alternatives"), maxAlternatives)
	if err != nil || alternatives == 0 {
		return fail("alternatives %.20q, wanted 1 to %d", text("alternatives"), maxAlternatives)
	}
	for i := range alternatives {
		value, _ := e.attr(sha384Space, "Hash"+strconv.Itoa(i))
		b, err := hex.DecodeString(value)
		if err != nil || len(b) != 48 {
			return fail("Hash%d is %.20q, wanted a SHA-384 in hexadecimal", i, value)
		}
		g.Values = append(g.Values, b)
	}
	hashes := 0
	for _, a := range e.attrs {
		if strings.HasPrefix(a.local, "Hash") {
			hashes++
		}
	}
	if hashes != alternatives {
		return fail("%d values, and alternatives says %d", hashes, alternatives)
	}
	r.Golden[index] = g
	return nil
}

// number reads a decimal number without sign or leading zeros.
func number(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%.20q, wanted a number from 0 to %d", s, most)
	}
	return n, nil
}
