package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"hitoku.dev/attest"
)

// made is when the documents of these tests were made, and now when they are judged.
var (
	made = time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)
	now  = made.Add(30 * time.Second)
)

const module = "i-0123456789abcdef0-enc0123456789abcdef"

// world is an AWS of its own: a root, regional, zonal and instance authorities, and a hypervisor.
type world struct {
	t    testing.TB
	root *x509.Certificate
	cas  []*x509.Certificate // below the root, from the top
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey // of the leaf

	caEdit   func(i int, c *x509.Certificate)
	leafEdit func(c *x509.Certificate)
}

func newWorld(t testing.TB) *world { return newWorldWith(t, nil, nil) }

// newWorldWith makes a world whose certificates are spoilt before they are signed.
func newWorldWith(t testing.TB, caEdit func(i int, c *x509.Certificate), leafEdit func(c *x509.Certificate)) *world {
	t.Helper()
	w := &world{t: t, caEdit: caEdit, leafEdit: leafEdit}
	key := w.newKey(elliptic.P384())
	root := w.ca("aws.nitro-enclaves", -1)
	root.NotBefore, root.NotAfter = made.AddDate(-7, 0, 0), made.AddDate(23, 0, 0)
	w.root = w.sign(root, root, key, key)
	issuer, issuerKey := w.root, key
	for i, name := range []string{"region.us-east-1.aws.nitro-enclaves", "zone.zonal.us-east-1.aws.nitro-enclaves", "i-0123456789abcdef0.us-east-1.aws.nitro-enclaves"} {
		tmpl, curve := w.ca(name, 2-i), elliptic.P384()
		if caEdit != nil {
			caEdit(i, tmpl)
		}
		key := w.newKey(curve)
		cert := w.sign(tmpl, issuer, key, issuerKey)
		w.cas, issuer, issuerKey = append(w.cas, cert), cert, key
	}
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: module + ".us-east-1.aws"}, NotBefore: made.Add(-time.Minute), NotAfter: made.Add(3 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment, BasicConstraintsValid: true,
	}
	if leafEdit != nil {
		leafEdit(leaf)
	}
	w.key = w.newKey(elliptic.P384())
	w.leaf = w.sign(leaf, issuer, w.key, issuerKey)
	return w
}

func (w *world) newKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) ca(name string, pathLen int) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: made.Add(-24 * time.Hour), NotAfter: made.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
	}
}

func (w *world) sign(tmpl, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) *x509.Certificate {
	w.t.Helper()
	tmpl.SerialNumber = big.NewInt(7)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// pair is a member of the payload's map, in the order of a real document.
type pair struct {
	name  string
	value any
}

// members returns those of an honest document.
func (w *world) members() []pair {
	bundle := [][]byte{w.root.Raw}
	for _, c := range w.cas {
		bundle = append(bundle, c.Raw)
	}
	pcrs := map[uint]any{}
	for i := range uint(16) {
		pcrs[i] = make([]byte, 48)
	}
	for i := range uint(5) {
		pcrs[i] = bytes.Repeat([]byte{byte(i + 1)}, 48)
	}
	return []pair{
		{"module_id", module}, {"digest", "SHA384"}, {"timestamp", uint64(made.UnixMilli())}, {"pcrs", pcrs},
		{"certificate", w.leaf.Raw}, {"cabundle", bundle},
		{"public_key", []byte("a key")}, {"user_data", []byte("data")}, {"nonce", []byte("nonce")},
	}
}

// with replaces a member, or adds it.
func with(members []pair, name string, value any) []pair {
	for i := range members {
		if members[i].name == name {
			members[i].value = value
			return members
		}
	}
	return append(members, pair{name, value})
}

func without(members []pair, name string) []pair {
	var out []pair
	for _, m := range members {
		if m.name != name {
			out = append(out, m)
		}
	}
	return out
}

// payload encodes a map of definite or indefinite length.
func (w *world) payload(members []pair, indefinite bool) []byte {
	w.t.Helper()
	enc, err := cbor.CanonicalEncOptions().EncMode()
	if err != nil {
		w.t.Fatal(err)
	}
	out := []byte{0xa0 + byte(len(members))}
	if indefinite {
		out[0] = 0xbf
	}
	for _, m := range members {
		for _, v := range []any{m.name, m.value} {
			if raw, ok := v.(cbor.RawMessage); ok {
				out = append(out, raw...)
				continue
			}
			b, err := enc.Marshal(v)
			if err != nil {
				w.t.Fatal(err)
			}
			out = append(out, b...)
		}
	}
	if indefinite {
		out = append(out, 0xff)
	}
	return out
}

// seal signs a payload as the hypervisor does.
func (w *world) seal(payload []byte) *sign1 {
	w.t.Helper()
	s := &sign1{Protected: []byte(protectedES384), Payload: payload}
	digest := sha512.Sum384(s.signed())
	r, t, err := ecdsa.Sign(rand.Reader, w.key, digest[:])
	if err != nil {
		w.t.Fatal(err)
	}
	s.Signature = make([]byte, 96)
	r.FillBytes(s.Signature[:48])
	t.FillBytes(s.Signature[48:])
	return s
}

// document is a sealed document of the members.
func (w *world) document(members []pair) []byte {
	w.t.Helper()
	return w.seal(w.payload(members, true)).marshal(false)
}

func (w *world) options() Options { return Options{At: now, Roots: []*x509.Certificate{w.root}} }

func failed(r *attest.Result) []string {
	var names []string
	for _, rule := range r.Rules {
		if !rule.OK {
			names = append(names, rule.Name)
		}
	}
	return names
}
