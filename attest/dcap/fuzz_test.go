package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

// addQuotes adds a small quote of each kind and one with a chain.
func addQuotes(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		w, q := kinds[name](f)
		q.CertType, q.CertData, q.AuthData = CertPPIDPlain, make([]byte, 36), nil
		f.Add(append(w.seal(q), 1))
	}
	w := newWorld(f)
	f.Add(w.seal(w.quote()))
	f.Add(make([]byte, MinQuoteSize))
}

func FuzzParseQuote(f *testing.F) {
	addQuotes(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, err := ParseQuote(raw)
		if err != nil {
			return
		}
		if !Recognise(raw) {
			t.Fatal("parsed, but not recognised")
		}
		again, err := q.Marshal()
		if err != nil || !bytes.Equal(again, raw[:len(raw)-q.Trailing]) {
			t.Fatalf("marshal differs: %v", err)
		}
		if signed := q.SignedBytes(); !bytes.Equal(signed, raw[:len(signed)]) || len(signed) != q.signedSize() {
			t.Fatal("other signed bytes")
		}
	})
}

func FuzzVerify(f *testing.F) {
	addQuotes(f)
	w := newTDWorld(f)
	v := NewVerifier(w.root, w.collateral(), false)
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, err := ParseQuote(raw)
		r, verr := v.Verify(raw, now)
		if (err == nil) != (verr == nil) {
			t.Fatalf("parsed: %v, verified: %v", err, verr)
		}
		if err != nil {
			return
		}
		_, _ = q.PCK()
		if r.OK() {
			t.Fatal("a stranger's quote was accepted")
		}
	})
}

func FuzzParseTDReport(f *testing.F) {
	w := newTDWorld(f)
	f.Add(w.tdQuote(Version4, false).TD.Bytes())
	f.Add(w.tdQuote(Version5, true).TD.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseTDReport(b); err == nil && !bytes.Equal(r.Bytes(), b) {
			t.Fatal("bytes differ")
		}
	})
}

func FuzzParsePCKExtension(f *testing.F) {
	w := newWorld(f)
	yes := true
	for _, e := range []PCKExtension{w.ext, {PlatformInstanceID: &[16]byte{1}, Configuration: &PCKConfiguration{DynamicPlatform: &yes}, SGXType: 2}} {
		der, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		e, err := ParsePCKExtension(der)
		if err != nil {
			return
		}
		again, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePCKExtension(again); err != nil {
			t.Fatalf("does not read what it wrote: %v", err)
		}
	})
}

func FuzzTCBInfo(f *testing.F) {
	w := newWorld(f)
	f.Add(w.signJSON("tcbInfo", w.tcbInfo()))
	w.version, w.levels = 2, []map[string]any{levelV2([16]byte{1}, 2, UpToDate)}
	f.Add(w.signJSON("tcbInfo", w.tcbInfo()))
	f.Add([]byte(`{"tcbInfo":{},"signature":""}`))
	td := newTDWorld(f)
	f.Add(td.signJSON("tcbInfo", td.tcbInfo()))
	body, _, _ := splitSigned(td.signJSON("tcbInfo", td.tcbInfo()), "tcbInfo")
	f.Add([]byte(body))
	f.Fuzz(func(_ *testing.T, data []byte) {
		fuzzSigned(data, "tcbInfo", ParseTCBInfo)
	})
}

func FuzzQEIdentity(f *testing.F) {
	w := newWorld(f)
	f.Add(w.signJSON("enclaveIdentity", w.qeIdentity()))
	f.Add([]byte(`{"enclaveIdentity":{"tcbLevels":[{}]},"signature":""}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		fuzzSigned(data, "enclaveIdentity", ParseEnclaveIdentity)
	})
}

// fuzzSigned reads data as a whole document, and as the body of one, since no
// fuzzer finds a signature.
func fuzzSigned[T any](data []byte, member string, parse func([]byte) (T, error)) {
	if body, _, err := splitSigned(data, member); err == nil {
		if !json.Valid(body) {
			panic("a body that is no JSON")
		}
		_, _ = parse(body)
	}
	_, _ = parse(data)
}

func FuzzCRL(f *testing.F) {
	w := newWorld(f)
	der := w.collateral().PCKCRL
	f.Add(der)
	f.Add([]byte(hex.EncodeToString(der)))
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseCRL(data)
		if err != nil {
			return
		}
		_ = list.checkSignedBy(w.ca)
		_ = list.checkNotRevoked(w.pck)
		// The standard library must see the same list.
		std, err := x509.ParseRevocationList(list.der)
		if err != nil {
			return
		}
		if len(std.RevokedCertificateEntries) != list.count || !std.NextUpdate.Equal(list.nextUpdate) || !bytes.Equal(std.RawIssuer, list.issuer) {
			t.Fatalf("another list: %d entries, wanted %d", list.count, len(std.RevokedCertificateEntries))
		}
		for _, e := range std.RevokedCertificateEntries {
			if e.SerialNumber.Sign() > 0 && list.checkNotRevoked(&x509.Certificate{SerialNumber: e.SerialNumber}) == nil {
				t.Fatalf("serial number %x was overlooked", e.SerialNumber)
			}
		}
	})
}

func FuzzChain(f *testing.F) {
	w := newWorld(f)
	f.Add(pemOf(w.pck, w.ca, w.root))
	f.Add(append(pemOf(w.pck), 0))
	a := newAnchor(w.root)
	f.Fuzz(func(_ *testing.T, data []byte) {
		if chain, err := parseChain(data); err == nil {
			_ = a.newPCKChain(chain, nil)
			_ = a.newSigner(data)
		}
	})
}
