package collateral_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

// loose is every document of a platform as loose files in every form.
func (s *setup) loose() map[string][]byte {
	c, td := s.p.Collateral(attest.SGX), s.p.Collateral(attest.TDX)
	pck := strings.SplitAfter(string(c.PCKChain), "-----END CERTIFICATE-----\n")[0]
	answer, err := json.Marshal([]map[string]string{{"tcbm": "00", "cert": "Not available"}, {"tcbm": "01", "cert": url.PathEscape(pck)}})
	if err != nil {
		s.t.Fatal(err)
	}
	return map[string][]byte{
		"a": c.TCBInfo, "b/c": append([]byte("\n"), td.TCBInfo...), "d": c.QEIdentity, "e": td.QEIdentity, "f": s.world.Identity("QVE", 17),
		"g": c.PCKCRL, "h": []byte(strings.ToUpper(hexOf(c.RootCRL))), "i": []byte(url.PathEscape(string(c.TCBInfoChain))), "j": c.PCKCRLChain,
		"k": answer, "l": s.world.EvaluationNumbers(attest.SGX), "README": []byte("nothing"), "m.json": []byte(`{"a":1}`), "n": nil,
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func (s *setup) folder() *collateral.Bundle {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, raw := range s.loose() {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	b, err := collateral.Load(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *setup) accepted(b *collateral.Bundle) {
	s.t.Helper()
	for name, quote := range map[string][]byte{"sgx": s.p.Quote(attest.SGX), "tdx": s.p.Quote(attest.TDX), "sgx by PPID": s.p.QuoteByPPID()} {
		r, err := dcap.Verify(quote, dcap.Options{Root: s.world.Root(), Collateral: b.DCAP(quote, now()), At: now()})
		if err != nil || !r.OK() || r.Claims.TCB.Overall != dcap.UpToDate {
			s.t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
}

func TestFolderExportImport(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	roots := []*x509.Certificate{s.world.Root()}
	b := s.folder()
	s.accepted(b)
	docs, err := b.Verified(roots, now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := collateral.Encode(docs)
	if err != nil {
		t.Fatal(err)
	}
	again, err := collateral.Decode(append(raw, '\n'))
	if err != nil {
		t.Fatal(err)
	}
	exported := collateral.NewBundle(again)
	s.accepted(exported)
	for _, e := range exported.Inspect(roots, now()) {
		if e.State != collateral.Fresh {
			t.Errorf("%+v", e)
		}
	}
	// Imported, it serves a source without network, standard numbers too.
	taken, err := exported.Verified(roots, now())
	if err != nil {
		t.Fatal(err)
	}
	cache, err := collateral.OpenCache(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	if err := cache.Put(taken...); err != nil {
		t.Fatal(err)
	}
	for _, quote := range [][]byte{s.p.Quote(attest.SGX), s.p.Quote(attest.TDX), s.p.QuoteByPPID()} {
		if failed, _, err := s.judge(s.source(offline), quote); err != nil || len(failed) > 0 {
			t.Errorf("imported: %v, failed %v", err, failed)
		}
	}
	// Nothing is taken that no named root verified, and nothing that was not verified at all.
	other := newSetup(t)
	if _, err := exported.Verified([]*x509.Certificate{other.world.Root()}, now()); err == nil {
		t.Error("verified under another root")
	}
	if _, err := exported.Verified(nil, now()); err == nil {
		t.Error("verified under no root")
	}
	if err := cache.Put(again...); err == nil {
		t.Error("a document that nobody verified was stored")
	}
	if _, err := new(collateral.Bundle).Verified(roots, now()); err == nil {
		t.Error("an empty bundle was taken")
	}
}

// TestBundleFlipped changes each byte of an exported bundle: what is still read is
// refused by the verification, unless it is what the file says for people.
func TestBundleFlipped(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	roots := []*x509.Certificate{s.world.Root()}
	docs, err := s.folder().Verified(roots, now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := collateral.Encode(docs[:2])
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		flipped := bytes.Clone(raw)
		flipped[i] ^= 1
		got, err := collateral.Decode(flipped)
		if err != nil {
			continue
		}
		if _, err := collateral.NewBundle(got).Verified(roots, now()); err == nil {
			t.Errorf("byte %d (%q) changed, and the bundle was taken", i, raw[max(0, i-20):i+1])
		}
	}
	for n := range raw {
		if _, err := collateral.Decode(raw[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes, and read", n, len(raw))
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	doc := func(members string) string {
		return `{"documents":[{` + members + `}],"format":"hitoku-collateral","version":1}`
	}
	crl, err := json.Marshal(s.world.CRL(""))
	if err != nil {
		t.Fatal(err)
	}
	good := doc(`"kind":"root-crl","value":` + string(crl))
	if _, err := collateral.Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for says, text := range map[string]string{
		"no pck-crl":         doc(`"kind":"pck-crl","value":` + string(crl)),
		"is no x":            doc(`"kind":"x","value":` + string(crl)),
		"subject":            doc(`"kind":"root-crl","subject":"platform","value":` + string(crl)),
		"does not fit":       doc(`"choice":"early","kind":"root-crl","value":` + string(crl)),
		"no certificate":     doc(`"chain":["MAA="],"kind":"root-crl","value":` + string(crl)),
		"hexadecimal digits": doc(`"kind":"root-crl","root":"AB","value":` + string(crl)),
		"canonical":          strings.Replace(good, `"kind"`, ` "kind"`, 1),
		"version 2":          strings.Replace(good, `"version":1`, `"version":2`, 1),
		`format "other"`:     strings.Replace(good, "hitoku-collateral", "other", 1),
		"unknown field":      strings.Replace(good, `"version":1`, `"version":1,"x":1`, 1),
		"not in canonical":   good + "{}",
		"EOF":                "",
		"invalid character":  "x",
		"in the chain":       doc(`"chain":[` + strings.Repeat(`"MAA=",`, 8) + `"MAA="],"kind":"root-crl","value":` + string(crl)),
	} {
		if _, err := collateral.Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, wanted %q", err, says)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 17<<20); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{text: "no collateral", dir: "no file in it", filepath.Join(dir, "none"): "no such file", big: "too long"} {
		if _, err := collateral.Load(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, wanted %q", path, err, says)
		}
	}
}

// TestLoadLinks: folders of mounted secrets hold links to their files.
func TestLoadLinks(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	file, dir := filepath.Join(t.TempDir(), "tcb.json"), t.TempDir()
	if err := os.WriteFile(file, s.p.Collateral(attest.SGX).TCBInfo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"file": file, "folder": t.TempDir(), "nowhere": filepath.Join(dir, "none")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skip("symbolic links cannot be made here:", err)
		}
	}
	if b, err := collateral.Load(dir); err != nil || len(b.Documents()) != 1 {
		t.Errorf("%v %v", err, b)
	}
}

func TestWholeSet(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	set := s.p.Collateral(attest.SGX)
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	b := new(collateral.Bundle)
	if !b.Add(raw) {
		t.Fatal("a whole set was not recognised")
	}
	quote := s.p.Quote(attest.SGX)
	if got := b.DCAP(quote, now()); !bytes.Equal(got.TCBInfo, set.TCBInfo) || !bytes.Equal(got.PCKChain, set.PCKChain) {
		t.Error("the set was changed")
	}
	// With more beside it, the parts are chosen.
	td, err := json.Marshal(s.p.Collateral(attest.TDX))
	if err != nil || !b.Add(td) {
		t.Fatal("a second set was not recognised", err)
	}
	s.accepted(b)
	if len(b.Certs()) < 4 || len(b.CRLs()) < 2 {
		t.Errorf("%d certificates, %d lists", len(b.Certs()), len(b.CRLs()))
	}
	if b.SNP(&snp.Report{Version: 3}, now()) == nil {
		t.Error("nil for a report without collateral")
	}
}
