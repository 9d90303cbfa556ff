// Package ca is the manager's certificate authority: the root of each account,
// the zone authorities that it signs, what they issue, and the revocation lists.
// It also makes the authority behind the manager's own web address.
//
// Invariants: leaves are built from a template only, never from a request, and
// are never authorities (security decision S5); each has an extended key usage
// of its own and a random serial number of 128 bits; an authority whose account
// is test-only says so in its subject and policies, may name approved domains
// only, and issues for at most seven days (S11).
//
// The account root's key is what workload manifests pin (S4): it signs zone
// authorities and the manager's certificate for the account, nothing else, so
// that a zone authority can be rotated without a new measurement.
//
// What is trusted: the caller's decision that a leaf may be issued (package
// issue) and its clock. What is not promised: keys are held in memory while in
// use, and revocation reaches only who reads the list.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"time"

	"hitoku.dev/attest"
)

// Lifetimes of authorities. A root is renewed with the same key, so its end does not end what
// pins it.
const (
	RootLifetime = 5 * 365 * 24 * time.Hour
	ZoneLifetime = 2 * 365 * 24 * time.Hour
	// backdate lets machines whose clock is a little behind accept what was just issued.
	backdate = 5 * time.Minute
)

// maxDomains bounds the name constraint of a simulated zone authority, which every peer parses.
const maxDomains = 500

// noDomain stands in a name constraint that permits nothing yet: an empty list would permit everything.
const noDomain = "none.invalid"

// Subject attributes that the field's tools read: account and zone identifiers.
var (
	oidAccountID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 49690, 1, 3, 1}
	oidZoneID    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 49690, 1, 3, 2}
)

// KeyType is the kind of an authority's key.
type KeyType string

// The kinds of key that authorities have; ECDSA P-256 is the default.
const (
	P256    KeyType = "EC-P256"
	RSA3072 KeyType = "RSA-3072"
)

// Authority is a CA certificate with its key.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// SPKIHash is the SHA-256 of the authority's DER SubjectPublicKeyInfo.
func (a *Authority) SPKIHash() [32]byte {
	return attest.SPKIHash(a.Certificate.RawSubjectPublicKeyInfo)
}

// MarshalKey returns the private key as PKCS#8. The caller seals it.
func (a *Authority) MarshalKey() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.Key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", a.Certificate.Subject.CommonName, err)
	}
	return der, nil
}

// Load puts a certificate and its PKCS#8 key together again and checks that they belong together.
func Load(certificate, key []byte) (*Authority, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("authority: certificate: %w", err)
	}
	name := cert.Subject.CommonName
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: key: %w", name, err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("authority %s: key of type %T cannot sign", name, parsed)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("authority %s: key: %w", name, err)
	}
	if attest.SPKIHash(spki) != attest.SPKIHash(cert.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("authority %s: wanted the key of its certificate, seen another key", name)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("authority %s: its certificate is not an authority's", name)
	}
	return &Authority{Certificate: cert, Key: signer}, nil
}

// RootParams describes an account root.
type RootParams struct {
	AccountID string // UUID
	Name      string // the account's name, for people
	Simulated bool   // the account is test-only
	Key       KeyType
}

// NewRoot makes an account root with a new key.
func NewRoot(random io.Reader, now time.Time, p RootParams) (*Authority, error) {
	key, err := newKey(random, p.Key)
	if err != nil {
		return nil, fmt.Errorf("account %s: root: %w", p.AccountID, err)
	}
	return selfSign(random, now, key, p, nil)
}

// RenewRoot gives a root a new certificate over the same key, and with the same subject, since
// what it signed names that.
func RenewRoot(root *Authority, random io.Reader, now time.Time, p RootParams) (*Authority, error) {
	return selfSign(random, now, root.Key, p, root.Certificate.RawSubject)
}

func selfSign(random io.Reader, now time.Time, key crypto.Signer, p RootParams, rawSubject []byte) (*Authority, error) {
	name := "Hitoku account root: " + p.Name
	if p.Simulated {
		name = "Simulated, test only: " + name
	}
	template := &x509.Certificate{
		Subject:    subject(name, pair{oidAccountID, p.AccountID}),
		RawSubject: rawSubject,
		NotBefore:  now.Add(-backdate),
		NotAfter:   now.Add(RootLifetime),
		MaxPathLen: 1,
	}
	return sign(random, template, nil, key)
}

// ZoneParams describes a zone authority.
type ZoneParams struct {
	AccountID, ZoneID string // UUIDs
	Name              string // the zone's name, for people
	Simulated         bool   // the account is test-only
	// Domains are the account's approved domains. A simulated authority may issue for them only.
	Domains []string
	Key     KeyType
}

// NewZone makes a zone authority with a new key, signed by the account root.
func NewZone(root *Authority, random io.Reader, now time.Time, p ZoneParams) (*Authority, error) {
	key, err := newKey(random, p.Key)
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", p.ZoneID, err)
	}
	return signZone(root, random, now, key, p, nil)
}

// RenewZone gives a zone authority a new certificate over the same key, with the same subject: a
// later end, or, in a test-only account, other domains.
func RenewZone(root, zone *Authority, random io.Reader, now time.Time, p ZoneParams) (*Authority, error) {
	return signZone(root, random, now, zone.Key, p, zone.Certificate.RawSubject)
}

func signZone(root *Authority, random io.Reader, now time.Time, key crypto.Signer, p ZoneParams, rawSubject []byte) (*Authority, error) {
	if now.After(root.Certificate.NotAfter) {
		return nil, fmt.Errorf("zone %s: the account root ended at %s; renew it first", p.ZoneID, root.Certificate.NotAfter.Format(time.RFC3339))
	}
	name := "Hitoku zone: " + p.Name
	if p.Simulated {
		name = "Simulated, test only: " + name
	}
	template := &x509.Certificate{
		Subject:        subject(name, pair{oidAccountID, p.AccountID}, pair{oidZoneID, p.ZoneID}),
		RawSubject:     rawSubject,
		NotBefore:      now.Add(-backdate),
		NotAfter:       earlier(now.Add(ZoneLifetime), root.Certificate.NotAfter),
		MaxPathLenZero: true,
	}
	if p.Simulated {
		domains := slices.Compact(slices.Sorted(slices.Values(p.Domains)))
		if len(domains) > maxDomains {
			return nil, fmt.Errorf("zone %s: wanted at most %d approved domains in a test-only account, seen %d; remove some, or use another account", p.ZoneID, maxDomains, len(domains))
		}
		if len(domains) == 0 {
			domains = []string{noDomain}
		}
		template.PermittedDNSDomainsCritical = true
		template.PermittedDNSDomains = domains
		template.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
		template.Policies = simulatedPolicies()
	}
	return sign(random, template, root, key)
}

// Permits reports whether the authority's name constraint allows a DNS name.
func (a *Authority) Permits(name string) bool {
	permitted := a.Certificate.PermittedDNSDomains
	return len(permitted) == 0 || slices.ContainsFunc(permitted, func(domain string) bool {
		rest := len(name) - len(domain)
		return rest == 0 && name == domain || rest > 0 && name[rest:] == domain && name[rest-1] == '.'
	})
}

// Simulated reports whether the authority belongs to a test-only account.
func (a *Authority) Simulated() bool {
	return slices.ContainsFunc(a.Certificate.PolicyIdentifiers, attest.OIDSimulatedPolicy.Equal)
}

func simulatedPolicies() []x509.OID {
	var arcs []uint64
	for _, arc := range attest.OIDSimulatedPolicy {
		arcs = append(arcs, uint64(arc))
	}
	oid, err := x509.OIDFromInts(arcs)
	if err != nil {
		panic("ca: the policy identifier is malformed: " + err.Error())
	}
	return []x509.OID{oid}
}

// sign completes the template of an authority and signs it with parent, or with itself.
func sign(random io.Reader, template *x509.Certificate, parent *Authority, key crypto.Signer) (*Authority, error) {
	name := template.Subject.CommonName
	serial, err := newSerial(random)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	template.SerialNumber = serial
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	issuer, issuerKey := template, key
	if parent != nil {
		issuer, issuerKey = parent.Certificate, parent.Key
	}
	der, err := x509.CreateCertificate(random, template, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	return &Authority{Certificate: cert, Key: key}, nil
}

func newKey(random io.Reader, kind KeyType) (crypto.Signer, error) {
	switch kind {
	case P256, "":
		return ecdsa.GenerateKey(elliptic.P256(), random)
	case RSA3072:
		return rsa.GenerateKey(random, 3072)
	}
	return nil, fmt.Errorf("key type %q: wanted %s or %s", kind, P256, RSA3072)
}

// newSerial returns a random positive number of 128 bits.
func newSerial(random io.Reader) (*big.Int, error) {
	raw := make([]byte, 16)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("random source: %w", err)
	}
	serial := new(big.Int).SetBytes(raw)
	if serial.Sign() == 0 {
		return nil, errors.New("random source: gives zeros")
	}
	return serial, nil
}

type pair struct {
	oid   asn1.ObjectIdentifier
	value string
}

func subject(commonName string, more ...pair) pkix.Name {
	n := pkix.Name{CommonName: commonName, Organization: []string{"Hitoku"}}
	for _, m := range more {
		n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: m.oid, Value: m.value})
	}
	return n
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// LimitedTo reports whether the authority's name constraint permits exactly these domains.
func (a *Authority) LimitedTo(domains []string) bool {
	want := slices.Compact(slices.Sorted(slices.Values(domains)))
	if len(want) == 0 {
		want = []string{noDomain}
	}
	return slices.Equal(want, a.Certificate.PermittedDNSDomains)
}
