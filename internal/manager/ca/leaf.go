package ca

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"hitoku.dev/attest"
)

// Lifetimes of leaves.
const (
	AppLifetime      = 24 * time.Hour      // of an application's certificate, unless it asks otherwise
	NodeLifetime     = 7 * 24 * time.Hour  // of a compute node's certificate
	MaxLifetime      = 90 * 24 * time.Hour // of any leaf
	MaxSimulatedLife = 7 * 24 * time.Hour  // of any leaf in a test-only account
	ServerLifetime   = 7 * 24 * time.Hour  // of the manager's certificate under an account root
	WebLifetime      = 90 * 24 * time.Hour // of the manager's certificate under its own authority
)

// Use is what a leaf is for; it decides the extended key usages.
type Use int

// The uses of leaves that zone authorities issue.
const (
	ForApp  Use = iota + 1 // an attested application: TLS server and client
	ForNode                // a compute node: TLS client
)

// Leaf is the template of a certificate that a zone authority issues. Everything in it comes
// from verified evidence and approved names.
type Leaf struct {
	Use        Use
	Public     crypto.PublicKey
	CommonName string
	DNSNames   []string
	// ID is the SPIFFE id; set by the manager alone.
	ID       *url.URL
	Lifetime time.Duration
	// Extensions go in as they are: the evidence (attest.OIDCMW).
	Extensions []pkix.Extension
	// RevocationList is the address of the zone's list, empty for none.
	RevocationList string
}

// Issue signs a leaf. It refuses a template that breaks the package's invariants, whatever the
// decision before it was. The returned certificate is parsed from the bytes that were signed.
func (a *Authority) Issue(random io.Reader, now time.Time, l Leaf) (*x509.Certificate, error) {
	if err := a.checkLeaf(now, l); err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", l.CommonName, err)
	}
	template := &x509.Certificate{
		Subject:         pkix.Name{CommonName: l.CommonName},
		DNSNames:        l.DNSNames,
		URIs:            []*url.URL{l.ID},
		NotBefore:       now.Add(-backdate),
		NotAfter:        earlier(now.Add(l.Lifetime), a.Certificate.NotAfter),
		ExtraExtensions: l.Extensions,
	}
	switch l.Use {
	case ForApp:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		template.UnknownExtKeyUsage = append(template.UnknownExtKeyUsage, attest.OIDAttestedAppEKU)
	case ForNode:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		template.UnknownExtKeyUsage = append(template.UnknownExtKeyUsage, attest.OIDNodeEKU)
	}
	if l.RevocationList != "" {
		template.CRLDistributionPoints = []string{l.RevocationList}
	}
	if a.Simulated() {
		template.Policies = simulatedPolicies()
	}
	return a.signLeaf(random, template, l.Public)
}

func (a *Authority) checkLeaf(now time.Time, l Leaf) error {
	longest := MaxLifetime
	if a.Simulated() {
		longest = MaxSimulatedLife
	}
	switch {
	case l.Use != ForApp && l.Use != ForNode:
		return fmt.Errorf("use %d is not known", l.Use)
	case l.ID == nil || l.ID.Scheme != "spiffe" || l.ID.Host == "":
		return fmt.Errorf("wanted a SPIFFE id, seen %v", l.ID)
	case l.Lifetime <= 0 || l.Lifetime > longest:
		return fmt.Errorf("wanted a lifetime of at most %s, seen %s", longest, l.Lifetime)
	case !now.Before(a.Certificate.NotAfter):
		return fmt.Errorf("the zone authority ended at %s; rotate the zone's certificate", a.Certificate.NotAfter.Format(time.RFC3339))
	}
	for _, name := range l.DNSNames {
		if err := CheckDNSName(name); err != nil {
			return err
		}
		if !a.Permits(name) {
			return fmt.Errorf("name %q: outside the zone authority's name constraint %v", name, a.Certificate.PermittedDNSDomains)
		}
	}
	for _, e := range l.Extensions {
		if !e.Id.Equal(attest.OIDCMW) {
			return fmt.Errorf("extension %s is not one that leaves carry", e.Id)
		}
	}
	return nil
}

// ServerLeaf signs a certificate for the manager's own TLS: by an account root for the name
// that agents and guests of the account use (security decision S4), or by the manager's own
// authority for its web address. Names are DNS names or IP addresses.
func (a *Authority) ServerLeaf(random io.Reader, now time.Time, public crypto.PublicKey, names []string, lifetime time.Duration) (*x509.Certificate, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("server certificate of %s: no name given", a.Certificate.Subject.CommonName)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		NotBefore:   now.Add(-backdate),
		NotAfter:    earlier(now.Add(lifetime), a.Certificate.NotAfter),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if err := CheckDNSName(name); err != nil {
			return nil, fmt.Errorf("server certificate of %s: %w", a.Certificate.Subject.CommonName, err)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.signLeaf(random, template, public)
}

func (a *Authority) signLeaf(random io.Reader, template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := newSerial(random)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", template.Subject.CommonName, err)
	}
	template.SerialNumber = serial
	template.BasicConstraintsValid = true // with IsCA unset: CA:FALSE
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(random, template, a.Certificate, public, a.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", template.Subject.CommonName, err)
	}
	return cert, nil
}

// CheckDNSName reports why a name may not stand in a certificate: wildcards, upper case,
// anything but letters, digits, hyphens (underscores) in labels of 1 to 63 bytes, IP addresses.
func CheckDNSName(name string) error {
	if name == "" || len(name) > 253 {
		return fmt.Errorf("name %q: wanted 1 to 253 characters, seen %d", name, len(name))
	}
	if net.ParseIP(name) != nil {
		return fmt.Errorf("name %q: wanted a DNS name, seen an IP address", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("name %q: wanted labels of 1 to 63 characters that neither begin nor end with a hyphen, seen %q", name, label)
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			case c == '*':
				return fmt.Errorf("name %q: wildcards are not issued; ask for each name", name)
			case c >= 'A' && c <= 'Z':
				return fmt.Errorf("name %q: wanted lower case, seen %q", name, c)
			default:
				return fmt.Errorf("name %q: wanted letters, digits and hyphens, seen %q", name, c)
			}
		}
	}
	return nil
}
