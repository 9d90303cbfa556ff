package nitro

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Sizes of members, in bytes (section 3.2.2.2 of AWS's document).
const (
	maxModuleID    = 256 // ours; AWS only asks for one that is not empty
	maxCertificate = 1024
	maxCABundle    = 8 // ours; AWS makes four
	maxPublicKey   = 1024
	maxUserData    = 512
	maxNonce       = 512
	maxPCRs        = 32
)

// Document is a Nitro attestation document and the COSE object around it.
type Document struct {
	// ModuleID names the enclave: "i-" and the instance, "-enc" and the enclave.
	ModuleID string
	// Timestamp is when the hypervisor made the document, to the millisecond.
	Timestamp time.Time
	// Digest is the hash function of the PCRs, always "SHA384".
	Digest string
	// PCRs are the locked registers by index, 0 to 31: 32, 48 or 64 bytes each.
	PCRs map[int][]byte
	// Certificate is the signer's, in DER.
	Certificate []byte
	// CABundle is the chain above it in DER, the root first.
	CABundle [][]byte
	// PublicKey is a key of the enclave's, 1 to 1024 bytes, or nil.
	PublicKey []byte
	// UserData is what the enclave wanted signed, at most 512 bytes, or nil.
	UserData []byte
	// Nonce is the challenge, at most 512 bytes, or nil.
	Nonce []byte

	// Signed is the Sig_structure that Signature covers.
	Signed []byte
	// Signature is r and s, 48 bytes each, big-endian.
	Signature []byte
}

// Recognise reports whether raw begins as a COSE_Sign1 object, tagged or not, with
// the protected header of a Nitro document. It is cheap.
func Recognise(raw []byte) bool {
	s := string(raw[:min(len(raw), 16)])
	s = strings.TrimPrefix(s, "\xd2")
	return strings.HasPrefix(s, "\x84\x44"+protectedES384+"\xa0")
}

// Parse reads a document, and nothing else of it is checked. Its errors wrap [ErrFormat].
func Parse(raw []byte) (*Document, error) {
	dec := strict()
	s, err := parseSign1(dec, raw)
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(dec, s.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	d.Signed, d.Signature = s.signed(), s.Signature
	return d, nil
}

// parseDocument reads the payload: a map whose length may be indefinite, as documents
// of 2025 have it, while everything in it has a definite length.
func parseDocument(dec cbor.DecMode, payload []byte) (*Document, error) {
	count, rest, err := mapHeader(payload)
	if err != nil {
		return nil, err
	}
	d := &Document{}
	seen := make(map[string]bool, 9)
	for n := 0; count < 0 || n < count; n++ {
		if count < 0 && len(rest) > 0 && rest[0] == 0xff {
			rest = rest[1:]
			break
		}
		var name string
		var value cbor.RawMessage
		if rest, err = dec.UnmarshalFirst(rest, &name); err != nil {
			return nil, fmt.Errorf("member %d: %w", n+1, err)
		}
		if seen[name] {
			return nil, fmt.Errorf("member %q twice", name)
		}
		seen[name] = true
		if rest, err = dec.UnmarshalFirst(rest, &value); err != nil {
			return nil, fmt.Errorf("member %q: %w", name, err)
		}
		if err = d.set(dec, name, value); err != nil {
			return nil, fmt.Errorf("member %q: %w", name, err)
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes after the document's map", len(rest))
	}
	for _, name := range [...]string{"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"} {
		if !seen[name] {
			return nil, fmt.Errorf("no member %q", name)
		}
	}
	return d, nil
}

// mapHeader returns the number of pairs of a map, or -1 where it is not said.
func mapHeader(b []byte) (int, []byte, error) {
	switch {
	case len(b) > 0 && b[0] == 0xbf:
		return -1, b[1:], nil
	case len(b) > 0 && b[0] >= 0xa0 && b[0] <= 0xb7:
		return int(b[0] - 0xa0), b[1:], nil
	}
	return 0, nil, errors.New("the payload is no map of at most 23 members")
}

const null = "\xf6"

func (d *Document) set(dec cbor.DecMode, name string, value cbor.RawMessage) (err error) {
	switch name {
	case "module_id":
		err = dec.Unmarshal(value, &d.ModuleID)
		if n := len(d.ModuleID); err == nil && (n == 0 || n > maxModuleID) {
			err = fmt.Errorf("%d bytes, wanted 1 to %d", n, maxModuleID)
		}
	case "digest":
		err = dec.Unmarshal(value, &d.Digest)
		if err == nil && d.Digest != "SHA384" {
			err = fmt.Errorf("%q, wanted \"SHA384\"", d.Digest)
		}
	case "timestamp":
		err = d.setTimestamp(dec, value)
	case "pcrs":
		err = d.setPCRs(dec, value)
	case "certificate":
		d.Certificate, err = byteString(dec, value, 1, maxCertificate)
	case "cabundle":
		err = d.setCABundle(dec, value)
	case "public_key":
		d.PublicKey, err = optional(dec, value, 1, maxPublicKey)
	case "user_data":
		d.UserData, err = optional(dec, value, 0, maxUserData)
	case "nonce":
		d.Nonce, err = optional(dec, value, 0, maxNonce)
	case "nitrotpm_pcrs":
		err = errors.New("this is a NitroTPM document, of a virtual machine and not of an enclave: not supported")
	default:
		err = errors.New("not known")
	}
	return err
}

func (d *Document) setTimestamp(dec cbor.DecMode, value []byte) error {
	var ms uint64
	if err := dec.Unmarshal(value, &ms); err != nil {
		return err
	}
	const year10000 = 253402300800000 // the last that time.Time writes as RFC 3339
	if value[0]>>5 != 0 || ms == 0 || ms >= year10000 {
		return fmt.Errorf("%d, wanted milliseconds since 1970 before the year 10000", ms)
	}
	d.Timestamp = time.UnixMilli(int64(ms)).UTC()
	return nil
}

func (d *Document) setPCRs(dec cbor.DecMode, value []byte) error {
	var items map[uint64]cbor.RawMessage
	if err := dec.Unmarshal(value, &items); err != nil {
		return err
	}
	if len(items) == 0 || len(items) > maxPCRs {
		return fmt.Errorf("%d registers, wanted 1 to %d", len(items), maxPCRs)
	}
	d.PCRs = make(map[int][]byte, len(items))
	for i, item := range items {
		b, err := byteString(dec, item, 32, 64)
		switch {
		case err != nil:
			return fmt.Errorf("register %d: %w", i, err)
		case i >= maxPCRs:
			return fmt.Errorf("register %d, wanted 0 to %d", i, maxPCRs-1)
		case len(b) != 32 && len(b) != 48 && len(b) != 64:
			return fmt.Errorf("register %d has %d bytes, wanted 32, 48 or 64", i, len(b))
		}
		d.PCRs[int(i)] = b
	}
	return nil
}

func (d *Document) setCABundle(dec cbor.DecMode, value []byte) error {
	var items []cbor.RawMessage
	if err := dec.Unmarshal(value, &items); err != nil {
		return err
	}
	if len(items) == 0 || len(items) > maxCABundle {
		return fmt.Errorf("%d certificates, wanted 1 to %d", len(items), maxCABundle)
	}
	for i, item := range items {
		der, err := byteString(dec, item, 1, maxCertificate)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", i+1, err)
		}
		d.CABundle = append(d.CABundle, der)
	}
	return nil
}

// optional reads a byte string that may be null, which documents have although AWS's text forbids it.
func optional(dec cbor.DecMode, value []byte, low, high int) ([]byte, error) {
	if string(value) == null {
		return nil, nil
	}
	return byteString(dec, value, low, high)
}

func byteString(dec cbor.DecMode, value []byte, low, high int) ([]byte, error) {
	if len(value) == 0 || value[0]>>5 != 2 {
		return nil, errors.New("wanted a byte string")
	}
	b := []byte{} // an empty one is not nil
	if err := dec.Unmarshal(value, &b); err != nil {
		return nil, err
	}
	if len(b) < low || len(b) > high {
		return nil, fmt.Errorf("%d bytes, wanted %d to %d", len(b), low, high)
	}
	return b, nil
}
