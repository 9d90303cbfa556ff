package verify

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
	old := tcb("00906ED50000", "2025-01-01", "2025-02-01", "17")
	early := tcb("00906ed50000", "2025-03-01", "2025-04-01", "18")
	standard := tcb("00906ED50000", "2025-03-01", "2025-04-01", "17")
	other := tcb("00606A000000", "2025-03-01", "2025-04-01", "19")
	for _, d := range [][]byte{old, standard, early, other} {
		if !b.add(d) {
			t.Fatalf("%s was not recognised", d)
		}
	}
	for day, want := range map[string][]byte{"2025-01-15": old, "2025-03-15": early, "2025-06-01": early, "2024-01-01": early} {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got := choose(b.tcbInfos, "00906ed50000", at); !bytes.Equal(got, want) {
			t.Errorf("at %s: %s, wanted %s", day, got, want)
		}
	}
	if got := choose(b.tcbInfos, "000000000000", time.Now()); got != nil {
		t.Errorf("an unknown platform got %s", got)
	}
}

func FuzzBundle(f *testing.F) {
	f.Add(tcb("00906ED50000", "2025-01-01", "2025-02-01", "17"))
	f.Add([]byte(`{"tcb_info":"e30=","root_crl":""}`))
	f.Add([]byte(`{"enclaveIdentity":{"id":"QE"}}`))
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
	f.Fuzz(func(_ *testing.T, data []byte) {
		b := new(Bundle)
		if b.add(data) {
			c := b.Select(raw, time.Unix(1735689600, 0))
			_ = dcap.NewVerifier(dcap.IntelRoot(), c, false)
		}
	})
}
