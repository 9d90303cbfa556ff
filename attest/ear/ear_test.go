package ear

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"hitoku.dev/attest"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func ec(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func result() *Result {
	v, c := verdict()
	return FromVerdict(v, c, Options{At: now, Life: time.Hour, Verifier: VerifierID{"https://hitoku.dev", "test"}, PolicyIDs: []string{"sha256:00"}, Named: true, Nonce: make([]byte, 32)})
}

func verdict() (*attest.Verdict, *attest.Claims) {
	c := &attest.Claims{TEE: attest.TDX, Format: "tdx-quote-v4", ReportData: []byte{1}, Devices: []attest.Claims{{TEE: attest.NVIDIAGPU, Format: "nvidia-gpu-report"}}}
	v := &attest.Verdict{
		Format: "tdx-quote-v4", Accepted: true, TCB: attest.TCB{Overall: "UpToDate"}, Measurements: map[string]string{"mrtd": "aa"},
		Rules: []attest.Rule{{Name: "quote_signature", OK: true}},
	}
	return v, c
}

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]crypto.Signer{"ES256": ec(t, elliptic.P256()), "ES384": ec(t, elliptic.P384()), "EdDSA": ed}
	for alg, key := range keys {
		token, err := result().Sign(key)
		if err != nil {
			t.Fatal(err)
		}
		if !Recognise([]byte(" " + token + "\n")) {
			t.Errorf("%s: not recognised", alg)
		}
		got, err := Verify([]byte(token+"\n"), key.Public(), now)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if diff := cmp.Diff(result(), got); diff != "" {
			t.Error(diff)
		}
		for other, k := range keys {
			if _, err := Verify([]byte(token), k.Public(), now); (err == nil) != (other == alg) {
				t.Errorf("%s read as %s: %v", alg, other, err)
			}
		}
	}
	if _, err := result().Sign(ec(t, elliptic.P521())); err == nil {
		t.Error("signed on P-521")
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := result().Sign(rsaKey); err == nil {
		t.Error("signed with RSA")
	}
	if _, err := (&Result{}).Sign(ec(t, elliptic.P256())); err == nil {
		t.Error("an empty result was signed")
	}
}

// TestFlip changes every character of a token, and cuts it everywhere.
func TestFlip(t *testing.T) {
	t.Parallel()
	key := ec(t, elliptic.P256())
	token, err := result().Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range token {
		for _, c := range []byte{token[i] ^ 1, 'A', '=', '\n'} {
			b := []byte(token)
			if b[i] == c {
				continue
			}
			b[i] = c
			if i == len(token)-1 && c == '\n' {
				continue // cut, below
			}
			if _, err := Verify(b, key.Public(), now); err == nil {
				t.Fatalf("byte %d changed to %q: accepted", i, c)
			}
		}
		if _, err := Verify([]byte(token[:i]), key.Public(), now); err == nil {
			t.Fatalf("cut at %d: accepted", i)
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	key := ec(t, elliptic.P256())
	token, err := result().Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		at time.Time
		ok bool
	}{
		"at once": {now, true}, "a clock behind": {now.Add(-time.Minute), true}, "not yet": {now.Add(-time.Minute - time.Second), false},
		"last second": {now.Add(time.Hour - time.Second), true}, "over": {now.Add(time.Hour), false},
	} {
		if _, err := Verify([]byte(token), key.Public(), tc.at); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Verify([]byte(token), key.Public(), now.Add(time.Hour)); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
}

// TestRefuses signs contents that must not be believed whoever signed them.
func TestRefuses(t *testing.T) {
	t.Parallel()
	key := ec(t, elliptic.P256())
	const good = `"eat_profile":"tag:ietf.org,2026:rats/ear#03","iat":1780315200,"ear_verifier_id":{"developer":"d","build":"b"}`
	const sub = `"submods":{"a":{"ear_status":"affirming","ear_trustworthiness_vector":{"hardware":2}}}`
	cases := map[string]string{
		`{` + good + `,` + sub + `}`:                                                               "",
		`{` + good + `,` + sub + `,"other":{"x":[1,2]}}`:                                           "",
		`{` + good + `,` + sub + `,"iat":1780315200}`:                                              "twice",
		`{` + good + `,"submods":{"a":{"ear_status":"affirming"},"a":{"ear_status":"affirming"}}}`: "twice",
		`{` + good + `}`:                                                                                          "0 submods",
		`{` + good + `,"submods":{}}`:                                                                             "0 submods",
		`{` + good + `,"submods":{"a":{}}}`:                                                                       "not known",
		`{` + good + `,"submods":{"a":{"ear_status":"great"}}}`:                                                   "not known",
		`{` + good + `,"ear_status":"great",` + sub + `}`:                                                         "not known",
		`{` + good + `,"exp":1,` + sub + `}`:                                                                      "before iat",
		`{` + good + `,"exp":1780315201.5,` + sub + `}`:                                                           "number",
		`{` + good + `,"eat_nonce":"AA",` + sub + `}`:                                                             "eat_nonce",
		`{` + strings.Replace(good, "#03", "#99", 1) + `,` + sub + `}`:                                            "eat_profile",
		`{` + strings.Replace(good, "1780315200", "0", 1) + `,` + sub + `}`:                                       "iat",
		`{` + strings.Replace(good, `"build":"b"`, `"build":""`, 1) + `,` + sub + `}`:                             "ear_verifier_id",
		`{` + good + `,"submods":{"a":{"ear_status":"affirming","ear_trustworthiness_vector":{"hardware":96}}}}`:  "claims more",
		`{` + good + `,"submods":{"a":{"ear_status":"warning","ear_trustworthiness_vector":{"hardware":-128}}}}`:  "claims more",
		`{` + good + `,"submods":{"a":{"ear_status":"affirming","ear_trustworthiness_vector":{"hardware":128}}}}`: "number 128",
		`{` + good + `,"ear_status":"affirming","submods":{"a":{"ear_status":"warning"}}}`:                        "claims more",
		`{} {}`: "after the end",
		`[]`:    "",
		strings.Repeat("[", 20) + strings.Repeat("]", 20): "nested",
		"{\"a\":\"\xff\"}": "UTF-8",
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for payload, want := range cases {
		signed, err := signer.Sign([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Verify([]byte(token), key.Public(), now)
		if err == nil {
			accepted++
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, wanted an error with %q", payload, err, want)
		}
	}
	if accepted != 2 {
		t.Errorf("%d contents were accepted, wanted 2", accepted)
	}
	part := base64.RawURLEncoding.EncodeToString
	for name, token := range map[string]string{
		"no signature":       part([]byte(`{"alg":"none"}`)) + "." + part([]byte(`{`+good+`,`+sub+`}`)) + ".",
		"algorithm none":     part([]byte(`{"alg":"none"}`)) + "." + part([]byte(`{`+good+`,`+sub+`}`)) + ".AA",
		"algorithm HS256":    part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(`{`+good+`,`+sub+`}`)) + ".AA",
		"two algorithms":     part([]byte(`{"alg":"ES256","alg":"none"}`)) + "." + part([]byte(`{}`)) + ".AA",
		"two parts":          "AA.AA",
		"too long":           strings.Repeat("A", maxToken+1),
		"encrypted":          "AA.AA.AA.AA.AA",
		"JSON serialisation": `{"payload":"","signatures":[]}`,
	} {
		if _, err := Verify([]byte(token), key.Public(), now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Verify([]byte("AA.AA.AA"), "no key", now); err == nil {
		t.Error("verified without a key")
	}
}

func TestFromVerdict(t *testing.T) {
	t.Parallel()
	refuse := func(name string) func(*attest.Verdict, *attest.Claims) {
		return func(v *attest.Verdict, _ *attest.Claims) {
			v.Accepted, v.Rules = false, append(v.Rules, attest.Rule{Name: name})
		}
	}
	cases := map[string]struct {
		edit   func(v *attest.Verdict, c *attest.Claims)
		status Tier
		vector Vector
	}{
		"accepted": {status: Affirming, vector: Vector{InstanceIdentity: 2, Executables: 3, Hardware: 2, RuntimeOpaque: 2}},
		"tolerated": {
			edit: func(v *attest.Verdict, _ *attest.Claims) { v.TCB.Overall = "SWHardeningNeeded" }, status: Warning,
			vector: Vector{InstanceIdentity: 2, Executables: 3, Hardware: 32, RuntimeOpaque: 2},
		},
		"debug tolerated": {
			edit: func(v *attest.Verdict, _ *attest.Claims) { v.Debug = true }, status: Contraindicated,
			vector: Vector{InstanceIdentity: 2, Configuration: 96, Executables: 3, Hardware: 2, RuntimeOpaque: 96},
		},
		"simulated": {
			edit: func(v *attest.Verdict, _ *attest.Claims) { v.Simulated = true }, status: Contraindicated,
			vector: Vector{InstanceIdentity: 2, Executables: 3, Hardware: 97},
		},
		"TPM": {
			edit: func(_ *attest.Verdict, c *attest.Claims) { c.TEE = attest.TPM }, status: Affirming,
			vector: Vector{InstanceIdentity: 2, Executables: 3, Hardware: 2},
		},
		"signature":   {edit: refuse("quote_signature"), status: Contraindicated, vector: Vector{InstanceIdentity: 99, Hardware: 99}},
		"measurement": {edit: refuse("measurement"), status: Contraindicated, vector: Vector{Executables: 33}},
		"register":    {edit: refuse("register_rtmr0"), status: Contraindicated, vector: Vector{Executables: 33}},
		"fact":        {edit: refuse("fact_secure_boot"), status: Contraindicated, vector: Vector{Configuration: 96}},
		"status":      {edit: refuse("tcb_status"), status: Contraindicated, vector: Vector{Hardware: 96}},
		"revoked":     {edit: func(v *attest.Verdict, c *attest.Claims) { v.TCB.Overall = "Revoked"; refuse("tcb_status")(v, c) }, status: Contraindicated, vector: Vector{Hardware: 96}},
		"no level": {edit: func(v *attest.Verdict, c *attest.Claims) {
			v.TCB.Overall = "TCBNotSupported"
			refuse("tcb_level")(v, c)
		}, status: Contraindicated, vector: Vector{Hardware: 97}},
		"nonce": {edit: refuse("nonce"), status: Contraindicated},
	}
	for name, tc := range cases {
		v, c := verdict()
		if tc.edit != nil {
			tc.edit(v, c)
		}
		r := FromVerdict(v, c, Options{At: now, Verifier: VerifierID{"d", "b"}, Named: true})
		if err := r.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		a := r.Submods[string(c.TEE)]
		if a.Status != tc.status || *a.Vector != tc.vector || len(r.Submods) != 2 {
			t.Errorf("%s: %s %+v", name, a.Status, *a.Vector)
		}
	}
	v, _ := verdict()
	r := FromVerdict(v, &attest.Claims{Devices: []attest.Claims{{TEE: attest.NVIDIAGPU, Debug: true}}}, Options{At: now, Verifier: VerifierID{"d", "b"}})
	if _, ok := r.Submods["attester"]; !ok || r.Submods["nvidia-gpu-1"].Status != Contraindicated || r.Status != Contraindicated {
		t.Errorf("%+v", r.Submods)
	}
}

func TestTiers(t *testing.T) {
	t.Parallel()
	for c, want := range map[Claim]Tier{
		-128: Contraindicated, -97: Contraindicated, -96: Warning, -33: Warning, -32: Affirming, -2: Affirming, -1: None, 0: None, 1: None,
		2: Affirming, 31: Affirming, 32: Warning, 95: Warning, 96: Contraindicated, 127: Contraindicated,
	} {
		if got := c.Tier(); got != want {
			t.Errorf("%d is %s, wanted %s", c, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "key.pem")
	made, err := LoadOrCreateKey(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(path, rand.Reader)
	if err != nil || !again.Public().(*ecdsa.PublicKey).Equal(made.Public()) {
		t.Fatalf("%v: another key", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", err, info)
	}
	private, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(made.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"private": private, "public": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})} {
		if key, err := ParsePublicKey(data); err != nil || !made.Public().(*ecdsa.PublicKey).Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sec1, err := x509.MarshalECPrivateKey(ec(t, elliptic.P384()))
	if err != nil {
		t.Fatal(err)
	}
	p521, err := x509.MarshalECPrivateKey(ec(t, elliptic.P521()))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if _, err := LoadOrCreateKey(file("sec1", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), 0o600), rand.Reader); err != nil {
		t.Error(err)
	}
	for name, p := range map[string]string{
		"readable by others": file("open", private, 0o644), "no PEM": file("text", []byte("x"), 0o600), "another PEM": file("other", []byte("-----BEGIN X-----\n-----END X-----\n"), 0o600),
		"broken": file("broken", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600), "P-521": file("p521", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: p521}), 0o600),
		"long": file("long", make([]byte, maxKeyFile+1), 0o600), "folder": dir, "no folder": filepath.Join(dir, "none", "key"),
	} {
		if _, err := LoadOrCreateKey(p, rand.Reader); err == nil {
			t.Errorf("%s: taken for a key", name)
		}
	}
	if _, err := LoadOrCreateKey(filepath.Join(dir, "new"), bytes.NewReader(nil)); err != nil && !strings.Contains(err.Error(), "verifier key") {
		t.Error(err)
	}
	for _, data := range []string{"", "-----BEGIN X-----\n-----END X-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if _, err := ParsePublicKey([]byte(data)); err == nil {
			t.Errorf("%q: taken for a key", data)
		}
	}
}

func FuzzVerify(f *testing.F) {
	key := ec(f, elliptic.P256())
	token, err := result().Sign(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(token))
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	f.Fuzz(func(t *testing.T, data []byte) {
		Recognise(data)
		if r, err := Verify(data, key.Public(), now); err == nil && r.check() != nil {
			t.Error("a result that does not hold was accepted")
		}
		if r, err := decode(data); err == nil {
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		}
	})
}
