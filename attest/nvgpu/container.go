package nvgpu

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	// MaxSize is the longest input that is read, in bytes: some 14 devices in JSON.
	MaxSize = 192 << 10
	// MaxDevices is the greatest number of devices in one input.
	MaxDevices = 16

	maxCertificate = 2048 // DER of one certificate, in bytes
	chainLength    = 5    // certificates of a device, the root included
)

// device is the evidence of one device as it came, with what its container says about it.
type device struct {
	report *Report
	chain  [][]byte // DER, the leaf first
	err    error    // why there is no chain

	// What a container says, nil where it is silent.
	arch, nonce, driver, vbios []byte
}

const requestHead = "\x11\xe0\x01\xff"

const (
	requestHeadHex    = "11e001ff"
	requestHeadBase64 = "EeAB/"
)

// Recognise reports whether raw begins as evidence in one of these containers: a
// report, in binary or in lower-case hexadecimal, with its certificates in PEM after
// it or none; NVIDIA's SDK's JSON, a list of devices or one; the request of NVIDIA's
// remote attestation service; trustee's list of devices. It is cheap.
func Recognise(raw []byte) bool {
	if bytes.HasPrefix(raw, []byte(requestHead)) || bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte(requestHeadHex)) {
		return true
	}
	s := scanner{rest: raw[:min(len(raw), MaxSize)]}
	s.next('[')
	if !s.next('{') {
		return false
	}
	name, err := s.text()
	if err != nil || !s.next(':') {
		return false
	}
	switch string(name) {
	case "arch", "certificate", "evidence", "nonce", "driver_version", "vbios_version", "version", "uuid", "claims_version", "evidence_list", "device_evidence_list":
		return bytes.Contains(s.rest, []byte(`"`+requestHeadBase64))
	}
	return false
}

// read takes a container apart. Its errors wrap [ErrFormat].
func read(raw []byte) ([]*device, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrFormat, len(raw), MaxSize)
	}
	text := bytes.TrimLeft(raw, " \t\r\n")
	switch {
	case bytes.HasPrefix(raw, []byte(requestHead)):
		return readBinary(raw)
	case bytes.HasPrefix(text, []byte(requestHeadHex)):
		return readHex(text)
	case len(text) > 0 && (text[0] == '[' || text[0] == '{'):
		devices, err := readJSON(text)
		if err != nil && !errors.Is(err, ErrFormat) {
			err = fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return devices, err
	}
	return nil, fmt.Errorf("%w: neither an SPDM report nor JSON", ErrFormat)
}

func readBinary(raw []byte) ([]*device, error) {
	r, rest, err := parseReport(raw)
	if err != nil {
		return nil, err
	}
	d := &device{report: r}
	d.chain, d.err = parsePEM(rest)
	return []*device{d}, nil
}

func readHex(text []byte) ([]*device, error) {
	n := 0
	for n < len(text) && (text[n] >= '0' && text[n] <= '9' || text[n] >= 'a' && text[n] <= 'f') {
		n++
	}
	if n > 2*MaxReport {
		return nil, fmt.Errorf("%w: %d digits, at most %d are read", ErrFormat, n, 2*MaxReport)
	}
	raw := make([]byte, n/2)
	if _, err := hex.Decode(raw, text[:n]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	r, err := ParseReport(raw)
	if err != nil {
		return nil, err
	}
	d := &device{report: r}
	d.chain, d.err = parsePEM(text[n:])
	return []*device{d}, nil
}

func readJSON(text []byte) ([]*device, error) {
	s := &scanner{rest: text}
	var devices []*device
	var top device // what is said about all
	element := func() error {
		d := &device{}
		if err := s.object(12, func(name string) error { return d.member(s, name) }); err != nil {
			return err
		}
		if d.report == nil {
			return errors.New(`no member "evidence"`)
		}
		devices = append(devices, d)
		return nil
	}
	var err error
	if text[0] == '[' {
		err = s.array(MaxDevices, element)
	} else {
		err = s.object(12, func(name string) error {
			if (name == "evidence_list" || name == "device_evidence_list") && devices == nil {
				return s.array(MaxDevices, element)
			}
			return top.member(s, name)
		})
	}
	s.skip()
	switch {
	case err != nil:
		return nil, err
	case len(s.rest) > 0:
		return nil, fmt.Errorf("%d bytes after the evidence", len(s.rest))
	case top.report != nil && devices != nil:
		return nil, errors.New("evidence both in a list and beside it")
	case top.report != nil:
		devices = []*device{&top}
	case len(devices) == 0:
		return nil, errors.New("no device")
	}
	for _, d := range devices {
		if err := d.inherit(&top); err != nil {
			return nil, err
		}
	}
	return devices, nil
}

// member reads one member of a device's object.
func (d *device) member(s *scanner, name string) error {
	value, err := s.text()
	if err != nil {
		return err
	}
	switch name {
	case "arch":
		d.arch = value
	case "nonce":
		d.nonce = value
	case "driver_version":
		d.driver = value
	case "vbios_version":
		d.vbios = value
	case "version", "claims_version":
		return checkVersion(name, value)
	case "uuid": // trustee's, which nothing is bound to
	case "evidence":
		raw, err := decode(value, MaxReport)
		if err != nil {
			return err
		}
		d.report, err = ParseReport(raw)
		return err
	case "certificate":
		text, err := decode(value, MaxSize)
		if err != nil {
			return err
		}
		d.chain, d.err = parsePEM(text)
	default:
		return errors.New("not known")
	}
	return nil
}

// checkVersion refuses versions of the container that may mean something else.
func checkVersion(name string, value []byte) error {
	if v := string(value); name == "version" && v != "1.0" || name == "claims_version" && v != "2.0" && v != "3.0" {
		return fmt.Errorf("%q is not known", v)
	}
	return nil
}

// inherit takes from around a list what its element does not say itself.
func (d *device) inherit(top *device) error {
	if d == top {
		return nil
	}
	for _, m := range [...]struct{ own, all *[]byte }{{&d.arch, &top.arch}, {&d.nonce, &top.nonce}, {&d.driver, &top.driver}, {&d.vbios, &top.vbios}} {
		switch {
		case *m.own == nil:
			*m.own = *m.all
		case *m.all != nil && !bytes.Equal(*m.own, *m.all):
			return fmt.Errorf("a device says %.40q, and the list %.40q", *m.own, *m.all)
		}
	}
	return nil
}

// decode reads base64 that is canonical.
func decode(text []byte, most int) ([]byte, error) {
	if n := base64.StdEncoding.DecodedLen(len(text)); n > most+2 {
		return nil, fmt.Errorf("%d bytes, at most %d are read", n, most)
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	return out[:n], err
}

// parsePEM reads a device's certificates. Nothing may stand around the blocks but
// line ends and a final NUL; nothing at all is no error, and no chain.
func parsePEM(text []byte) ([][]byte, error) {
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	var chain [][]byte
	for {
		text = bytes.TrimLeft(text, "\r\n")
		if len(text) == 0 || len(text) == 1 && text[0] == 0 {
			return chain, nil
		}
		body, ok := bytes.CutPrefix(text, []byte(begin))
		if !ok {
			return nil, fmt.Errorf("bytes that are no certificate in PEM after certificate %d", len(chain))
		}
		if body, text, ok = bytes.Cut(body, []byte(end)); !ok {
			return nil, fmt.Errorf("certificate %d has no end", len(chain)+1)
		}
		if len(chain) == chainLength {
			return nil, fmt.Errorf("more than %d certificates", chainLength)
		}
		// The decoder skips line ends and refuses every other byte that is not base64.
		der, err := decode(body, maxCertificate+maxCertificate/32)
		if err != nil || len(der) == 0 || len(der) > maxCertificate {
			return nil, fmt.Errorf("certificate %d is not in base64, or longer than %d bytes", len(chain)+1, maxCertificate)
		}
		chain = append(chain, der)
	}
}
