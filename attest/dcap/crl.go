package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxCRL limits a revocation list, in bytes of DER. An entry takes about 30 bytes.
const maxCRL = 256 << 10

var oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}

// crl is a revocation list (RFC 5280, section 5.1) as far as it is needed here.
// It points into its DER, so that a long list costs nothing before its signature
// is checked, and little after.
type crl struct {
	der, tbs, signature    []byte
	issuer                 []byte // DER of the name
	thisUpdate, nextUpdate time.Time
	entries                cryptobyte.String // each one was read once
	count                  int
}

// parseCRL reads a revocation list in DER, PEM or hexadecimal.
func parseCRL(data []byte) (*crl, error) {
	if len(data) > 2*maxCRL {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(data), 2*maxCRL)
	}
	der := data
	switch text := bytes.TrimSpace(data); {
	case len(text) == 0:
		return nil, errors.New("empty")
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		var rest []byte
		var err error
		if der, rest, err = nextPEM(text, "X509 CRL"); err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(rest)) != 0 {
			return nil, errors.New("bytes after the PEM block")
		}
	case isHex(text):
		der = make([]byte, hex.DecodedLen(len(text)))
		if _, err := hex.Decode(der, text); err != nil {
			return nil, err
		}
	}
	if len(der) > maxCRL {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(der), maxCRL)
	}
	return parseCRLDER(der)
}

func parseCRLDER(der []byte) (*crl, error) {
	in, list := cryptobyte.String(der), cryptobyte.String(nil)
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) {
		return nil, errors.New("not a DER sequence")
	}
	if !in.Empty() {
		return nil, errors.New("bytes after the end")
	}
	c := &crl{der: der}
	var tbs, algorithm, inner cryptobyte.String
	if !list.ReadASN1Element(&tbs, cbasn1.SEQUENCE) || !list.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!list.ReadASN1BitStringAsBytes(&c.signature) || !list.Empty() {
		return nil, errors.New("not a list, an algorithm and a signature")
	}
	c.tbs = tbs
	if !tbs.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		return nil, errors.New("not a list")
	}
	var version int
	if !tbs.ReadASN1Integer(&version) || version != 1 {
		return nil, errors.New("not a list of version 2")
	}
	if !tbs.ReadASN1Element(&inner, cbasn1.SEQUENCE) || !bytes.Equal(inner, algorithm) {
		return nil, errors.New("its two signature algorithms differ")
	}
	if err := checkAlgorithm(algorithm); err != nil {
		return nil, err
	}
	var issuer cryptobyte.String
	if !tbs.ReadASN1Element(&issuer, cbasn1.SEQUENCE) {
		return nil, errors.New("no issuer")
	}
	c.issuer = issuer
	if !readTime(&tbs, &c.thisUpdate) {
		return nil, errors.New("it does not say when it was made")
	}
	if !readTime(&tbs, &c.nextUpdate) {
		return nil, errors.New("it does not say when the next one comes")
	}
	if !tbs.ReadOptionalASN1(&c.entries, nil, cbasn1.SEQUENCE) {
		return nil, errors.New("its entries cannot be read")
	}
	if err := c.readExtensions(tbs); err != nil {
		return nil, err
	}
	return c, c.readEntries()
}

func checkAlgorithm(algorithm cryptobyte.String) error {
	var id asn1.ObjectIdentifier
	if !algorithm.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&id) {
		return errors.New("its signature algorithm cannot be read")
	}
	if !id.Equal(oidECDSAWithSHA256) || !algorithm.Empty() {
		return fmt.Errorf("it is signed with %v, wanted ECDSA-SHA256", id)
	}
	return nil
}

func readTime(s *cryptobyte.String, t *time.Time) bool {
	if s.PeekASN1Tag(cbasn1.UTCTime) {
		return s.ReadASN1UTCTime(t)
	}
	return s.ReadASN1GeneralizedTime(t)
}

// readExtensions refuses critical extensions: they would change what the list means.
func (c *crl) readExtensions(tbs cryptobyte.String) error {
	if tbs.Empty() {
		return nil
	}
	var extensions cryptobyte.String
	if !tbs.ReadASN1(&extensions, cbasn1.Tag(0).ContextSpecific().Constructed()) || !tbs.Empty() {
		return errors.New("its extensions cannot be read")
	}
	return checkNotCritical(extensions)
}

func checkNotCritical(extensions cryptobyte.String) error {
	var list cryptobyte.String
	if !extensions.ReadASN1(&list, cbasn1.SEQUENCE) || !extensions.Empty() {
		return errors.New("its extensions cannot be read")
	}
	for !list.Empty() {
		var e, id cryptobyte.String
		if !list.ReadASN1(&e, cbasn1.SEQUENCE) || !e.ReadASN1(&id, cbasn1.OBJECT_IDENTIFIER) {
			return errors.New("an extension cannot be read")
		}
		if e.PeekASN1Tag(cbasn1.BOOLEAN) {
			return fmt.Errorf("critical extension %x is not known", []byte(id))
		}
	}
	return nil
}

// readEntries counts the entries and makes sure that each can be read, so that
// none can hide another.
func (c *crl) readEntries() error {
	for rest := c.entries; !rest.Empty(); c.count++ {
		if _, _, err := nextEntry(&rest); err != nil {
			return fmt.Errorf("entry %d: %w", c.count+1, err)
		}
	}
	return nil
}

// nextEntry reads the big-endian serial number, without leading zeros, and the time of a revocation.
func nextEntry(entries *cryptobyte.String) (serial []byte, at time.Time, err error) {
	var e cryptobyte.String
	if !entries.ReadASN1(&e, cbasn1.SEQUENCE) || !e.ReadASN1Integer(&serial) || !readTime(&e, &at) {
		return nil, at, errors.New("not a serial number and a time")
	}
	if !e.Empty() {
		return serial, at, checkNotCritical(e)
	}
	return serial, at, nil
}

// checkSignedBy checks that issuer signed the list.
func (c *crl) checkSignedBy(issuer *x509.Certificate) error {
	switch {
	case !bytes.Equal(c.issuer, issuer.RawSubject):
		return fmt.Errorf("it was issued by %q, wanted %s", commonName(c.issuer), name(issuer))
	case !canSign(issuer, x509.KeyUsageCRLSign):
		return fmt.Errorf("%s may not sign revocation lists", name(issuer))
	}
	key, err := p256Key(issuer)
	if err != nil {
		return err
	}
	if digest := sha256.Sum256(c.tbs); !ecdsa.VerifyASN1(key, digest[:], c.signature) {
		return fmt.Errorf("the signature of %s does not match", name(issuer))
	}
	return nil
}

func commonName(der []byte) string {
	var rdn pkix.RDNSequence
	var n pkix.Name
	if rest, err := asn1.Unmarshal(der, &rdn); err != nil || len(rest) > 0 {
		return "a name that cannot be read"
	}
	n.FillFromRDNSequence(&rdn)
	return n.CommonName
}

// checkNotRevoked looks a certificate up in the list of its own issuer. A
// revocation counts at every time, also before its date.
func (c *crl) checkNotRevoked(cert *x509.Certificate) error {
	if cert == nil {
		return nil
	}
	serial := cert.SerialNumber.Bytes()
	for rest := c.entries; !rest.Empty(); {
		s, at, err := nextEntry(&rest)
		if err != nil {
			return err
		}
		if bytes.Equal(bytes.TrimLeft(s, "\x00"), serial) {
			return &adviceError{
				fmt.Errorf("%s, serial number %x, was revoked at %s", name(cert), cert.SerialNumber, stamp(at)),
				"do not trust this any more: its maker has revoked it",
			}
		}
	}
	return nil
}
