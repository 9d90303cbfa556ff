// Package issue decides whether a certificate is issued. It reads a certificate
// request strictly, compares it and its verified evidence with a snapshot of
// what the manager knows, and answers with every rule that was applied: issue
// (with the template of the leaf), denied, or pending on a task.
//
// The decision is pure: no clock, no random, no database, no key. The caller
// verifies the evidence under the root that the account's policy chose first
// (security decision S10), takes the nonce out of the store in the same
// transaction as the snapshot, and signs.
//
// Invariants: the request gives the key and the names asked for, nothing else
// reaches the leaf (S5); a failed rule that no open task can cure denies, whatever
// else holds; a pending request is answered with a task and never issued later
// (ruling 20).
//
// What is trusted: the snapshot and the verifier's result. What is not promised:
// that the program behind an approved measurement is a good one.
package issue

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"hitoku.dev/attest"
)

// MaxRequestSize is the longest PEM text of a request that is looked at, in bytes.
const MaxRequestSize = 128 << 10

// Request is a certificate request that is well formed and signed by the key it names.
// Nothing in it is believed yet.
type Request struct {
	DER        []byte
	Public     crypto.PublicKey // *ecdsa.PublicKey on P-256, or *rsa.PublicKey of 2048, 3072 or 4096 bits
	SPKI       []byte           // DER SubjectPublicKeyInfo
	SPKIHash   [32]byte
	CommonName string
	DNSNames   []string // of the subjectAltName extension, in order
	Quote      []byte   // the evidence, unverified
	// Binding is what the evidence claims to be made over; nil where the request has none
	// (CCM's own form).
	Binding    *attest.Binding
	BindingDER []byte
	// Rules are those that reading the request has settled, all of which held.
	Rules []attest.Rule
}

// Names returns the common name and the DNS names, each once.
func (r *Request) Names() []string {
	var names []string
	for _, n := range append([]string{r.CommonName}, r.DNSNames...) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// ParseRequest reads a PKCS#10 request in PEM. Its error is an
// *attest.RefusedError with the rule that failed.
func ParseRequest(text string) (*Request, error) {
	r := new(Request)
	if err := r.parse(text); err != nil {
		return nil, err
	}
	return r, nil
}

func refuse(name, wanted, seen, advice string) error {
	return &attest.RefusedError{What: "certificate request", Rules: []attest.Rule{{Name: name, Wanted: wanted, Seen: seen, Advice: advice}}}
}

func (r *Request) hold(name, wanted, seen string) {
	r.Rules = append(r.Rules, attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: true})
}

const (
	wantFormat = "one PEM block CERTIFICATE REQUEST holding a PKCS#10 request in DER"
	wantKey    = "EC P-256, or RSA of 2048, 3072 or 4096 bits with exponent 65537"
)

func (r *Request) parse(text string) error {
	if err := r.readPEM(text); err != nil {
		return err
	}
	malformed := func(what string) error { return refuse("csr_format", wantFormat, what, "") }
	input := cryptobyte.String(r.DER)
	var outer, tbs, info, algorithm cryptobyte.String
	var signature []byte
	if !input.ReadASN1(&outer, cbasn1.SEQUENCE) || !input.Empty() {
		return malformed("no single sequence")
	}
	if !outer.ReadASN1Element(&tbs, cbasn1.SEQUENCE) || !outer.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!outer.ReadASN1BitStringAsBytes(&signature) || !outer.Empty() {
		return malformed("not request info, algorithm and signature")
	}
	whole := tbs
	var version int
	var subject, spki, attributes cryptobyte.String
	if !tbs.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1Integer(&version) || version != 0 ||
		!info.ReadASN1(&subject, cbasn1.SEQUENCE) || !info.ReadASN1Element(&spki, cbasn1.SEQUENCE) ||
		!info.ReadASN1(&attributes, cbasn1.Tag(0).ContextSpecific().Constructed()) || !info.Empty() {
		return malformed("request info is not version 0, subject, key and attributes")
	}
	r.hold("csr_format", wantFormat, fmt.Sprintf("%d bytes", len(r.DER)))
	if err := r.readKey(spki); err != nil {
		return err
	}
	if err := r.checkSignature(whole, algorithm, signature); err != nil {
		return err
	}
	if err := r.readSubject(subject); err != nil {
		return err
	}
	return r.readAttributes(attributes)
}

func (r *Request) readPEM(text string) error {
	malformed := func(what string) error { return refuse("csr_format", wantFormat, what, "") }
	if len(text) > MaxRequestSize {
		return malformed(fmt.Sprintf("%d bytes, at most %d allowed", len(text), MaxRequestSize))
	}
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "-----BEGIN ") {
		return malformed("text that begins otherwise")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return malformed("a PEM block that cannot be read")
	}
	if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return malformed("PEM block " + quoteShort(block.Type))
	}
	if len(block.Headers) != 0 || len(rest) != 0 {
		return malformed("PEM headers, or text after the block")
	}
	r.DER = block.Bytes
	return nil
}

func (r *Request) readKey(spki []byte) error {
	advice := "configure key_type EC with size 256, or RSA with 2048, 3072 or 4096"
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return refuse("key_type", wantKey, "a key that cannot be read", advice)
	}
	seen := ""
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if seen = "EC " + k.Curve.Params().Name; k.Curve != elliptic.P256() {
			return refuse("key_type", wantKey, "Invalid key size: "+seen, advice)
		}
	case *rsa.PublicKey:
		seen = fmt.Sprintf("RSA %d, exponent %d", k.N.BitLen(), k.E)
		if bits := k.N.BitLen(); bits != 2048 && bits != 3072 && bits != 4096 || k.E != 65537 {
			return refuse("key_type", wantKey, "Invalid key size: "+seen, advice)
		}
	default:
		return refuse("key_type", wantKey, fmt.Sprintf("Invalid key size: key of type %T", public), advice)
	}
	again, err := x509.MarshalPKIXPublicKey(public)
	if err != nil || string(again) != string(spki) {
		return refuse("key_type", wantKey, seen+" in another encoding than the usual one", advice)
	}
	r.Public, r.SPKI, r.SPKIHash = public, spki, attest.SPKIHash(spki)
	r.hold("key_type", wantKey, seen)
	return nil
}

// DER of the two algorithm identifiers that requests are signed with.
const (
	ecdsaWithSHA256 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
	rsaWithSHA256   = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"
)

func (r *Request) checkSignature(tbs, algorithm, signature []byte) error {
	const wanted = "a SHA-256 signature of the request by its own key"
	digest := sha256.Sum256(tbs)
	ok := false
	switch k := r.Public.(type) {
	case *ecdsa.PublicKey:
		if string(algorithm) != ecdsaWithSHA256 {
			return refuse("csr_signature", wanted, "another algorithm than ecdsa-with-SHA256", "")
		}
		ok = ecdsa.VerifyASN1(k, digest[:], signature)
	case *rsa.PublicKey:
		if string(algorithm) != rsaWithSHA256 {
			return refuse("csr_signature", wanted, "another algorithm than sha256WithRSAEncryption", "")
		}
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	}
	if !ok {
		return refuse("csr_signature", wanted, "a signature that does not verify", "the request was changed on its way, or made without its key")
	}
	r.hold("csr_signature", wanted, "verified")
	return nil
}

// quoteShort shows at most 40 characters of outside text.
func quoteShort(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return fmt.Sprintf("%q", s)
}
