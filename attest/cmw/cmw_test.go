package cmw

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/attest"
)

func record(media string, value string, ind Indicator) Message {
	return Message{Record: &Record{Type: media, Value: []byte(value), Indicator: ind}}
}

func nested() *Message {
	inner := &Collection{Type: "tag:example.com,2026:inner", Items: []Item{{Label{Text: "deep"}, record("a/b", "x", 0)}}}
	return &Message{Collection: &Collection{Type: "1.2.840.5", Items: []Item{
		{Label{Text: "evidence"}, record(`application/eat+cwt; eat_profile="tag:a,1:b"`, "\x00\xff\xfe", Evidence)},
		{Label{Text: "more"}, Message{Collection: inner}},
	}}}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	cases := map[string]*Message{
		`["application/vnd.example","I0faVQ"]`: {Record: &Record{Type: "application/vnd.example", Value: []byte{0x23, 0x47, 0xda, 0x55}}},
		`["a/b","oA",4]`:                       {Record: &Record{Type: "a/b", Value: []byte{0xa0}, Indicator: Evidence}},
		`{"__cmwc_t":"1.2.840.5","evidence":["application/eat+cwt; eat_profile=\"tag:a,1:b\"","AP_-",4],"more":{"__cmwc_t":"tag:example.com,2026:inner","deep":["a/b","eA"]}}`: nested(),
	}
	for text, want := range cases {
		got, err := ParseJSON([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if again, err := want.JSON(); err != nil || string(again) != text {
			t.Errorf("%v\n%s\n%s", err, again, text)
		}
	}
	// Freedoms of JSON that change nothing.
	for _, text := range []string{" [ \"a/b\" ,\n\"oA\", 4 ] ", `{"z":["a/b","oA"],"__cmwc_t":"a:b","y":["a/b","oA"]}`, `["\u0061/b","oA"]`} {
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got := nested().Records(); len(got) != 2 || got[0].Path != "evidence" || got[1].Path != "more/deep" {
		t.Errorf("records %+v", got)
	}
	if m := nested(); m.Get("evidence") == nil || m.Get("none") != nil || m.Get("more") != nil || m.Collection.Items[0].Message.Get("x") != nil {
		t.Error("labels do not lead to their records")
	}
}

func TestJSONRefuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, 6) + `["a/b","oA"]` + strings.Repeat("}", 6)
	var many strings.Builder
	for range MaxItems + 1 {
		many.WriteString(`,["a/b","oA"]`)
	}
	cases := map[string]string{
		"":                                    "EOF",
		"7":                                   "neither a record",
		`"a"`:                                 "neither a record",
		"{}":                                  "without an item",
		`{"__cmwc_t":"a:b"}`:                  "without an item",
		"[]":                                  "type of a record",
		`["a/b"]`:                             "value of a record",
		`["a/b","oA",4,4]`:                    "two or three items",
		`["a/b","oA",0]`:                      "1 to 31",
		`["a/b","oA",32]`:                     "1 to 31",
		`["a/b","oA",4.0]`:                    "1 to 31",
		`["a/b","oA",-1]`:                     "1 to 31",
		`["a/b","oA","4"]`:                    "two or three items",
		`["a/b","oA=="]`:                      "padding",
		`["a/b","o+A"]`:                       "padding",
		`["a/b","oB"]`:                        "padding",
		"[\"a/b\",\"o\\nA\"]":                 "line end",
		`["a/b",""]`:                          "without a value",
		`["","oA"]`:                           "without a media type",
		`["ab","oA"]`:                         "no media type",
		"[\"a/b;\\u0007\",\"oA\"]":            "no media type",
		`[30001,"oA"]`:                        "wanted a text",
		`["a/b","oA"] x`:                      "after the end",
		`["a/b","oA"]["a/b","oA"]`:            "after the end",
		`{"a":["a/b","oA"],"a":["a/b","oA"]}`: "twice",
		`{"__cmwc_t":"a:b","__cmwc_t":"a:b"}`: "twice",
		`{"__cmwc_t":"","a":["a/b","oA"]}`:    "empty",
		`{"__cmwc_t":"ab","a":["a/b","oA"]}`:  "neither an absolute URI nor an OID",
		`{"__cmwc_t":7,"a":["a/b","oA"]}`:     "wanted a text",
		`{"":["a/b","oA"]}`:                   "empty label",
		`{"a":7}`:                             "neither a record",
		"[\"a/b\",\"oA\xff\"]":                "UTF-8",
		deep:                                  "deep",
		`{"x":["a/b","oA"]` + many.String():   "",
		strings.Repeat(" ", MaxSize+1):        "at most",
		`{"` + strings.Repeat("l", 300) + `":["a/b","oA"]}`: "at most",
	}
	for text, want := range cases {
		if m, err := ParseJSON([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v %+v, wanted an error with %q", text, err, m, want)
		}
	}
}

func TestCBOR(t *testing.T) {
	t.Parallel()
	cases := map[string]*Message{
		"8219fde7442347da55": {Record: &Record{Format: 64999, Value: []byte{0x23, 0x47, 0xda, 0x55}}},
		"da6374ffe6442347da55": { // TN(64999), the number that RFC 9999 prints as its example
			Record: &Record{Format: 64999, Value: []byte{0x23, 0x47, 0xda, 0x55}, Tagged: true},
		},
		"8363612f6241a004": {Record: &Record{Type: "a/b", Value: []byte{0xa0}, Indicator: Evidence}},
		"a3008219fde741a0018363612f6241a004685f5f636d77635f7463613a62": {Collection: &Collection{Type: "a:b", Items: []Item{
			{Label{Number: 0}, Message{Record: &Record{Format: 64999, Value: []byte{0xa0}}}},
			{Label{Number: 1}, record("a/b", "\xa0", Evidence)},
		}}},
	}
	if tagNumber(64999) != 1668612070 || tagNumber(maxTagged) != 1668612095 {
		t.Errorf("TN(64999) = %d", tagNumber(64999))
	}
	for f := range maxTagged + 1 {
		if got, ok := contentFormat(tagNumber(uint16(f))); !ok || got != uint16(f) {
			t.Fatalf("content format %d came back as %d", f, got)
		}
	}
	for text, want := range cases {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if again, err := want.CBOR(); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%v %x, wanted %x", err, again, raw)
		}
	}
	raw, err := nested().CBOR()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseCBOR(raw)
	if diff := cmp.Diff(nested(), got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for i := range raw {
		if _, err := ParseCBOR(raw[:i]); err == nil {
			t.Errorf("cut at %d it was read", i)
		}
	}
}

func TestCBORRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"":                                 "EOF",
		"00":                               "neither a record",
		"8219fde741a000":                   "extraneous",
		"9f19fde741a0ff":                   "indefinite",
		"821a0000fde741a0":                 "one valid encoding",
		"a0":                               "without an item",
		"80":                               "a record of 0 items",
		"821a0001000041a0":                 "content format",
		"82f541a0":                         "neither a text nor a number",
		"826041a0":                         "without a media type",
		"8219fde761a0":                     "",
		"8219fde700":                       "no byte string",
		"8219fde740":                       "without a value",
		"8319fde741a000":                   "1 to 31",
		"8319fde741a01820":                 "1 to 31",
		"c141a0":                           "tag number 1",
		"da6374ffe600":                     "around a byte string",
		"da6374d50041a0":                   "not that of a content format",
		"da6374010041a0":                   "not that of a content format",
		"a1f58219fde741a0":                 "label is neither",
		"a1608219fde741a0":                 "empty label",
		"a11bffffffffffffffff8219fde741a0": "out of range",
		"a1685f5f636d77635f7400":           "no text",
		"a2018219fde741a0008219fde741a0":   "one valid encoding",
		"a2008219fde741a0008219fde741a0":   "duplicate",
	}
	for text, want := range cases {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := ParseCBOR(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %+v, wanted an error with %q", text, err, m, want)
		}
	}
	if _, err := ParseCBOR(make([]byte, MaxSize+1)); err == nil {
		t.Error("too long a message was read")
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte{1}, MaxSize)
	many := &Collection{}
	for i := range MaxItems {
		many.Items = append(many.Items, Item{Label{Number: int64(i)}, record("a/b", "x", 0)})
	}
	for name, m := range map[string]*Message{
		"nothing":             {},
		"both":                {Record: &Record{}, Collection: &Collection{}},
		"two types":           {Record: &Record{Type: "a/b", Format: 1, Value: []byte{1}}},
		"unknown indicator":   {Record: &Record{Type: "a/b", Value: []byte{1}, Indicator: 32}},
		"no such tag":         {Record: &Record{Format: maxTagged + 1, Value: []byte{1}, Tagged: true}},
		"tag with indicator":  {Record: &Record{Format: 1, Value: []byte{1}, Indicator: 4, Tagged: true}},
		"too long":            {Record: &Record{Type: "a/b", Value: long}},
		"too many":            {Collection: many},
		"type as label":       {Collection: &Collection{Items: []Item{{Label{Text: typeLabel}, record("a/b", "x", 0)}}}},
		"label of both kinds": {Collection: &Collection{Items: []Item{{Label{Text: "a", Number: 1}, record("a/b", "x", 0)}}}},
	} {
		if out, err := m.JSON(); err == nil {
			t.Errorf("%s: JSON %.60s", name, out)
		}
		if out, err := m.CBOR(); err == nil {
			t.Errorf("%s: CBOR %.30x", name, out)
		}
	}
	for name, m := range map[string]*Message{
		"content format":  {Record: &Record{Format: 1, Value: []byte{1}}},
		"number as label": {Collection: &Collection{Items: []Item{{Label{Number: 1}, record("a/b", "x", 0)}}}},
	} {
		if out, err := m.JSON(); err == nil {
			t.Errorf("%s: JSON %s", name, out)
		}
	}
}

func certificate(t *testing.T, extensions ...pkix.Extension) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: extensions}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	text, err := nested().JSONExtension()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := nested().CBORExtension()
	if err != nil {
		t.Fatal(err)
	}
	body, err := nested().JSON()
	if err != nil {
		t.Fatal(err)
	}
	octets, err := asn1.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]pkix.Extension{"JSON": text, "CBOR": binary, "TCG's JSON": {Id: attest.OIDTCGCMW, Value: octets}} {
		got, err := FromCertificate(certificate(t, e))
		if diff := cmp.Diff(nested(), got); err != nil || diff != "" || e.Critical {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		for i := range e.Value {
			if _, err := ParseExtension(e.Value[:i]); err == nil {
				t.Errorf("%s: cut at %d it was read", name, i)
			}
		}
	}
	if _, err := FromCertificate(certificate(t)); !errors.Is(err, ErrNone) {
		t.Errorf("no extension: %v", err)
	}
	if _, err := FromCertificate(certificate(t, text, pkix.Extension{Id: attest.OIDTCGCMW, Value: octets})); err == nil || !strings.Contains(err.Error(), "two") {
		t.Errorf("two extensions: %v", err)
	}
	spaced, err := asn1.MarshalWithParams(" "+string(body), "utf8")
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{
		"white space": spaced, "after the end": append(bytes.Clone(text.Value), 0), "another string": {0x13, 1, 'a'}, "constructed": {0x30, 0}, "too long": make([]byte, MaxSize+1),
	} {
		if _, err := ParseExtension(der); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := (&Message{}).JSONExtension(); err == nil {
		t.Error("nothing became an extension")
	}
	if _, err := (&Message{}).CBORExtension(); err == nil {
		t.Error("nothing became an extension")
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range []*Message{nested(), {Record: &Record{Format: 64999, Value: []byte{1}, Tagged: true}}, {Record: &Record{Format: 7, Value: []byte{1}, Indicator: 8}}} {
		raw, err := m.CBOR()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	text, err := nested().JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"a":{"b":{"c":{"d":{"e":["a/b","oA"]}}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := ParseExtension(raw); err != nil && len(err.Error()) > 4096 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		m, err := Parse(raw)
		if err != nil {
			return
		}
		write := m.CBOR
		if isJSON(raw) {
			write = m.JSON
		}
		out, err := write()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Records()) != len(again.Records()) || !isJSON(raw) && !bytes.Equal(raw, out) {
			t.Errorf("%x became %x", raw, out)
		}
	})
}
