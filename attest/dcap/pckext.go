package dcap

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers of the SGX extension in PCK certificates (Intel SGX PCK
// certificate and CRL profile specification, section 1.3.5).
var (
	OIDSGXExtension = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

	oidPPID               = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 1}
	oidTCB                = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 2}
	oidPCEID              = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 3}
	oidFMSPC              = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 4}
	oidSGXType            = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 5}
	oidPlatformInstanceID = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 6}
	oidConfiguration      = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 7}
)

// Members of the TCB sequence: 1 to 16 are the components, then these two.
const (
	arcPCESVN = 17
	arcCPUSVN = 18

	maxPCKExtension = 4096
)

// SGX types of a platform.
const (
	SGXTypeStandard              = 0
	SGXTypeScalable              = 1
	SGXTypeScalableWithIntegrity = 2
)

// PCKExtension is what a PCK certificate says about its platform.
type PCKExtension struct {
	PPID  [16]byte // stable for one platform
	TCB   PCKTCB
	PCEID [2]byte // big-endian
	FMSPC [6]byte
	// SGXType is one of the constants above.
	SGXType int
	// PlatformInstanceID is there for platforms of several packages only.
	PlatformInstanceID *[16]byte
	// Configuration is there for platforms of several packages only.
	Configuration *PCKConfiguration
}

// PCKTCB is the TCB level that a PCK certificate was issued for.
type PCKTCB struct {
	Components [16]byte
	PCESVN     uint16
	CPUSVN     [16]byte
}

// PCKConfiguration holds the settings of a platform of several packages; nil
// means that the certificate does not say.
type PCKConfiguration struct {
	DynamicPlatform *bool
	CachedKeys      *bool
	SMTEnabled      *bool
}

// PCKExtensionOf reads the SGX extension of a PCK certificate. A certificate
// without one, or with two, is an error.
func PCKExtensionOf(cert *x509.Certificate) (*PCKExtension, error) {
	var found []byte
	for _, e := range cert.Extensions {
		if !e.Id.Equal(OIDSGXExtension) {
			continue
		}
		if found != nil {
			return nil, errors.New("PCK certificate: two SGX extensions")
		}
		found = e.Value
	}
	if found == nil {
		return nil, fmt.Errorf("certificate %q has no SGX extension, so it is no PCK certificate", cert.Subject.CommonName)
	}
	return ParsePCKExtension(found)
}

// ParsePCKExtension reads the DER value of the SGX extension. Members may come
// in any order; a member that is missing or there twice is an error, one that
// is not known is ignored.
func ParsePCKExtension(der []byte) (*PCKExtension, error) {
	e, err := parsePCKExtension(der)
	if err != nil {
		return nil, fmt.Errorf("SGX extension: %w", err)
	}
	return e, nil
}

func parsePCKExtension(der []byte) (*PCKExtension, error) {
	if len(der) > maxPCKExtension {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(der), maxPCKExtension)
	}
	in, members := cryptobyte.String(der), cryptobyte.String(nil)
	if !in.ReadASN1(&members, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("not one DER sequence")
	}
	e := new(PCKExtension)
	var seen [8]bool
	for !members.Empty() {
		var m cryptobyte.String
		var id asn1.ObjectIdentifier
		if !members.ReadASN1(&m, cbasn1.SEQUENCE) || !m.ReadASN1ObjectIdentifier(&id) {
			return nil, errors.New("a member is no sequence of identifier and value")
		}
		if len(id) != len(OIDSGXExtension)+1 || !id[:len(OIDSGXExtension)].Equal(OIDSGXExtension) || id[len(id)-1] < 1 || id[len(id)-1] > 7 {
			continue
		}
		arc := id[len(id)-1]
		if seen[arc] {
			return nil, fmt.Errorf("member %v is there twice", id)
		}
		seen[arc] = true
		if err := e.readMember(arc, m); err != nil {
			return nil, fmt.Errorf("member %v: %w", id, err)
		}
	}
	for arc := 1; arc <= 5; arc++ {
		if !seen[arc] {
			return nil, fmt.Errorf("member %v.%d is missing", OIDSGXExtension, arc)
		}
	}
	return e, nil
}

func (e *PCKExtension) readMember(arc int, m cryptobyte.String) error {
	switch arc {
	case 1:
		return readOctets(m, e.PPID[:])
	case 2:
		return e.TCB.read(m)
	case 3:
		return readOctets(m, e.PCEID[:])
	case 4:
		return readOctets(m, e.FMSPC[:])
	case 5:
		if !m.ReadASN1Enum(&e.SGXType) || !m.Empty() {
			return errors.New("not an enumerated value")
		}
		if e.SGXType < 0 || e.SGXType > 255 {
			return fmt.Errorf("SGX type %d is out of range", e.SGXType)
		}
		return nil
	case 6:
		e.PlatformInstanceID = new([16]byte)
		return readOctets(m, e.PlatformInstanceID[:])
	default:
		e.Configuration = new(PCKConfiguration)
		return e.Configuration.read(m)
	}
}

func readOctets(m cryptobyte.String, out []byte) error {
	var v cryptobyte.String
	if !m.ReadASN1(&v, cbasn1.OCTET_STRING) || !m.Empty() {
		return errors.New("not an octet string")
	}
	if len(v) != len(out) {
		return fmt.Errorf("%d bytes, wanted %d", len(v), len(out))
	}
	copy(out, v)
	return nil
}

// readArcs calls read with the last arc of each identifier below parent.
func readArcs(m cryptobyte.String, parent asn1.ObjectIdentifier, limit int, read func(arc int, v cryptobyte.String) error) (seen uint32, err error) {
	var items cryptobyte.String
	if !m.ReadASN1(&items, cbasn1.SEQUENCE) || !m.Empty() {
		return 0, errors.New("not a sequence")
	}
	for !items.Empty() {
		var item cryptobyte.String
		var id asn1.ObjectIdentifier
		if !items.ReadASN1(&item, cbasn1.SEQUENCE) || !item.ReadASN1ObjectIdentifier(&id) {
			return 0, errors.New("an item is no sequence of identifier and value")
		}
		n := len(parent)
		if len(id) != n+1 || !id[:n].Equal(parent) || id[n] < 1 || id[n] > limit {
			continue
		}
		if seen&(1<<id[n]) != 0 {
			return 0, fmt.Errorf("%v is there twice", id)
		}
		seen |= 1 << id[n]
		if err := read(id[n], item); err != nil {
			return 0, fmt.Errorf("%v: %w", id, err)
		}
	}
	return seen, nil
}

func (t *PCKTCB) read(m cryptobyte.String) error {
	seen, err := readArcs(m, oidTCB, arcCPUSVN, func(arc int, v cryptobyte.String) error {
		if arc == arcCPUSVN {
			return readOctets(v, t.CPUSVN[:])
		}
		limit := 255
		if arc == arcPCESVN {
			limit = 65535
		}
		var n int
		if !v.ReadASN1Integer(&n) || !v.Empty() || n < 0 || n > limit {
			return fmt.Errorf("not an integer of 0 to %d", limit)
		}
		if arc == arcPCESVN {
			t.PCESVN = uint16(n)
		} else {
			t.Components[arc-1] = byte(n)
		}
		return nil
	})
	if err == nil && seen != 1<<(arcCPUSVN+1)-2 {
		err = errors.New("a component, PCESVN or CPUSVN is missing")
	}
	return err
}

func (c *PCKConfiguration) read(m cryptobyte.String) error {
	_, err := readArcs(m, oidConfiguration, 3, func(arc int, v cryptobyte.String) error {
		b := new(bool)
		if !v.ReadASN1Boolean(b) || !v.Empty() {
			return errors.New("not a boolean")
		}
		switch arc {
		case 1:
			c.DynamicPlatform = b
		case 2:
			c.CachedKeys = b
		default:
			c.SMTEnabled = b
		}
		return nil
	})
	return err
}

// Marshal returns the DER value of the extension, members in Intel's order.
func (e *PCKExtension) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		octets := func(id asn1.ObjectIdentifier, v []byte) {
			addMember(b, id, func(b *cryptobyte.Builder) { b.AddASN1OctetString(v) })
		}
		octets(oidPPID, e.PPID[:])
		addMember(b, oidTCB, e.TCB.add)
		octets(oidPCEID, e.PCEID[:])
		octets(oidFMSPC, e.FMSPC[:])
		addMember(b, oidSGXType, func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(e.SGXType)) })
		if e.PlatformInstanceID != nil {
			octets(oidPlatformInstanceID, e.PlatformInstanceID[:])
		}
		if e.Configuration != nil {
			addMember(b, oidConfiguration, e.Configuration.add)
		}
	})
	return b.Bytes()
}

func addMember(b *cryptobyte.Builder, id asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(id)
		value(b)
	})
}

func below(id asn1.ObjectIdentifier, arc int) asn1.ObjectIdentifier {
	return append(id[:len(id):len(id)], arc)
}

func (t *PCKTCB) add(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for i, c := range t.Components {
			addMember(b, below(oidTCB, i+1), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(c)) })
		}
		addMember(b, below(oidTCB, arcPCESVN), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(t.PCESVN)) })
		addMember(b, below(oidTCB, arcCPUSVN), func(b *cryptobyte.Builder) { b.AddASN1OctetString(t.CPUSVN[:]) })
	})
}

func (c *PCKConfiguration) add(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for i, v := range []*bool{c.DynamicPlatform, c.CachedKeys, c.SMTEnabled} {
			if v != nil {
				addMember(b, below(oidConfiguration, i+1), func(b *cryptobyte.Builder) { b.AddASN1Boolean(*v) })
			}
		}
	})
}
