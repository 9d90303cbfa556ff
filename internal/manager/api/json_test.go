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
		{`{"a":1} {}`, "follows"},
		{`{"a":1}]`, "follows"},
		{`{"a":`, "EOF"},
		{``, "EOF"},
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), "deeper than"},
	} {
		err := checkJSON([]byte(tc.in))
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

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":"c"}]}`, `{"a":1,"a":2}`, `[`, `nul`, `{"\u0061":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkJSON(data) == nil && !json.Valid(data) {
			t.Fatalf("%q was accepted and is not JSON", data)
		}
	})
}
