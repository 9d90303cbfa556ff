package atls

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

// TestExtensionBytes holds the extension at the bytes that are in certificates already.
func TestExtensionBytes(t *testing.T) {
	t.Parallel()
	m := Message{Evidence: []byte("e"), Binding: []byte("b")}
	for want, collateral := range map[string]*dcap.Collateral{
		"": nil, `"collateral":["application/vnd.hitoku.dcap-collateral+json","%",2],`: {TCBInfo: []byte("{}"), RootCRL: []byte{1}},
	} {
		m.Collateral = collateral
		if collateral != nil {
			body, err := json.Marshal(collateral)
			if err != nil {
				t.Fatal(err)
			}
			want = want[:len(want)-len(`%",2],`)] + base64.RawURLEncoding.EncodeToString(body) + `",2],`
		}
		want = `{"__cmwc_t":"tag:hitoku.dev,2026:evidence","binding":["application/vnd.hitoku.binding","Yg",4],` + want + `"evidence":["application/vnd.hitoku.sgx-quote","ZQ",4]}`
		e, err := MarshalExtension(m)
		if err != nil {
			t.Fatal(err)
		}
		var text string
		if _, err := asn1.UnmarshalWithParams(e.Value, &text, "utf8"); err != nil || text != want || e.Critical || !e.Id.Equal(attest.OIDCMW) {
			t.Errorf("%v\n%s\n%s", err, text, want)
		}
	}
}
