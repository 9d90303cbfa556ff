package guest

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/measure/workload"
)

// issued is a certificate that passed every check, with its key.
type issued struct {
	key   crypto.Signer
	chain []*x509.Certificate // leaf, zone CA, account root
}

// wanted is what a reply is held against.
type wanted struct {
	accountRoot string // SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal
	key         crypto.Signer
	names       []string
	now         time.Time
}

const maxChain = 8 // certificates read from one reply

// checkIssued judges what came back: the chain must lead to the measured
// account root (security decision S4), and the leaf must be for this key, these
// names, this use and this time. It returns a [*refusedCertificate] with every
// rule that failed.
func checkIssued(certificate, root string, want wanted) (*issued, error) {
	leaf, zone, account, err := parseIssued(certificate, root)
	if err != nil {
		return nil, err
	}
	var failed []attest.Rule
	rule := func(ok bool, name, wanted, seen, advice string) {
		if !ok {
			failed = append(failed, attest.Rule{Name: name, Wanted: wanted, Seen: seen, Advice: advice})
		}
	}
	hash := attest.SPKIHash(account.RawSubjectPublicKeyInfo)
	rule(hex.EncodeToString(hash[:]) == want.accountRoot, "account_root", "the measured account root "+want.accountRoot, hex.EncodeToString(hash[:]),
		"this node belongs to another account, or the image was converted for another one")
	chainErr := verifyChain(leaf, zone, account, want.now)
	rule(chainErr == nil, "chain", "leaf, zone CA and account root that verify now", errText(chainErr), "compare the clocks of this machine and of the manager")
	rule(samePublic(leaf, want.key), "leaf_key", "the key that was made here", "another key", "")
	rule(!leaf.IsCA, "leaf_ca", "no CA certificate", "a CA certificate", "")
	rule(slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && hasUnknownEKU(leaf, attest.OIDAttestedAppEKU.String()), "leaf_eku",
		"extended key usages serverAuth and attested application", fmt.Sprint(leaf.ExtKeyUsage, leaf.UnknownExtKeyUsage), "")
	for _, name := range want.names {
		rule(slices.Contains(leaf.DNSNames, name), "leaf_names", name, strings.Join(leaf.DNSNames, ", "), "approve the name for this application")
	}
	if len(failed) > 0 {
		return nil, &refusedCertificate{what: "certificate from the node agent", status: "not accepted", rules: failed}
	}
	return &issued{key: want.key, chain: []*x509.Certificate{leaf, zone, account}}, nil
}

func parseIssued(certificate, root string) (leaf, zone, account *x509.Certificate, err error) {
	given, err := parsePEM(certificate)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("certificate from the node agent: %w", err)
	}
	if len(given) != 2 {
		return nil, nil, nil, fmt.Errorf("certificate from the node agent: %d certificates, wanted leaf and zone CA", len(given))
	}
	roots, err := parsePEM(root)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("account root from the node agent: %w", err)
	}
	if len(roots) != 1 {
		return nil, nil, nil, fmt.Errorf("account root from the node agent: %d certificates, wanted 1", len(roots))
	}
	return given[0], given[1], roots[0], nil
}

func parsePEM(text string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("not PEM of certificates")
		}
		if len(out) == maxChain {
			return nil, fmt.Errorf("more than %d certificates", maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func verifyChain(leaf, zone, account *x509.Certificate, now time.Time) error {
	if err := account.CheckSignatureFrom(account); err != nil {
		return fmt.Errorf("account root: %w", err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(account)
	between.AddCert(zone)
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(chains, func(c []*x509.Certificate) bool { return len(c) == 3 }) {
		return errors.New("the zone CA is not part of the chain")
	}
	return nil
}

func samePublic(leaf *x509.Certificate, key crypto.Signer) bool {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return err == nil && bytes.Equal(der, leaf.RawSubjectPublicKeyInfo)
}

func hasUnknownEKU(leaf *x509.Certificate, oid string) bool {
	for _, u := range leaf.UnknownExtKeyUsage {
		if u.String() == oid {
			return true
		}
	}
	return false
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// halfLife is when the certificate is renewed (security decision S6).
func (i *issued) halfLife() time.Time {
	leaf := i.chain[0]
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

func (i *issued) files() (files, error) {
	key, err := encodeKey(i.key)
	if err != nil {
		return files{}, err
	}
	return files{key: key, cert: encodePEM(i.chain[:2]), chain: encodePEM(i.chain[1:])}, nil
}

func (i *issued) tls() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{i.chain[0].Raw, i.chain[1].Raw}, PrivateKey: i.key, Leaf: i.chain[0]}
}

func encodePEM(chain []*x509.Certificate) []byte {
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// names are the DNS names that c asks for, the subject first.
func names(c *workload.Certificate) []string {
	out := []string{c.Subject}
	for _, n := range c.AltNames {
		if name := strings.TrimPrefix(n, "DNS:"); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
