package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// oidPrefix is AMD's arc 1.3.6.1.4.1.3704.1, below which all members of a VCEK or
// VLEK certificate lie (publ. 57230, table of extensions).
func oidPrefix() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1} }

// Endorsement is what a VCEK or VLEK certificate says about its key.
type Endorsement struct {
	Key           SigningKey // VCEK or VLEK, after its subject
	StructVersion uint8      // 0, or 1 with a first mutable code (Turin)
	ProductName   string     // as written, for example "Milan-B0" or "Turin"
	Product       Product
	TCB           TCBVersion
	HWID          []byte // VCEK: 64 bytes, 8 for Turin
	CSP           string // VLEK: the cloud provider
}

// Matches reports whether the certificate is of the key that signs a report: the
// same kind of key, product, chip and reported TCB.
func (e *Endorsement) Matches(r *Report) bool {
	return e.Key == r.KeyInfo.SigningKey() && e.checkProduct(r) == nil && e.checkTCB(r) == nil && e.checkChip(r) == nil
}

// ParseEndorsement reads the extensions of a VCEK or VLEK certificate. It checks
// no signature. It errs for any other certificate.
func ParseEndorsement(cert *x509.Certificate) (*Endorsement, error) {
	var e Endorsement
	switch cert.Subject.CommonName {
	case "SEV-VCEK":
		e.Key = VCEK
	case "SEV-VLEK":
		e.Key = VLEK
	default:
		return nil, fmt.Errorf("%s is no VCEK or VLEK certificate", certName(cert))
	}
	x, err := readExtensions(cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certName(cert), err)
	}
	if err := e.fill(x); err != nil {
		return nil, fmt.Errorf("%s: %w", certName(cert), err)
	}
	return &e, nil
}

// extensions are AMD's members of a certificate. A security patch level is -1 where it is missing.
type extensions struct {
	structVersion int
	productName   string
	spl           [10]int // by the last arc of 1.3.6.1.4.1.3704.1.3.x; index 0 is not used
	hwid          []byte
	csp           string
}

func readExtensions(cert *x509.Certificate) (*extensions, error) {
	x := &extensions{structVersion: -1}
	for i := range x.spl {
		x.spl[i] = -1
	}
	prefix := oidPrefix()
	for _, ext := range cert.Extensions {
		if len(ext.Id) <= len(prefix) || !ext.Id[:len(prefix)].Equal(prefix) {
			continue
		}
		var err error
		switch arc := ext.Id[len(prefix):]; {
		case arc.Equal(asn1.ObjectIdentifier{1}):
			x.structVersion, err = derUint8(ext.Value)
		case arc.Equal(asn1.ObjectIdentifier{2}):
			x.productName, err = derIA5(ext.Value)
		case len(arc) == 2 && arc[0] == 3 && arc[1] >= 1 && arc[1] <= 9:
			x.spl[arc[1]], err = derUint8(ext.Value)
		case arc.Equal(asn1.ObjectIdentifier{4}):
			x.hwid, err = octets(ext.Value)
		case arc.Equal(asn1.ObjectIdentifier{5}):
			x.csp, err = derIA5(ext.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("extension %v: %w", ext.Id, err)
		}
	}
	return x, nil
}

func (e *Endorsement) fill(x *extensions) error {
	line, _, _ := strings.Cut(x.productName, "-")
	e.ProductName, e.Product = x.productName, Product(line)
	if !e.Product.Known() {
		return fmt.Errorf("product name %q is not known", x.productName)
	}
	if x.structVersion < 0 || x.structVersion > 1 {
		return errors.New("structure version is missing or not known; wanted 0 or 1")
	}
	e.StructVersion = uint8(x.structVersion)

	// The extension that says each byte of TCB_VERSION, lowest byte first; Turin
	// has its first mutable code (9) before the others.
	order := [8]int{1, 2, 4, 5, 6, 7, 3, 8}
	if e.Product == Turin {
		order = [8]int{9, 1, 2, 3, 5, 6, 7, 8}
	}
	known := 0
	for i, arc := range order {
		if x.spl[arc] < 0 {
			return fmt.Errorf("security patch level 1.3.6.1.4.1.3704.1.3.%d is missing", arc)
		}
		known++
		e.TCB |= TCBVersion(x.spl[arc]) << (8 * i)
	}
	for _, v := range x.spl {
		if v >= 0 {
			known--
		}
	}
	if known != 0 {
		return fmt.Errorf("a security patch level that %s does not have", e.Product)
	}

	switch e.Key {
	case VCEK:
		if len(x.hwid) != e.Product.HWIDSize() || x.csp != "" {
			return fmt.Errorf("a VCEK of %s names its chip in %d bytes and no cloud provider; seen %d bytes, provider %q", e.Product, e.Product.HWIDSize(), len(x.hwid), x.csp)
		}
	case VLEK:
		if x.hwid != nil || x.csp == "" {
			return errors.New("a VLEK names a cloud provider and no chip")
		}
	}
	e.HWID, e.CSP = x.hwid, x.csp
	return nil
}

func (e *Endorsement) checkProduct(r *Report) error {
	if r.Version >= 3 && r.Product() != e.Product {
		return fmt.Errorf("the certificate is for %s, the report's CPUID family %#x, model %#x is %q", e.ProductName, r.Family, r.Model, r.Product())
	}
	if r.Version < 3 {
		return r.checkTCBReserved(e.Product)
	}
	return nil
}

func (e *Endorsement) checkTCB(r *Report) error {
	if e.TCB != r.ReportedTCB {
		return fmt.Errorf("the certificate is for %s (%v), the report says %s (%v)", e.TCB.text(e.Product), e.TCB, r.ReportedTCB.text(e.Product), r.ReportedTCB)
	}
	return nil
}

func (e *Endorsement) checkChip(r *Report) error {
	if e.Key == VLEK {
		return nil
	}
	n := len(e.HWID)
	switch {
	case r.ChipID == [64]byte{}: // masked: the key itself is the chip's
	case !bytes.Equal(e.HWID, r.ChipID[:n]) || !allZero(r.ChipID[n:]):
		return fmt.Errorf("the certificate is of chip %x…, the report of chip %x…", e.HWID[:8], r.ChipID[:8])
	}
	return nil
}

func derUint8(der []byte) (int, error) {
	var v int
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) != 0 || v < 0 || v > 255 {
		return -1, errors.New("not an INTEGER of 0 to 255")
	}
	return v, nil
}

func derIA5(der []byte) (string, error) {
	var v string
	rest, err := asn1.UnmarshalWithParams(der, &v, "ia5")
	if err != nil || len(rest) != 0 || len(der) == 0 || der[0] != asn1.TagIA5String || v == "" || len(v) > 128 {
		return "", errors.New("not an IA5String of 1 to 128 bytes")
	}
	return v, nil
}

// octets reads a hardware id: AMD writes the bare bytes; an OCTET STRING is read too.
func octets(der []byte) ([]byte, error) {
	if len(der) == 64 || len(der) == 8 {
		return der, nil
	}
	var v []byte
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) != 0 {
		return nil, errors.New("not a hardware id")
	}
	return v, nil
}

// endorsementKey returns the P-384 key of a certificate that may be no authority.
func endorsementKey(cert *x509.Certificate) (*ecdsa.PublicKey, error) {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok || key.Curve != elliptic.P384():
		return nil, fmt.Errorf("%s has no P-384 key", certName(cert))
	case cert.Version != 3:
		return nil, fmt.Errorf("%s is of X.509 version %d, wanted 3", certName(cert), cert.Version)
	case cert.IsCA || cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return nil, fmt.Errorf("%s is a certificate authority", certName(cert))
	case len(cert.UnhandledCriticalExtensions) > 0:
		return nil, fmt.Errorf("%s has critical extension %v, which is not known", certName(cert), cert.UnhandledCriticalExtensions[0])
	}
	return key, nil
}

func certName(c *x509.Certificate) string { return fmt.Sprintf("certificate %q", c.Subject.CommonName) }
