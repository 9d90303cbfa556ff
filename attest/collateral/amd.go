package collateral

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest/snp"
)

// amdProduct reads the names of AMD's authorities, "ARK-Milan", "SEV-Milan" or
// "SEV-VLEK-Milan", as "milan". Other names give nothing.
func amdProduct(cn string) string {
	for _, prefix := range []string{"SEV-VLEK-", "SEV-", "ARK-"} {
		if name, ok := strings.CutPrefix(cn, prefix); ok && snp.Product(name).Known() {
			return strings.ToLower(name)
		}
	}
	return ""
}

// amdLeafSubject is product-chip-TCB of a VCEK, product-provider-TCB of a VLEK.
func amdLeafSubject(e *snp.Endorsement) string {
	who := e.CSP
	if e.Key == snp.VCEK {
		who = fmt.Sprintf("%x", e.HWID)
	}
	return fmt.Sprintf("%s-%s-%016x", strings.ToLower(string(e.Product)), who, uint64(e.TCB))
}

// maxOthers bounds the certificates for other chips or TCBs that [Bundle.SNP] returns.
const maxOthers = 16

// SNP returns the certificates and revocation lists for a SEV-SNP report at a
// time, as far as the bundle has them: every VCEK or VLEK certificate for its
// chip and TCB, AMD's authorities, and the lists valid then or, where there are
// none, the newest. Where no certificate fits, a few others are there, so that a
// verifier can say what is wrong with them. It verifies nothing.
func (b *Bundle) SNP(report *snp.Report, at time.Time) *snp.Collateral {
	c := new(snp.Collateral)
	product := strings.ToLower(string(report.Product()))
	certs := b.certificates()
	var others [][]byte
	for _, d := range certs {
		if d.Kind != VCEK && d.Kind != VLEK {
			continue
		}
		if e, err := snp.ParseEndorsement(d.cert); err == nil && e.Matches(report) {
			c.Certs = append(c.Certs, d.Raw)
			product = strings.ToLower(string(e.Product))
		} else if len(others) < maxOthers {
			others = append(others, d.Raw)
		}
	}
	if len(c.Certs) == 0 {
		c.Certs = others
	}
	of := func(cn string) bool { p := amdProduct(cn); return p != "" && (product == "" || p == product) }
	for _, d := range certs {
		if d.Kind == Authority && of(d.cert.Subject.CommonName) {
			c.Certs = append(c.Certs, d.Raw)
		}
	}
	var lists []*Document
	valid := 0
	for _, d := range b.of(AMDCRL, "") {
		if !of(d.crl.Issuer.CommonName) {
			continue
		}
		lists = append(lists, d)
		if d.validAt(at) {
			c.CRLs = append(c.CRLs, d.Raw)
			valid++
		}
	}
	if d := best(lists, at); d != nil && valid == 0 {
		c.CRLs = [][]byte{d.Raw}
	}
	return c
}

// evidenceKey says which product and key a report needs, and whether its
// certificate travelled with it. Reports of version 2 do not name their product.
func evidenceKey(e *snp.Evidence) (products []snp.Product, key snp.SigningKey, have bool, err error) {
	key = e.Report.KeyInfo.SigningKey()
	if key != snp.VCEK && key != snp.VLEK {
		return nil, key, false, errors.New("the report is signed by no key, so there are no certificates for it")
	}
	b := new(Bundle)
	for _, raw := range e.Certs {
		b.Add(raw)
	}
	for _, d := range b.documents {
		if d.cert == nil {
			continue
		}
		if end, err := snp.ParseEndorsement(d.cert); err == nil && end.Matches(e.Report) {
			return []snp.Product{end.Product}, key, true, nil
		}
	}
	if p := e.Report.Product(); p != "" {
		return []snp.Product{p}, key, false, nil
	}
	return []snp.Product{snp.Milan, snp.Genoa}, key, false, nil
}

// rootOf returns the root of a product among roots.
func rootOf(p snp.Product, roots []*x509.Certificate) *x509.Certificate {
	for _, r := range roots {
		if r.Subject.CommonName == "ARK-"+string(p) {
			return r
		}
	}
	return nil
}
