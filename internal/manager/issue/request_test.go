package issue

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/issue/issuetest"
)

// builder writes requests, honest and not, piece by piece.
type builder struct {
	key        crypto.Signer
	version    int64
	spki       []byte // instead of the key's own
	subject    []cryptobyte.BuilderContinuation
	attributes []attributeValue
	algorithm  []byte // instead of the right one
	tail       []byte // after the request
}

type attributeValue struct {
	oid    asn1.ObjectIdentifier
	values [][]byte // DER each
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func der(t testing.TB, v any, params ...string) []byte {
	t.Helper()
	out, err := asn1.MarshalWithParams(v, strings.Join(params, ","))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func name(oid asn1.ObjectIdentifier, tag cbasn1.Tag, value string) cryptobyte.BuilderContinuation {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oid)
				b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
			})
		})
	}
}

func testBinding(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	b := &attest.Binding{Purpose: attest.PurposeAppTLS, Subject: issuetest.SubjectHash(t, key), Nonce: make([]byte, 32)}
	out, err := b.MarshalDER()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func generalName(tag int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
}

func san(t testing.TB, names ...asn1.RawValue) extension {
	t.Helper()
	return extension{Id: oidSubjectAltName, Value: der(t, names)}
}

type extension struct {
	Id       asn1.ObjectIdentifier
	Critical bool `asn1:"optional"`
	Value    []byte
}

// honest returns a builder of a request that is accepted.
func honest(t testing.TB) *builder {
	t.Helper()
	key := newKey(t)
	return &builder{
		key: key, subject: []cryptobyte.BuilderContinuation{name(oidCommonName, cbasn1.UTF8String, "app.example")},
		attributes: []attributeValue{
			{oidExtensionRequest, [][]byte{der(t, []extension{san(t, generalName(2, "app.example"), generalName(2, "b.example"))})}},
			{attest.OIDQuote, [][]byte{der(t, []byte("quote"))}},
			{attest.OIDBinding, [][]byte{der(t, testBinding(t, key))}},
		},
	}
}

func (b *builder) pem(t testing.TB) string {
	t.Helper()
	spki := b.spki
	if spki == nil {
		var err error
		if spki, err = x509.MarshalPKIXPublicKey(b.key.Public()); err != nil {
			t.Fatal(err)
		}
	}
	var info cryptobyte.Builder
	info.AddASN1(cbasn1.SEQUENCE, func(c *cryptobyte.Builder) {
		c.AddASN1Int64(b.version)
		c.AddASN1(cbasn1.SEQUENCE, func(c *cryptobyte.Builder) {
			for _, f := range b.subject {
				f(c)
			}
		})
		c.AddBytes(spki)
		c.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(c *cryptobyte.Builder) {
			for _, a := range b.attributes {
				c.AddASN1(cbasn1.SEQUENCE, func(c *cryptobyte.Builder) {
					c.AddASN1ObjectIdentifier(a.oid)
					c.AddASN1(cbasn1.SET, func(c *cryptobyte.Builder) {
						for _, v := range a.values {
							c.AddBytes(v)
						}
					})
				})
			}
		})
	})
	tbs := info.BytesOrPanic()
	digest, hash := sha256.Sum256(tbs), crypto.Hash(crypto.SHA256)
	message, algorithm := digest[:], []byte(ecdsaWithSHA256)
	switch b.key.(type) {
	case *rsa.PrivateKey:
		algorithm = []byte(rsaWithSHA256)
	case ed25519.PrivateKey:
		message, hash = tbs, 0
	}
	if b.algorithm != nil {
		algorithm = b.algorithm
	}
	signature, err := b.key.Sign(rand.Reader, message, hash)
	if err != nil {
		t.Fatal(err)
	}
	var out cryptobyte.Builder
	out.AddASN1(cbasn1.SEQUENCE, func(c *cryptobyte.Builder) {
		c.AddBytes(tbs)
		c.AddBytes(algorithm)
		c.AddASN1BitString(signature)
	})
	return issuetest.PEM(append(out.BytesOrPanic(), b.tail...))
}

func failedRule(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var refused *attest.RefusedError
	if !errors.As(err, &refused) || len(refused.Rules) != 1 || refused.Rules[0].OK {
		t.Fatalf("error %v does not name one rule", err)
	}
	return refused.Rules[0].Name
}

func TestParseRequest(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{newKey(t), rsaKey} {
		binding := testBinding(t, key)
		text := issuetest.Request(t, key, "app.example", []string{"b.example", "app.example"}, []byte("quote"), binding)
		r, err := ParseRequest(text)
		if err != nil {
			t.Fatal(err)
		}
		if r.CommonName != "app.example" || !slices.Equal(r.Names(), []string{"app.example", "b.example"}) || string(r.Quote) != "quote" {
			t.Errorf("read %q %q %q", r.CommonName, r.Names(), r.Quote)
		}
		if r.Binding == nil || r.Binding.Subject != r.SPKIHash || string(r.BindingDER) != string(binding) {
			t.Errorf("binding %+v", r.Binding)
		}
		for _, rule := range r.Rules {
			if !rule.OK {
				t.Errorf("rule %+v", rule)
			}
		}
	}
	r, err := ParseRequest(issuetest.Request(t, rsaKey, "app.example", nil, []byte("quote"), nil))
	if err != nil || r.Binding != nil || !slices.Equal(r.Names(), []string{"app.example"}) {
		t.Errorf("without a binding: %v, %+v", err, r)
	}
	if _, err := ParseRequest("\n" + strings.ReplaceAll(honest(t).pem(t), "\n", "\r\n")); err != nil {
		t.Errorf("other line ends: %v", err)
	}
	if _, err := ParseRequest(strings.ReplaceAll(honest(t).pem(t), " CERT", " NEW CERT")); err != nil {
		t.Errorf("older PEM name: %v", err)
	}
}

func TestParseRequestRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		rule   string
		change func(b *builder)
	}{
		{"version 1", "csr_format", func(b *builder) { b.version = 1 }},
		{"bytes after the end", "csr_format", func(b *builder) { b.tail = []byte{0} }},
		{"EC P-384", "key_type", func(b *builder) { b.key, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
		{"RSA 1024", "key_type", func(b *builder) { b.key = weakRSA(t, 1024, 65537) }},
		{"RSA 2056", "key_type", func(b *builder) { b.key = weakRSA(t, 2056, 65537) }},
		{"RSA with exponent 3", "key_type", func(b *builder) { b.key = weakRSA(t, 2048, 3) }},
		{"Ed25519", "key_type", func(b *builder) { _, b.key, _ = ed25519Key() }},
		{"key of somebody else", "csr_signature", func(b *builder) { b.spki, _ = x509.MarshalPKIXPublicKey(newKey(t).Public()) }},
		{"other algorithm named", "csr_signature", func(b *builder) { b.algorithm = []byte(rsaWithSHA256) }},
		{"organisation", "csr_subject", func(b *builder) {
			b.subject = append(b.subject, name(asn1.ObjectIdentifier{2, 5, 4, 10}, cbasn1.UTF8String, "x"))
		}},
		{"two common names", "csr_subject", func(b *builder) { b.subject = append(b.subject, b.subject[0]) }},
		{"claimed measurement", "csr_subject", func(b *builder) {
			b.subject = append(b.subject, name(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 49690, 1, 1, 4}, cbasn1.BIT_STRING, "\x00abc"))
		}},
		{"NUL in the common name", "csr_subject", func(b *builder) {
			b.subject = []cryptobyte.BuilderContinuation{name(oidCommonName, cbasn1.UTF8String, "app.example\x00.evil")}
		}},
		{"16-bit common name", "csr_subject", func(b *builder) {
			b.subject = []cryptobyte.BuilderContinuation{name(oidCommonName, cbasn1.Tag(30), "\x00a")}
		}},
		{"no quote", "csr_attributes", func(b *builder) { b.attributes = slices.Delete(b.attributes, 1, 2) }},
		{"empty quote", "csr_attributes", func(b *builder) { b.attributes[1].values = [][]byte{der(t, []byte{})} }},
		{"two quotes", "csr_attributes", func(b *builder) { b.attributes = append(b.attributes, b.attributes[1]) }},
		{"two quotes in one attribute", "csr_attributes", func(b *builder) { b.attributes[1].values = append(b.attributes[1].values, b.attributes[1].values[0]) }},
		{"two bindings", "csr_attributes", func(b *builder) { b.attributes = append(b.attributes, b.attributes[2]) }},
		{"quote that is no OCTET STRING", "csr_attributes", func(b *builder) { b.attributes[1].values = [][]byte{der(t, "quote")} }},
		{"other evidence", "csr_attributes", func(b *builder) {
			b.attributes = append(b.attributes, attributeValue{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 49690, 2, 2, 6}, b.attributes[1].values})
		}},
		{"challenge password", "csr_attributes", func(b *builder) {
			b.attributes = append(b.attributes, attributeValue{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}, [][]byte{der(t, "x")}})
		}},
		{"binding that is none", "csr_attributes", func(b *builder) { b.attributes[2].values = [][]byte{der(t, []byte("binding"))} }},
		{"CA:TRUE", "csr_extensions", withExtensions(t, extension{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}})},
		{"CA:FALSE", "csr_extensions", withExtensions(t, extension{Id: oidBasicConstraints, Value: []byte{0x30, 0}})},
		{"key usage certSign", "csr_extensions", withExtensions(t, extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{3, 2, 1, 6}})},
		{"evidence of its own", "csr_extensions", withExtensions(t, extension{Id: attest.OIDCMW, Value: []byte{0x30, 0}})},
		{"SAN after SAN", "csr_extensions", withExtensions(t, san(t, generalName(2, "app.example")), san(t, generalName(2, "app.example")))},
		{"empty SAN", "csr_names", withExtensions(t, san(t))},
		{"otherName", "csr_names", withExtensions(t, san(t, asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: der(t, "x")}))},
		{"e-mail", "csr_names", withExtensions(t, san(t, generalName(1, "a@app.example")))},
		{"directory name", "csr_names", withExtensions(t, san(t, asn1.RawValue{Class: 2, Tag: 4, IsCompound: true, Bytes: []byte{0x30, 0}}))},
		{"SPIFFE id of another", "csr_names", withExtensions(t, san(t, generalName(2, "app.example"), generalName(6, "spiffe://a.manager/app/b/build/c")))},
		{"IP", "csr_names", withExtensions(t, san(t, generalName(7, "\x7f\x00\x00\x01")))},
		{"registered id", "csr_names", withExtensions(t, san(t, generalName(8, "\x2a\x03")))},
		{"names without end", "csr_names", func(b *builder) {
			var many []asn1.RawValue
			for i := range maxNames + 1 {
				many = append(many, generalName(2, fmt.Sprintf("n%d.example", i)))
			}
			withExtensions(t, san(t, many...))(b)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := honest(t)
			tt.change(b)
			_, err := ParseRequest(b.pem(t))
			if got := failedRule(t, err); got != tt.rule {
				t.Errorf("refused by %q, wanted %q: %v", got, tt.rule, err)
			}
		})
	}
}

func withExtensions(t testing.TB, extensions ...extension) func(*builder) {
	return func(b *builder) { b.attributes[0].values = [][]byte{der(t, extensions)} }
}

func ed25519Key() (crypto.PublicKey, crypto.Signer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	return public, private, err
}

// weakRSA makes a key of any size and exponent, which the standard library no longer does.
func weakRSA(t testing.TB, bits, e int) *rsa.PrivateKey {
	t.Helper()
	one, exponent := big.NewInt(1), big.NewInt(int64(e))
	for {
		p, err := rand.Prime(rand.Reader, bits/2)
		if err != nil {
			t.Fatal(err)
		}
		q, err := rand.Prime(rand.Reader, bits-bits/2)
		if err != nil {
			t.Fatal(err)
		}
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(exponent, phi)
		n := new(big.Int).Mul(p, q)
		if d == nil || n.BitLen() != bits || p.Cmp(q) == 0 {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: e}, D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		return key
	}
}

func TestParseRequestText(t *testing.T) {
	t.Parallel()
	good := honest(t).pem(t)
	block, _ := pem.Decode([]byte(good))
	for name, text := range map[string]string{
		"empty": "", "nothing": "hello", "DER": string(block.Bytes), "other block": strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"),
		"two requests": good + good, "text before": "x\n" + good, "text after": good + "x",
		"headers": strings.Replace(good, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1), "no end": good[:len(good)-10],
		"too long": strings.Repeat(" ", MaxRequestSize) + good,
	} {
		_, err := ParseRequest(text)
		if got := failedRule(t, err); got != "csr_format" {
			t.Errorf("%s: refused by %q: %v", name, got, err)
		}
	}
}

func TestEveryFlippedBitOfARequestIsRefused(t *testing.T) {
	t.Parallel()
	block, _ := pem.Decode([]byte(honest(t).pem(t)))
	for i := range len(block.Bytes) * 8 {
		bad := slices.Clone(block.Bytes)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := ParseRequest(issuetest.PEM(bad)); failedRule(t, err) == "" {
			t.Fatalf("bit %d of byte %d flipped: accepted", i%8, i/8)
		}
	}
	for n := range block.Bytes {
		if _, err := ParseRequest(issuetest.PEM(block.Bytes[:n])); failedRule(t, err) == "" {
			t.Fatalf("cut to %d bytes: accepted", n)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(honest(f).pem(f))
	b := honest(f)
	withExtensions(f, san(f, generalName(6, "spiffe://x/y")))(b)
	f.Add(b.pem(f))
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRequest(text)
		if (r == nil) == (err == nil) {
			t.Fatal("neither or both of request and error")
		}
		if err != nil {
			failedRule(t, err)
			return
		}
		// The standard library must read the same things out of it.
		std, err := x509.ParseCertificateRequest(r.DER)
		if err != nil {
			t.Fatalf("accepted what crypto/x509 refuses: %v", err)
		}
		if std.CheckSignature() != nil || std.Subject.CommonName != r.CommonName || !slices.Equal(std.DNSNames, r.DNSNames) {
			t.Fatalf("reads %q %q, crypto/x509 reads %q %q", r.CommonName, r.DNSNames, std.Subject.CommonName, std.DNSNames)
		}
	})
}

// FuzzRequestParts reaches what a signature protects from fuzzing a whole request.
func FuzzRequestParts(f *testing.F) {
	b := honest(f)
	var subject, attributes cryptobyte.Builder
	for _, add := range b.subject {
		add(&subject)
	}
	for _, a := range b.attributes {
		attributes.AddASN1(cbasn1.SEQUENCE, func(c *cryptobyte.Builder) {
			c.AddASN1ObjectIdentifier(a.oid)
			c.AddASN1(cbasn1.SET, func(c *cryptobyte.Builder) { c.AddBytes(a.values[0]) })
		})
	}
	f.Add(subject.BytesOrPanic(), attributes.BytesOrPanic())
	f.Add([]byte{}, []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, subject, attributes []byte) {
		r := new(Request)
		if err := r.readSubject(subject); err != nil {
			failedRule(t, err)
		}
		if err := r.readAttributes(attributes); err != nil {
			failedRule(t, err)
			return
		}
		if len(r.Quote) == 0 || len(r.DNSNames) > maxNames {
			t.Fatalf("accepted a quote of %d bytes, %d names", len(r.Quote), len(r.DNSNames))
		}
	})
}
