package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"testing"
)

func TestRealQuotesRoundTrip(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	files, _ := filepath.Glob(filepath.Join(dir, "*/quotes/*.bin"))
	if len(files) < 42 {
		t.Fatalf("%d quotes, wanted 42", len(files))
	}
	for _, f := range files {
		raw := readEvidence(t, "", f)
		q, err := ParseQuote(raw)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		again, err := q.Marshal()
		if err != nil || !bytes.Equal(again, raw[:len(raw)-q.Trailing]) {
			t.Errorf("%s: marshal differs: %v", f, err)
		}
		block, _ := pem.Decode(q.CertData)
		if block == nil {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Logf("%s: %v", f, err) // a broken certificate is for Verify to refuse
			continue
		}
		e, err := PCKExtensionOf(cert)
		if err != nil {
			t.Logf("%s: %v", f, err)
			continue
		}
		for _, x := range cert.Extensions {
			if x.Id.Equal(OIDSGXExtension) {
				der, err := e.Marshal()
				if err != nil || !bytes.Equal(der, x.Value) {
					t.Errorf("%s: extension marshal differs: %v", f, err)
				}
			}
		}
	}
}
