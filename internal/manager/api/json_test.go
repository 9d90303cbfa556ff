package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{`{"a":1,"b":[{"c":null}]}`, ""},
		{`"text"`, ""},
		{`{"a":1,"a":2}`, `"a" is given twice`},
		{`{"x":[{"a":1,"a":2}]}`, `"a" is given twice`},
		{`{"a":1} {}`, "after top-level value"},
		{`{"a":1}]`, "after top-level value"},
		{`{"a":`, "unexpected end"},
		{``, "unexpected end"},
		{` [ -1.5e3 ,true , null,"" , "\\" , "\"" ,{ } , [ ] ] `, ""},
		{`{"\"":1,"\\":2,"":3}`, ""},
		{`{"\u0061":1,"a":2}`, `"a" is given twice`},
		{"{\"\xff\":1,\"\xfe\":2}", "given twice"}, // both are read as U+FFFD
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), "deeper than"},
	} {
		err := checkJSON([]byte(tc.in), nil)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.in, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, wanted %q", tc.in, err, tc.want)
		}
	}
}

// inner, shared and outer have what request types have.
type (
	inner struct {
		Key string `json:"key"`
	}
	shared struct {
		Common string `json:"common"`
	}
	outer struct {
		shared
		Status string            `json:"status,omitempty"`
		One    *inner            `json:"one"`
		Many   []inner           `json:"many"`
		Labels map[string]string `json:"labels"`
		Named  map[string]*inner `json:"named"`
		Raw    json.RawMessage   `json:"raw"`
		Any    any               `json:"any"`
		Plain  int
		Hidden int `json:"-"`
	}
)

func TestCheckJSONMembers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{`{"status":"a","one":{"key":"b"},"many":[{"key":"c"}],"common":"d","Plain":1}`, ""},
		{`{"unknown":1,"Unknown":2,"UNKNOWN":{"Key":1,"key":2}}`, ""},
		{`{"labels":{"a":"1","A":"2"},"raw":{"Key":1,"key":2},"any":{"Key":1,"KEY":1}}`, ""},
		{`{"Hidden":1,"hidden":2}`, ""},
		{`{"status":"a","Status":"b"}`, `"Status" differs from "status"`},
		{`{"STATUS":"b"}`, `"STATUS" differs`},
		{`{"\u017ftatus":"b"}`, `differs from "status"`}, // long s, which encoding/json takes for s
		{`{"one":{"Key":"b"}}`, `"Key" differs`},
		{`{"one":{"\u212aey":"b"}}`, `differs from "key"`}, // the Kelvin sign
		{`{"many":[{"key":"b"},{"kEy":"b"}]}`, `"kEy" differs`},
		{`{"named":{"x":{"KEY":"b"}}}`, `"KEY" differs`},
		{`{"Common":"b"}`, `"Common" differs`},
		{`{"plain":1}`, `"plain" differs from "Plain"`},
		{`{"any":{"a":1,"a":2}}`, `"a" is given twice`},
	} {
		err := jsonFormat().Unmarshal([]byte(tc.in), new(outer))
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, wanted %q", tc.in, err, tc.want)
		}
	}
}

// What is accepted is read into the members of exactly these names.
func FuzzCheckJSONMembers(f *testing.F) {
	for _, s := range []string{`{"status":"a","one":{"key":"b"}}`, `{"\u017ftatus":"b"}`, `{"Common":"x","common":"y"}`, `{"labels":{"a":"b"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got outer
		if jsonFormat().Unmarshal(data, &got) != nil {
			return
		}
		var exact map[string]json.RawMessage
		if json.Unmarshal(data, &exact) != nil {
			return // not an object
		}
		var want string
		if raw := exact["status"]; raw != nil && string(raw) != "null" {
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
		}
		if got.Status != want {
			t.Fatalf("%q: status %q, wanted %q", data, got.Status, want)
		}
	})
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":"c"}]}`, `{"a":1,"a":2}`, `[`, `nul`, `{"\u0061":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkJSON(data, nil) == nil && !json.Valid(data) {
			t.Fatalf("%q was accepted and is not JSON", data)
		}
	})
}
