package collateral

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest/dcap"
)

func tcb(fmspc, issue, next string, evaluation string) []byte {
	return []byte(`{"tcbInfo":{"id":"SGX","fmspc":"` + fmspc + `","issueDate":"` + issue + `T00:00:00Z","nextUpdate":"` + next +
		`T00:00:00Z","tcbEvaluationDataNumber":` + evaluation + `},"signature":""}`)
}

func TestChoose(t *testing.T) {
	t.Parallel()
	b := new(Bundle)
	old := tcb("00906ED50000", "2025-01-01", "2025-02-01", "19")
	high := tcb("00906ed50000", "2025-03-01", "2025-04-01", "18")
	low := tcb("00906ED50000", "2025-03-10", "2025-04-01", "17")
	newer := tcb("00906ED50000", "2025-03-20", "2025-04-20", "18")
	other := tcb("00606A000000", "2025-03-01", "2025-04-01", "19")
	for _, d := range [][]byte{old, low, high, newer, other, low} {
		if !b.Add(d) {
			t.Fatalf("%s was not recognised", d)
		}
	}
	if n := len(b.Documents()); n != 5 {
		t.Errorf("%d documents, wanted 5", n)
	}
	for _, c := range []struct {
		day  string
		as   Choice
		want []byte
	}{
		{"2025-01-15", "", old}, {"2025-03-05", "", high}, {"2025-03-25", "", newer}, {"2025-03-15", Pinned(17), low},
		{"2025-06-01", "", old}, {"2025-06-01", Pinned(18), newer}, {"2025-03-15", Pinned(16), nil},
	} {
		at, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := b.signed(SGXTCBInfo, "00906ed50000", at, c.as, nil); !bytes.Equal(got, c.want) {
			t.Errorf("at %s, %q: %s, wanted %s", c.day, c.as, got, c.want)
		}
	}
	if got, _ := b.signed(SGXTCBInfo, "000000000000", time.Now(), "", nil); got != nil {
		t.Errorf("an unknown platform got %s", got)
	}
}

func TestParseChoice(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Choice{"": Standard, "standard": Standard, "early": Early, "17": "17", "017": "", "-1": "", "0": "", "late": "", "123456": ""} {
		if got, err := ParseChoice(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; wanted %q", text, got, err, want)
		}
	}
}

func FuzzBundle(f *testing.F) {
	f.Add(tcb("00906ED50000", "2025-01-01", "2025-02-01", "17"))
	f.Add([]byte(`{"tcb_info":"e30=","root_crl":""}`))
	f.Add([]byte(`{"enclaveIdentity":{"id":"QE"}}`))
	f.Add([]byte(`[{"tcb":{},"tcbm":"","cert":"-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0A-----END%20CERTIFICATE-----%0A"}]`))
	f.Add([]byte(`{"documents":[],"format":"hitoku-collateral","version":1}`))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0A-----END%20CERTIFICATE-----%0A"))
	f.Add([]byte(hex.EncodeToString([]byte{0x30, 0})))
	raw, err := (&dcap.Quote{
		Header:   dcap.Header{Version: dcap.Version3, KeyType: dcap.KeyTypeECDSAP256, QEVendorID: dcap.IntelQEVendorID()},
		CertType: dcap.CertPPIDRSA3072, CertData: []byte(strings.Repeat("x", 404)),
	}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	at := time.Unix(1735689600, 0)
	f.Fuzz(func(_ *testing.T, data []byte) {
		b := new(Bundle)
		if !b.Add(data) {
			return
		}
		_ = dcap.NewVerifier(dcap.IntelRoot(), b.DCAP(raw, at), false)
		b.Inspect(nil, at)
		if encoded, err := Encode(b.Documents()); err == nil {
			_, _ = Decode(encoded)
		}
	})
}

func FuzzIssuerHeader(f *testing.F) {
	f.Add("-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0A-----END%20CERTIFICATE-----%0A")
	f.Add("%zz")
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		chain, err := parseIssuerHeader(value)
		if (err == nil) != (len(chain) > 0) || len(chain) > maxChainCerts {
			t.Errorf("%d certificates, %v", len(chain), err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	b := new(Bundle)
	b.Add(tcb("00906ED50000", "2025-01-01", "2025-02-01", "17"))
	seed, err := Encode(b.Documents())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"documents":[],"format":"hitoku-collateral","version":1}`))
	f.Add([]byte(`{"documents":[{"kind":"root-crl","value":"MAA="}],"format":"hitoku-collateral","version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Encode(docs)
		if err != nil || !bytes.Equal(again, bytes.TrimSuffix(data, []byte("\n"))) {
			t.Errorf("decoded, but encoded otherwise: %s", again)
		}
	})
}
