package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"hitoku.dev/attest/dcap"
)

// Limits on a folder of collateral.
const (
	maxBundleFiles = 4096
	maxBundleFile  = 1 << 20
)

// Bundle is collateral as it lies in files: one complete set, or a heap of what
// the maker's service answered, from which the parts for one platform and time
// are chosen. Nothing of it is verified here.
type Bundle struct {
	complete   *dcap.Collateral
	tcbInfos   []document
	identities []document
	crls       []*x509.RevocationList
	certs      []*x509.Certificate
}

// document is a signed JSON document with what chooses it.
type document struct {
	raw         []byte
	FMSPC       string
	issue, next time.Time
	evaluation  int
}

// LoadBundle reads collateral from a JSON file of [dcap.Collateral], or from a
// folder of files as Intel's service answers them, in any mix and under any names.
func LoadBundle(path string) (*Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	b := new(Bundle)
	if info.IsDir() {
		return b, b.folder(path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(raw) > 4*maxBundleFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d allowed", path, len(raw), 4*maxBundleFile)
	}
	if !b.add(raw) {
		return nil, fmt.Errorf("%s: no collateral; wanted a JSON file of a whole set, or a folder with the service's answers", path)
	}
	return b, nil
}

func (b *Bundle) folder(path string) error {
	files, known := 0, 0
	root := os.DirFS(path)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if files++; files > maxBundleFiles {
			return fmt.Errorf("more than %d files", maxBundleFiles)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxBundleFile {
			return nil
		}
		raw, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if b.add(raw) {
			known++
		}
		return nil
	})
	if err == nil && known == 0 {
		err = errors.New("no file in it is collateral")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// add recognises a file by its content.
func (b *Bundle) add(raw []byte) bool {
	text := bytes.TrimSpace(raw)
	if bytes.HasPrefix(text, []byte("-----BEGIN%20")) { // a header's value
		plain, err := url.PathUnescape(string(text))
		if err != nil {
			return false
		}
		text = []byte(plain)
	}
	switch {
	case bytes.HasPrefix(text, []byte("{")):
		return b.addJSON(text)
	case bytes.HasPrefix(text, []byte("-----BEGIN ")):
		return b.addPEM(text)
	}
	der := raw
	if plain, err := hex.DecodeString(string(text)); err == nil {
		der = plain
	}
	if crl, err := x509.ParseRevocationList(der); err == nil {
		b.crls = append(b.crls, crl)
		return true
	}
	if certs, err := x509.ParseCertificates(der); err == nil && len(certs) > 0 {
		b.certs = append(b.certs, certs...)
		return true
	}
	return false
}

func (b *Bundle) addPEM(text []byte) bool {
	found := false
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return found
		}
		text = rest
		switch block.Type {
		case "CERTIFICATE":
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
				b.certs, found = append(b.certs, cert), true
			}
		case "X509 CRL":
			if crl, err := x509.ParseRevocationList(block.Bytes); err == nil {
				b.crls, found = append(b.crls, crl), true
			}
		}
	}
}

type peek struct {
	ID         string    `json:"id"`
	FMSPC      string    `json:"fmspc"`
	IssueDate  time.Time `json:"issueDate"`
	NextUpdate time.Time `json:"nextUpdate"`
	Evaluation int       `json:"tcbEvaluationDataNumber"`
}

func (b *Bundle) addJSON(text []byte) bool {
	var file struct {
		TCBInfo  *peek `json:"tcbInfo"`
		Identity *peek `json:"enclaveIdentity"`
	}
	if err := json.Unmarshal(text, &file); err == nil {
		if p := file.TCBInfo; p != nil {
			// Version 2 has no id and is of SGX.
			if p.ID == "SGX" || p.ID == "" {
				b.tcbInfos = append(b.tcbInfos, document{text, strings.ToLower(p.FMSPC), p.IssueDate, p.NextUpdate, p.Evaluation})
			}
			return true
		}
		if p := file.Identity; p != nil {
			if p.ID == "QE" {
				b.identities = append(b.identities, document{text, "", p.IssueDate, p.NextUpdate, p.Evaluation})
			}
			return true
		}
	}
	var whole dcap.Collateral
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if dec.Decode(&whole) != nil || len(whole.TCBInfo) == 0 || b.complete != nil {
		return false
	}
	b.complete = &whole
	return true
}

// Select returns the collateral for a quote at a time, as far as the bundle has
// it: of several parts that fit, the one that is valid then, and of those the one
// issued last.
func (b *Bundle) Select(quote []byte, at time.Time) *dcap.Collateral {
	if b.complete != nil {
		return b.complete
	}
	c := new(dcap.Collateral)
	q, err := dcap.ParseQuote(quote)
	if err != nil {
		return c
	}
	leaf, fmspc := b.platform(q, c)
	c.TCBInfo = choose(b.tcbInfos, fmspc, at)
	c.QEIdentity = choose(b.identities, "", at)
	c.TCBInfoChain = b.signerChain(at)
	c.QEIdentityChain = c.TCBInfoChain
	if leaf != nil {
		c.PCKCRL = b.crl(leaf.RawIssuer, at)
		if ca := b.issuer(leaf); ca != nil {
			c.RootCRL = b.crl(ca.RawIssuer, at)
			c.PCKCRLChain = encode(ca)
		} else if chain := parsePEM(q.CertData); len(chain) > 1 {
			c.RootCRL = b.crl(chain[1].RawIssuer, at)
		}
	}
	return c
}

// platform finds the PCK certificate of a quote, in the quote or among the files.
func (b *Bundle) platform(q *dcap.Quote, c *dcap.Collateral) (leaf *x509.Certificate, fmspc string) {
	if chain := parsePEM(q.CertData); len(chain) > 0 {
		leaf = chain[0]
	} else {
		for _, cert := range b.certs {
			if _, err := dcap.PCKExtensionOf(cert); err != nil {
				continue
			}
			leaf = cert
			chain := []*x509.Certificate{cert}
			if ca := b.issuer(cert); ca != nil {
				chain = append(chain, ca)
			}
			c.PCKChain = encode(chain...)
			break
		}
	}
	if leaf == nil {
		return nil, ""
	}
	ext, err := dcap.PCKExtensionOf(leaf)
	if err != nil {
		return leaf, ""
	}
	return leaf, hex.EncodeToString(ext.FMSPC[:])
}

func choose(list []document, fmspc string, at time.Time) []byte {
	var best *document
	valid := func(d *document) bool { return !at.Before(d.issue) && !at.After(d.next) }
	for i := range list {
		d := &list[i]
		if d.FMSPC != fmspc {
			continue
		}
		switch {
		case best == nil, valid(d) && !valid(best):
			best = d
		case valid(d) == valid(best) && (d.issue.After(best.issue) || d.issue.Equal(best.issue) && d.evaluation > best.evaluation):
			best = d
		}
	}
	if best == nil {
		return nil
	}
	return best.raw
}

// signerChain returns the certificate that signs collateral: no authority, no
// PCK certificate, issued by the issuer of authorities.
func (b *Bundle) signerChain(at time.Time) []byte {
	var best *x509.Certificate
	valid := func(c *x509.Certificate) bool { return !at.Before(c.NotBefore) && !at.After(c.NotAfter) }
	for _, cert := range b.certs {
		if _, err := dcap.PCKExtensionOf(cert); cert.IsCA || err == nil {
			continue
		}
		if best == nil || valid(cert) && (!valid(best) || cert.NotBefore.After(best.NotBefore)) {
			best = cert
		}
	}
	if best == nil {
		return nil
	}
	return encode(best)
}

func (b *Bundle) issuer(leaf *x509.Certificate) *x509.Certificate {
	for _, cert := range b.certs {
		if cert.IsCA && bytes.Equal(cert.RawSubject, leaf.RawIssuer) && leaf.CheckSignatureFrom(cert) == nil {
			return cert
		}
	}
	return nil
}

func (b *Bundle) crl(issuer []byte, at time.Time) []byte {
	var best *x509.RevocationList
	valid := func(c *x509.RevocationList) bool { return !at.Before(c.ThisUpdate) && !at.After(c.NextUpdate) }
	for _, crl := range b.crls {
		if !bytes.Equal(crl.RawIssuer, issuer) {
			continue
		}
		if best == nil || valid(crl) && (!valid(best) || crl.ThisUpdate.After(best.ThisUpdate)) {
			best = crl
		}
	}
	if best == nil {
		return nil
	}
	return best.Raw
}

func parsePEM(text []byte) []*x509.Certificate {
	chain, err := certificates(bytes.TrimRight(text, "\x00"))
	if err != nil {
		return nil
	}
	return chain
}

func encode(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
