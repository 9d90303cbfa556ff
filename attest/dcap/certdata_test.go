package dcap

import (
	"bytes"
	"crypto/x509"
	"testing"

	"hitoku.dev/attest"
)

func TestPCK(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	q := w.tdQuote(Version4, false)
	q.Header.UserData = [20]byte{1, 2, 15: 16, 16: 17}
	p, err := q.PCK()
	if err != nil {
		t.Fatal(err)
	}
	if p.TEE != attest.TDX || p.FMSPC != "00906ed50001" || p.CA != CAPlatform || len(p.Chain) != 3 || p.Extension.PPID != w.ext.PPID || p.QEID != [16]byte{1, 2, 15: 16} {
		t.Errorf("%+v", p)
	}
	q = w.quote()
	q.CertType, q.CertData = CertPCKLeaf, pemOf(w.pck)
	if p, err = q.PCK(); err != nil || p.TEE != attest.SGX || len(p.Chain) != 1 || p.FMSPC == "" {
		t.Errorf("type 4: %+v, %v", p, err)
	}

	// CPUSVN 9…, PCESVN 0x0102, PCEID 0x0304, little-endian.
	tail := append(bytes.Repeat([]byte{9}, 16), 2, 1, 4, 3)
	for kind, n := range map[CertType]int{CertPPIDPlain: 16, CertPPIDRSA2048: 256, CertPPIDRSA3072: 384} {
		id := bytes.Repeat([]byte{7}, n)
		q.CertType, q.CertData = kind, append(bytes.Clone(id), tail...)
		p, err := q.PCK()
		if err != nil {
			t.Errorf("type %d: %v", kind, err)
			continue
		}
		got := p.EncryptedPPID
		if kind == CertPPIDPlain {
			got = p.PPID
		}
		if !bytes.Equal(got, id) || p.CPUSVN[15] != 9 || p.PCESVN != 0x102 || p.PCEID == nil || *p.PCEID != [2]byte{3, 4} || p.Chain != nil || p.FMSPC != "" {
			t.Errorf("type %d: %+v", kind, p)
		}
		q.CertData = q.CertData[:n+18]
		if p, err := q.PCK(); err != nil || p.PCEID != nil {
			t.Errorf("type %d without PCEID: %+v, %v", kind, p, err)
		}
		q.CertData = q.CertData[:n]
		if _, err := q.PCK(); err == nil {
			t.Errorf("type %d: cut certification data were read", kind)
		}
	}
	for kind, data := range map[CertType][]byte{CertPCKChain: []byte("no PEM"), CertPCKLeaf: pemOf(w.ca), CertQEReport: nil, CertPlatformManifest: nil, 99: nil} {
		q.CertType, q.CertData = kind, data
		if _, err := q.PCK(); err == nil {
			t.Errorf("type %d: read", kind)
		}
	}
}

func TestPCKCA(t *testing.T) {
	t.Parallel()
	for cn, want := range map[string]string{"Intel SGX PCK Platform CA": CAPlatform, "Intel SGX PCK Processor CA": CAProcessor, "Somebody": ""} {
		c := new(x509.Certificate)
		c.Issuer.CommonName = cn
		if got := PCKCA(c); got != want {
			t.Errorf("%s: %q, wanted %q", cn, got, want)
		}
	}
}
