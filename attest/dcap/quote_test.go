package dcap

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// TestQuoteFormat has one case for each way in which bytes are not a quote.
func TestQuoteFormat(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	u16 := func(at int, v uint16) func(b []byte) { return func(b []byte) { le.PutUint16(b[at:], v) } }
	u32 := func(at int, v uint32) func(b []byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	const (
		v5Body = HeaderSize
		v3Sig  = HeaderSize + ReportBodySize
		v3Auth = v3Sig + 4 + 64 + 64 + ReportBodySize + 64
		v4Sig  = HeaderSize + TDReportSize
		v4Cert = v4Sig + 4 + 64 + 64
	)
	cases := map[string]struct {
		kind      string
		edit      func(b []byte)
		header    bool // the header alone tells
		truncated int
	}{
		"version 2":                  {"SGX v3", u16(0, 2), true, 0},
		"version 6":                  {"SGX v3", u16(0, 6), true, 0},
		"key type 3":                 {"TDX v4", u16(2, 3), true, 0},
		"TEE type in version 3":      {"SGX v3", u32(4, TEETypeTDX), true, 0},
		"unknown TEE type":           {"TDX v4", u32(4, 0x82), true, 0},
		"vendor":                     {"TDX v4", func(b []byte) { b[12] ^= 1 }, true, 0},
		"too short":                  {"SGX v3", nil, true, MinQuoteSize - 1},
		"body cut":                   {"TDX v5 1.5", nil, false, 0},
		"SGX body in TDX":            {"TDX v5 1.0", u16(v5Body, bodySGX), false, 0},
		"TDX body in SGX":            {"SGX v5", u16(v5Body, bodyTDX15), false, 0},
		"body type 4":                {"TDX v5 1.5", u16(v5Body, 4), false, 0},
		"body of other length":       {"TDX v5 1.5", u32(v5Body+2, TDReportSize), false, 0},
		"signature data too long":    {"SGX v3", u32(v3Sig, 1<<31), false, 0},
		"signature data too short":   {"SGX v3", u32(v3Sig, 64), false, 0},
		"signature data a byte less": {"SGX v3", func(b []byte) { le.PutUint32(b[v3Sig:], le.Uint32(b[v3Sig:])-1) }, false, 0},
		"authentication data":        {"SGX v3", u16(v3Auth, 0xffff), false, 0},
		"certification data":         {"SGX v3", u32(v3Auth+2+19+2, 0xffffffff), false, 0},
		"outer type 5":               {"TDX v4", u16(v4Cert, 5), false, 0},
		"outer length":               {"TDX v4", u32(v4Cert+2, 10), false, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, q := kinds[tc.kind](t)
			b := w.seal(q)
			switch {
			case tc.edit != nil:
				tc.edit(b)
			case tc.truncated > 0:
				b = b[:tc.truncated]
			default:
				b = b[:MinQuoteSize]
			}
			if _, err := ParseQuote(b); !errors.Is(err, ErrFormat) {
				t.Errorf("error %v, wanted ErrFormat", err)
			}
			if got := Recognise(b); got == tc.header {
				t.Errorf("recognised: %v", got)
			}
		})
	}
	if Recognise(nil) || Recognise(make([]byte, MaxQuoteSize+1)) {
		t.Error("nothing was recognised as a quote")
	}
	// A certification data type 6 that is too small for what is in it.
	w, q := kinds["TDX v4"](t)
	b := w.seal(q)[:v4Cert+6+100]
	b = append(b, make([]byte, MinQuoteSize)...)
	le.PutUint32(b[v4Sig:], 64+64+6+100)
	le.PutUint32(b[v4Cert+2:], 100)
	if _, err := ParseQuote(b); !errors.Is(err, ErrFormat) {
		t.Errorf("small type 6: %v", err)
	}
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	for name, edit := range map[string]func(q *Quote){
		"version":             func(q *Quote) { q.Header.Version = 7 },
		"TDX body in SGX":     func(q *Quote) { q.Header.TEEType = TEETypeSGX },
		"SGX body in TDX":     func(q *Quote) { q.TD = nil },
		"TDX 1.5 in v4":       func(q *Quote) { q.TD.TDX15 = true },
		"certification data":  func(q *Quote) { q.CertData = make([]byte, maxCertData+1) },
		"authentication data": func(q *Quote) { q.AuthData = make([]byte, 1<<16) },
	} {
		q := w.tdQuote(Version4, false)
		edit(q)
		if _, err := q.Marshal(); err == nil {
			t.Errorf("%s: marshalled", name)
		}
	}
}

func TestQuotesRoundTrip(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		w, q := kind(t)
		raw := w.seal(q)
		again, err := ParseQuote(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := again.Marshal()
		if err != nil || !slices.Equal(b, raw) {
			t.Errorf("%s: marshal differs: %v", name, err)
		}
		clear(raw)
		if b, err = again.Marshal(); err != nil || len(b) != len(raw) || b[0] == 0 || again.CertData[0] == 0 {
			t.Errorf("%s: the quote refers to its bytes", name)
		}
	}
	for _, n := range []int{0, TDReportSize - 1, TDReportSize + 1, TDReport15Size + 1} {
		if _, err := ParseTDReport(make([]byte, n)); err == nil {
			t.Errorf("a TD report of %d bytes was read", n)
		}
	}
}
