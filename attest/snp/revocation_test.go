package snp_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

func TestRevocation(t *testing.T) {
	t.Parallel()
	w := world()
	milan := w.Line(snp.Milan)
	report := w.Report(snp.Milan, 3)
	raw := w.Sign(report)
	leaf := milan.NewVCEK(report.ChipID, report.ReportedTCB, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4711) })
	own := w.SignWith(report, leaf.Key)
	certs := func(l *snptest.Leaf) [][]byte { return [][]byte{l.Cert.Raw, milan.ASK.Cert.Raw} }
	forged := snptest.New(t, now).Line(snp.Milan)
	good := milan.CRL(now)
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, tc := range map[string]struct {
		raw   []byte
		certs [][]byte
		crls  [][]byte
		at    time.Time
		grace time.Duration
		ok    bool
		rule  bool // whether the rule is made at all
	}{
		"current":               {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now, big.NewInt(99))}, at: now, ok: true, rule: true},
		"none":                  {raw: raw, certs: certs(w.Leaf(report)), at: now, ok: true},
		"of another product":    {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{w.Line(snp.Genoa).CRL(now)}, at: now, ok: true},
		"ASK revoked":           {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now, milan.ASK.Cert.SerialNumber)}, at: now, rule: true},
		"ASVK revoked":          {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now, milan.ASVK.Cert.SerialNumber)}, at: now, ok: true, rule: true},
		"VCEK revoked":          {raw: own, certs: certs(leaf), crls: [][]byte{milan.CRL(now, big.NewInt(4711))}, at: now, rule: true},
		"VCEK not revoked":      {raw: own, certs: certs(leaf), crls: [][]byte{milan.CRL(now, big.NewInt(4712))}, at: now, ok: true, rule: true},
		"revoked on older list": {raw: own, certs: certs(leaf), crls: [][]byte{milan.CRL(now), milan.CRL(now.AddDate(0, 0, -5), big.NewInt(4711))}, at: now, rule: true},
		"stale":                 {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, -90))}, at: now, rule: true},
		"stale with grace":      {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, -90))}, at: now, grace: 48 * time.Hour, ok: true, rule: true},
		"stale beyond grace":    {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, -90))}, at: now, grace: time.Hour, rule: true},
		"from the future":       {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, 2))}, at: now, grace: 48 * time.Hour, rule: true},
		"forged":                {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{forged.CRL(now)}, at: now, rule: true},
		"flipped":               {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{flipped}, at: now, rule: true},
		"not a list":            {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{{1}}, at: now, rule: true},
		"oversized":             {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{make([]byte, 1<<16)}, at: now, rule: true},
		"bytes after its end":   {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{append(slices.Clone(good), 0)}, at: now, rule: true},
	} {
		r := verify(t, tc.raw, snp.Options{At: tc.at, Roots: w.Roots(), Collateral: &snp.Collateral{Certs: tc.certs, CRLs: tc.crls}, Grace: tc.grace})
		made := slices.ContainsFunc(r.Rules, func(rule attest.Rule) bool { return rule.Name == "vcek_revocation" })
		if r.OK() != tc.ok || made != tc.rule {
			t.Errorf("%s: accepted %v, rule made %v: %+v", name, r.OK(), made, r.Rules)
		}
		if !tc.ok && !slices.Equal(failedNames(r), []string{"vcek_revocation"}) {
			t.Errorf("%s: failed %v", name, failedNames(r))
		}
		if tc.ok && tc.rule == r.Claims.CollateralDate.IsZero() {
			t.Errorf("%s: collateral of %v", name, r.Claims.CollateralDate)
		}
		if name == "stale with grace" && !strings.Contains(ruleOf(t, r, "vcek_revocation").Seen, "stale since") {
			t.Errorf("grace is not stated: %+v", r.Rules)
		}
	}
}

// TestRevocationListInEvidence counts, unless the verifier brought its own.
func TestRevocationListInEvidence(t *testing.T) {
	t.Parallel()
	w := world()
	milan := w.Line(snp.Milan)
	report := w.Report(snp.Milan, 3)
	extended := func(crl []byte) []byte {
		table, err := snp.MarshalCertTable([]snp.CertEntry{
			{Kind: snp.CertVCEK, Data: w.Leaf(report).Cert.Raw}, {Kind: snp.CertASK, Data: milan.ASK.Cert.Raw}, {Kind: snp.CertCRL, Data: crl},
		})
		if err != nil {
			t.Fatal(err)
		}
		return append(w.Sign(report), table...)
	}
	clean, revoking := milan.CRL(now), milan.CRL(now, milan.ASK.Cert.SerialNumber)
	r := verify(t, extended(clean), options(w, nil))
	if seen := ruleOf(t, r, "vcek_revocation").Seen; !r.OK() || !strings.Contains(seen, "the evidence carries") {
		t.Errorf("%v, seen %q", failedNames(r), seen)
	}
	if r := verify(t, extended(revoking), options(w, nil)); r.OK() {
		t.Error("a revoking list in the evidence was ignored")
	}
	if r := verify(t, extended(clean), options(w, &snp.Collateral{CRLs: [][]byte{revoking}})); r.OK() {
		t.Error("the evidence's list was preferred to the verifier's")
	}
}

// TestUnusualRevocationLists has lists that only an enemy or a future AMD would make.
func TestUnusualRevocationLists(t *testing.T) {
	t.Parallel()
	w := world()
	l := w.Line(snp.Genoa)
	report := w.Report(snp.Genoa, 3)
	raw := w.Sign(report)
	list := func(edit func(*x509.RevocationList)) []byte {
		tmpl := &x509.RevocationList{Number: big.NewInt(2), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.AddDate(0, 0, 9), SignatureAlgorithm: x509.SHA384WithRSAPSS}
		edit(tmpl)
		der, err := x509.CreateRevocationList(rand.Reader, tmpl, l.ARK.Cert, l.ARK.Key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	// entry revokes the ASK's serial number for certificates of an issuer.
	entry := func(issuer []byte) []byte {
		return list(func(crl *x509.RevocationList) {
			crl.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: l.ASK.Cert.SerialNumber, RevocationTime: now,
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: issuer}},
			}}
		})
	}
	for name, tc := range map[string]struct {
		crls [][]byte
		ok   bool
	}{
		"entry of the issuer":     {[][]byte{entry(l.ASK.Cert.RawIssuer)}, false},
		"entry of another issuer": {[][]byte{entry(w.Line(snp.Milan).ARK.Cert.RawSubject)}, true},
		"critical extension": {[][]byte{list(func(crl *x509.RevocationList) {
			crl.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
		})}, false},
		"another algorithm":        {[][]byte{list(func(crl *x509.RevocationList) { crl.SignatureAlgorithm = x509.SHA384WithRSA })}, false},
		"no next update":           {[][]byte{withoutNextUpdate(t, l)}, false},
		"too many":                 {slices.Repeat([][]byte{l.CRL(now)}, 17), false},
		"PEM":                      {[][]byte{pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: l.CRL(now)})}, true},
		"two in one PEM":           {[][]byte{slices.Repeat(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: l.CRL(now)}), 2)}, false},
		"PEM of another type":      {[][]byte{snptest.PEM(l.ARK.Cert)}, false},
		"oversized PEM":            {[][]byte{pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: make([]byte, 64<<10)})}, false},
		"many blocks":              {[][]byte{slices.Repeat(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1}}), 20)}, false},
		"of no root key":           {[][]byte{otherIssuer(t, l)}, false},
		"broken, and a good one":   {[][]byte{{1}, l.CRL(now)}, false},
		"two, the newer one stale": {[][]byte{l.CRL(now.AddDate(0, 0, -91)), l.CRL(now.AddDate(0, 0, -90))}, false},
	} {
		c := w.Collateral(report)
		c.CRLs = tc.crls
		r := verify(t, raw, options(w, c))
		if r.OK() != tc.ok || !tc.ok && !slices.Equal(failedNames(r), []string{"vcek_revocation"}) {
			t.Errorf("%s: failed %v: %+v", name, failedNames(r), r.Rules)
		}
	}
	// A broken list is told also where there is no certificate to look up.
	r := verify(t, raw, options(w, &snp.Collateral{CRLs: [][]byte{{1}}}))
	if ruleOf(t, r, "vcek_revocation").OK {
		t.Error("a broken list passed")
	}
}

// withoutNextUpdate makes an authentic list that never ends.
func withoutNextUpdate(t testing.TB, l *snptest.Line) []byte {
	t.Helper()
	var crl pkix.CertificateList // the only type that can leave the date out
	if _, err := asn1.Unmarshal(l.CRL(now), &crl); err != nil {
		t.Fatal(err)
	}
	crl.TBSCertList.NextUpdate, crl.TBSCertList.Raw = time.Time{}, nil
	tbs, err := asn1.Marshal(crl.TBSCertList)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha512.Sum384(tbs)
	sig, err := rsa.SignPSS(rand.Reader, l.ARK.Key, crypto.SHA384, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		t.Fatal(err)
	}
	crl.TBSCertList.Raw, crl.SignatureValue = tbs, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	der, err := asn1.Marshal(crl)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// otherIssuer makes a list of an authority that is no root key.
func otherIssuer(t testing.TB, l *snptest.Line) []byte {
	t.Helper()
	ca := l.Authority("SEV-Genoa", 5, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign })
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.AddDate(0, 0, 1), SignatureAlgorithm: x509.SHA384WithRSAPSS}, ca.Cert, ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
