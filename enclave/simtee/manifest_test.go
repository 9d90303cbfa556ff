package simtee

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const someDigest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func scan(chunks ...string) (string, error) {
	s := new(manifestScanner)
	for _, c := range chunks {
		if n, err := s.Write([]byte(c)); n != len(c) || err != nil {
			return "", fmt.Errorf("write: %d, %v", n, err)
		}
	}
	return s.digest()
}

func TestManifestScanner(t *testing.T) {
	t.Parallel()
	d := `"` + someDigest + `"`
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"alone", `{"guest":` + d + `}`, true},
		{"among others", `{"a":"x\"}","b":{"guest":"00"},"c":[{"d":"}]\\"},-1.5,true,null],"guest":` + d + `,"n":1,"z":{}}`, true},
		{"empty object", `{}`, false},
		{"empty", ``, false},
		{"absent", `{"a":1}`, false},
		{"nested only", `{"a":{"guest":` + d + `}}`, false},
		{"twice", `{"guest":` + d + `,"guest":` + d + `}`, false},
		{"unsorted", `{"z":1,"guest":` + d + `}`, false},
		{"escaped name", `{"\u0067uest":` + d + `}`, false},
		{"escaped value", `{"guest":"\u0030` + someDigest[1:] + `"}`, false},
		{"upper case", `{"guest":"` + strings.ToUpper(someDigest) + `"}`, false},
		{"short", `{"guest":"00"}`, false},
		{"long", `{"guest":"` + someDigest + `0"}`, false},
		{"not a string", `{"guest":1}`, false},
		{"white space", `{ "guest":` + d + `}`, false},
		{"bytes after the end", `{"guest":` + d + `} `, false},
		{"second object", `{"guest":` + d + `}{}`, false},
		{"brackets crossed", `{"a":[{]},"guest":` + d + `}`, false},
		{"cut", `{"guest":` + d, false},
		{"comma at the end", `{"guest":` + d + `,}`, false},
		{"array", `["guest",` + d + `]`, false},
		{"too deep", `{"a":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `,"guest":` + d + `}`, false},
		{"deep", `{"a":` + strings.Repeat("[{", 32) + strings.Repeat("}]", 32) + `,"guest":` + d + `}`, true},
		{"long name", `{"a` + strings.Repeat("a", 64) + `":1,"guest":` + d + `}`, false},
		{"escapes inside", `{"a":["\\","\"","\\\"","x\\"],"guest":` + d + `}`, true},
		{"control character", "{\"a\":\"\n\",\"guest\":" + d + "}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for cut := range len(c.in) + 1 {
				got, err := scan(c.in[:cut], c.in[cut:])
				if (err == nil) != c.ok {
					t.Fatalf("cut at %d: error %v", cut, err)
				}
				if c.ok && got != someDigest {
					t.Fatalf("cut at %d: %q", cut, got)
				}
			}
		})
	}
}

// FuzzManifestScanner checks that the scanner never says another digest than
// encoding/json does.
func FuzzManifestScanner(f *testing.F) {
	f.Add([]byte(`{"a":{"guest":"00"},"guest":"` + someDigest + `","z":[1,"\"",{}]}`))
	f.Add([]byte(`{"guest":"` + someDigest + `","guest":"` + strings.Repeat("0", 64) + `"}`))
	f.Add([]byte(`{"\u0067uest":"` + someDigest + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := scan(string(b))
		if err != nil || !json.Valid(b) {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal(members["guest"], &want); err != nil || got != want {
			t.Fatalf("scanner says %q, encoding/json %q (%v)", got, want, err)
		}
	})
}

func BenchmarkManifestScanner(b *testing.B) {
	file := `{"gid":0,"mode":420,"path":"/usr/lib/python3/dist-packages/flask/app.py","sha256":"` + someDigest + `","size":12345,"type":"file","uid":0},`
	in := []byte(`{"files":[` + strings.Repeat(file, 10000) + `{}],"guest":"` + someDigest + `"}`)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		s := new(manifestScanner)
		s.Write(in)
		if _, err := s.digest(); err != nil {
			b.Fatal(err)
		}
	}
}
