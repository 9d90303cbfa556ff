package attest_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/asn1"
	"encoding/binary"
	"io"
	"runtime"
	"strings"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/cmw"
)

// Tests of this file and their like in other packages follow docs/findings.md.

// TestReportDataKeepsMembersApart moves bytes from one member of a binding to the next (549, 554).
// Where members are only joined, who gets evidence over one statement has it over another.
func TestReportDataKeepsMembersApart(t *testing.T) {
	t.Parallel()
	nonce, config := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{1}, 32)
	whole := &attest.Binding{Purpose: attest.PurposeATLS, Nonce: nonce, ConfigID: config}
	seen := map[[attest.ReportDataSize]byte]string{whole.ReportData(): "as it is"}
	for name, b := range map[string]*attest.Binding{
		"purpose that ends sooner":   {Purpose: attest.PurposeATLS[:3], Subject: [32]byte{'s'}, Nonce: nonce, ConfigID: config},
		"nonce that ends sooner":     {Purpose: attest.PurposeATLS, Nonce: nonce[:31], ConfigID: append([]byte{1}, config...)},
		"configuration in the nonce": {Purpose: attest.PurposeATLS, Nonce: append(nonce, config...)},
		"no configuration":           {Purpose: attest.PurposeATLS, Nonce: nonce},
		"zero configuration":         {Purpose: attest.PurposeATLS, Nonce: nonce, ConfigID: make([]byte, 32)}, // 559
	} {
		data := b.ReportData()
		if other, ok := seen[data]; ok {
			t.Errorf("%s: the report data of %q", name, other)
		}
		seen[data] = name
	}
}

// TestHostileExtensions gives the readers of the certificate extension what would cost much to
// read (566, 567): anybody who opens a connection can make a client or a manager read it, so one
// certificate would end the process. It must not run beside other tests: they would be counted too.
func TestHostileExtensions(t *testing.T) {
	m := atls.Message{Evidence: bytes.Repeat([]byte{'e'}, 4096), Binding: []byte("b")}
	honest, err := atls.MarshalExtension(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := atls.ParseExtension(honest.Value); err != nil {
		t.Fatal(err)
	}
	octets := func(b []byte) []byte {
		der, err := asn1.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	text := func(s string) []byte {
		der, err := asn1.MarshalWithParams(s, "utf8")
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	pack := func(w io.WriteCloser, out *bytes.Buffer, b []byte) []byte {
		w.Write(b)
		w.Close()
		return out.Bytes()
	}
	with := func(collateral string) []byte {
		record := func(label, media, value string) cmw.Item {
			return cmw.Item{Label: cmw.Label{Text: label}, Message: cmw.Message{Record: &cmw.Record{Type: media, Value: []byte(value), Indicator: cmw.Evidence}}}
		}
		out, err := (&cmw.Message{Collection: &cmw.Collection{Type: atls.TypeCollection, Items: []cmw.Item{
			record("binding", atls.TypeBinding, "b"), record("collateral", atls.TypeCollateral, collateral), record("evidence", atls.TypeEvidence, "e"),
		}}}).JSON()
		if err != nil {
			t.Fatal(err)
		}
		return text(string(out) + " ") // white space, so that it is not in the one valid encoding
	}
	const room = (cmw.MaxExtension - 400) / 4 * 3 // for collateral
	var gz, zl, bomb bytes.Buffer
	huge := binary.BigEndian.AppendUint64
	for name, der := range map[string][]byte{
		"honest, in gzip":                 octets(pack(gzip.NewWriter(&gz), &gz, honest.Value)),
		"honest, in zlib":                 octets(pack(zlib.NewWriter(&zl), &zl, honest.Value)),
		"bomb":                            octets(pack(gzip.NewWriter(&bomb), &bomb, make([]byte, 64<<20))),
		"CBOR array of 2^63 items":        octets(huge([]byte{0x9b}, 1<<63)),
		"CBOR map of 2^63 items":          octets(huge([]byte{0xbb}, 1<<63)),
		"CBOR bytes of 2^62":              octets(append([]byte{0x82, 0x00}, huge([]byte{0x5b}, 1<<62)...)),
		"CBOR text of 2^62":               octets(append([]byte{0x82}, huge([]byte{0x7b}, 1<<62)...)),
		"CBOR arrays in arrays":           octets(bytes.Repeat([]byte{0x81}, cmw.MaxExtension-100)),
		"JSON arrays in arrays":           text(strings.Repeat("[", cmw.MaxExtension-100)),
		"JSON collections in collections": text(strings.Repeat(`{"a":`, (cmw.MaxExtension-100)/5)),
		"JSON with thousands of members":  text("{" + strings.Repeat(`"a":0,`, (cmw.MaxExtension-100)/6)),
		"long text":                       text(`["` + strings.Repeat("x", cmw.MaxExtension-100)),
		"collateral of arrays":            with(strings.Repeat("[", room)),
		"collateral of one long member":   with(`{"tcb_info":"` + strings.Repeat("A", (room-100)/4*4) + `"}`),
		"collateral, unknown member":      with(`{"x":"` + strings.Repeat("A", room-100) + `"}`),
		"collateral, member many times":   with(`{` + strings.Repeat(`"tcb_info":"AAAA",`, room/18-10) + `"tcb_info":"AAAA"}`),
		"longer than allowed":             text(strings.Repeat(" ", 8<<20)),
		"length that is not there":        {0x0c, 0x84, 0x7f, 0xff, 0xff, 0xff},
	} {
		for reader, read := range map[string]func() error{
			"cmw":  func() error { _, err := cmw.ParseExtension(der); return err },
			"atls": func() error { _, err := atls.ParseExtension(der); return err },
		} {
			if err := read(); err == nil {
				t.Errorf("%s: read by %s", name, reader)
			}
			n := uint64(1 << 62)
			for range 5 { // the least: buffers are sometimes used again, and under the race detector less often
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				read()
				runtime.ReadMemStats(&after)
				n = min(n, after.TotalAlloc-before.TotalAlloc)
			}
			if n > memoryFactor<<20 {
				t.Errorf("%s: %s allocates %d bytes, at most 1 MiB is wanted", name, reader, n)
			}
		}
	}
}
