package proto

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func request(t testing.TB, edit func(*Request)) []byte {
	t.Helper()
	r := Request{Challenge: make([]byte, ChallengeSize)}
	edit(&r)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func good(t testing.TB) [][]byte {
	return [][]byte{
		request(t, func(r *Request) { r.Op, r.Sigstruct = OpMeasure, make([]byte, 1808) }),
		request(t, func(r *Request) { r.Op, r.Binding = OpEvidence, []byte{1} }),
		request(t, func(r *Request) { r.Op, r.Seal = OpSealKey, &Seal{KeyID: make([]byte, 32)} }),
		request(t, func(r *Request) { r.Op, r.Binding, r.Target = OpReport, []byte{1}, make([]byte, TargetInfoSize) }),
		request(t, func(r *Request) { r.Op, r.Report = OpVerify, make([]byte, ReportSize) }),
	}
}

func TestDecodeRequest(t *testing.T) {
	t.Parallel()
	for _, b := range good(t) {
		if _, err := DecodeRequest(b); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
	evidence := string(good(t)[1])
	for name, in := range map[string]string{
		"empty":                 "",
		"null":                  "null",
		"array":                 "[]",
		"empty object":          "{}",
		"bytes after the end":   evidence + "{}",
		"cut":                   evidence[:len(evidence)-1],
		"unknown member":        strings.Replace(evidence, "{", `{"x":1,`, 1),
		"member twice":          strings.Replace(evidence, "{", `{"op":"evidence",`, 1),
		"member twice, by case": strings.Replace(evidence, "{", `{"OP":"evidence",`, 1),
		"nested member twice":   `{"op":"seal_key","challenge":"","seal":{"svn":1,"svn":2}}`,
		"wrong type":            strings.Replace(evidence, `"evidence"`, "1", 1),
		"unknown operation":     strings.Replace(evidence, `"evidence"`, `"sign"`, 1),
		"foreign member":        strings.Replace(evidence, "{", `{"sigstruct":"AAAA",`, 1),
		"foreign target":        strings.Replace(evidence, "{", `{"target_info":"AAAA",`, 1),
		"foreign report":        strings.Replace(evidence, "{", `{"report":"AAAA",`, 1),
		"short challenge":       `{"op":"evidence","challenge":"AAAA","binding":"AAAA"}`,
		"short key id":          string(request(t, func(r *Request) { r.Op, r.Seal = OpSealKey, &Seal{KeyID: []byte{1}} })),
		"no seal":               string(request(t, func(r *Request) { r.Op = OpSealKey })),
		"too long":              evidence + strings.Repeat(" ", MaxRequest),
	} {
		if r, err := DecodeRequest([]byte(in)); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestRefusalSaysEverything(t *testing.T) {
	t.Parallel()
	e := RefusedError{Rule: "r1", Wanted: "w2", Seen: "s3", Advice: "a4"}
	for _, part := range []string{"r1", "w2", "s3", "a4"} {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("%q lacks %s", e.Error(), part)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, b := range good(f) {
		f.Add(b)
	}
	f.Add([]byte(`{"op":"x","op":{"a":[{"a":1}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		r2, err := DecodeRequest(again)
		if err != nil || r2.Op != r.Op || !bytes.Equal(r2.Challenge, r.Challenge) {
			t.Fatalf("%+v became %+v, %v", r, r2, err)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	f.Add([]byte(`{"version":1,"challenge":"AAAA","refused":{"rule":"r","wanted":"w","seen":"s"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeReply(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		r2, err := DecodeReply(again)
		if err != nil || !reflect.DeepEqual(r.Refused, r2.Refused) {
			t.Fatalf("%+v became %+v, %v", r, r2, err)
		}
	})
}
