package nitro

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest"
)

func TestHonestDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, raw := range map[string][]byte{
		"map of indefinite length": w.seal(w.payload(w.members(), true)).marshal(false),
		"map of definite length":   w.seal(w.payload(w.members(), false)).marshal(false),
		"with the COSE tag":        w.seal(w.payload(w.members(), true)).marshal(true),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !Recognise(raw) {
				t.Error("not recognised")
			}
			r, err := Verify(raw, w.options())
			if err != nil || !r.OK() {
				t.Fatalf("refused: %v %v", err, r)
			}
			c := r.Claims
			if c.Format != FormatDocument || c.TEE != attest.Nitro || c.Debug || c.Simulated || c.PlatformID != "i-0123456789abcdef0" ||
				!bytes.Equal(c.Measurement, bytes.Repeat([]byte{1}, 48)) || string(c.ReportData) != "data" || string(c.Nonce) != "nonce" || !c.IssuedAt.Equal(made) {
				t.Errorf("claims %+v", c)
			}
			if len(c.Measurements) != 16 || c.Measurements["pcr2"] != hex.EncodeToString(bytes.Repeat([]byte{3}, 48)) || c.Facts["module_id"] != module || c.Facts["public_key"] != hex.EncodeToString([]byte("a key")) {
				t.Errorf("claims %+v", c)
			}
			if len(r.NotChecked) != 1 {
				t.Errorf("not checked: %v", r.NotChecked)
			}
		})
	}
}

func TestOptionalMembersMayBeNull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.members()
	for _, name := range []string{"public_key", "user_data", "nonce"} {
		m = with(m, name, nil)
	}
	for name, members := range map[string][]pair{"null": m, "absent": m[:6]} {
		r, err := Verify(w.document(members), w.options())
		if err != nil || !r.OK() || r.Claims.Nonce != nil || r.Claims.ReportData != nil || r.Claims.Facts["public_key"] != "" {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
	r, err := Verify(w.document(with(with(w.members(), "nonce", []byte{}), "user_data", []byte{})), w.options())
	if err != nil || !r.OK() || r.Claims.Nonce == nil || len(r.Claims.Nonce) != 0 {
		t.Errorf("an empty nonce: %v %+v", err, r)
	}
}

func TestDebug(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	zero, one := make([]byte, 48), bytes.Repeat([]byte{1}, 48)
	for name, tc := range map[string]struct {
		pcrs  map[uint]any
		debug bool
	}{
		"measured":     {map[uint]any{0: one, 1: one, 2: one}, false},
		"all zero":     {map[uint]any{0: zero, 1: zero, 2: zero, 4: one}, true},
		"PCR0 zero":    {map[uint]any{0: zero, 1: one, 2: one}, true},
		"PCR2 zero":    {map[uint]any{0: one, 1: one, 2: zero}, true},
		"PCR1 missing": {map[uint]any{0: one, 2: one}, true},
	} {
		r, err := Verify(w.document(with(w.members(), "pcrs", tc.pcrs)), w.options())
		if err != nil || !r.OK() || r.Claims.Debug != tc.debug {
			t.Errorf("%s: %v, debug %v", name, err, r.Claims.Debug)
		}
	}
}

// TestRefusals spoils one thing at a time and wants exactly the rules that must fail.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := newWorld(t)
	all := []string{"certificate_chain", "document_signature", "module_id", "document_time"}
	ca := func(i int, edit func(c *x509.Certificate)) *world {
		return newWorldWith(t, func(j int, c *x509.Certificate) {
			if i == j {
				edit(c)
			}
		}, nil)
	}
	leaf := func(edit func(c *x509.Certificate)) *world { return newWorldWith(t, nil, edit) }
	options := func(edit func(o *Options)) Options {
		o := w.options()
		edit(&o)
		return o
	}
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	for name, tc := range map[string]struct {
		world   *world
		members func(m []pair) []pair
		options *Options
		failed  []string
	}{
		"no time":              {options: ptr(options(func(o *Options) { o.At = time.Time{} })), failed: []string{"root_trusted", "certificate_chain", "document_time"}},
		"too late":             {options: ptr(options(func(o *Options) { o.At = made.Add(4 * time.Hour) })), failed: []string{"certificate_chain"}},
		"before it was made":   {options: ptr(options(func(o *Options) { o.At = made.Add(-61 * time.Second) })), failed: []string{"certificate_chain", "document_time"}},
		"after the root's end": {options: ptr(options(func(o *Options) { o.At = made.AddDate(24, 0, 0) })), failed: []string{"root_trusted", "certificate_chain"}},
		"another root":         {options: ptr(options(func(o *Options) { o.Roots = []*x509.Certificate{other.root} })), failed: append([]string{"root_trusted"}, all...)},
		"AWS's root":           {options: ptr(options(func(o *Options) { o.Roots = nil })), failed: append([]string{"root_trusted"}, all...)},
		"no root":              {options: ptr(options(func(o *Options) { o.Roots = []*x509.Certificate{} })), failed: append([]string{"root_trusted"}, all...)},
		"a root that is none":  {options: ptr(options(func(o *Options) { o.Roots = []*x509.Certificate{nil} })), failed: append([]string{"root_trusted"}, all...)},
		"a leaf as root":       {options: ptr(options(func(o *Options) { o.Roots = []*x509.Certificate{w.leaf} })), failed: append([]string{"root_trusted"}, all...)},

		"another signer":    {members: func(m []pair) []pair { return with(m, "certificate", other.leaf.Raw) }, failed: all},
		"bundle of another": {members: func(m []pair) []pair { return with(m, "cabundle", [][]byte{w.root.Raw, other.cas[0].Raw}) }, failed: all},
		"bundle in wrong order": {members: func(m []pair) []pair {
			return with(m, "cabundle", [][]byte{w.root.Raw, w.cas[1].Raw, w.cas[0].Raw, w.cas[2].Raw})
		}, failed: all},
		"bundle with a gap":      {members: func(m []pair) []pair { return with(m, "cabundle", [][]byte{w.root.Raw, w.cas[0].Raw, w.cas[2].Raw}) }, failed: all},
		"bundle without root":    {members: func(m []pair) []pair { return with(m, "cabundle", [][]byte{w.cas[0].Raw, w.cas[1].Raw, w.cas[2].Raw}) }, failed: append([]string{"root_trusted"}, all...)},
		"bundle of no DER":       {members: func(m []pair) []pair { return with(m, "cabundle", [][]byte{{1}}) }, failed: append([]string{"root_trusted"}, all...)},
		"bytes after the leaf":   {members: func(m []pair) []pair { return with(m, "certificate", append(bytes.Clone(w.leaf.Raw), 0)) }, failed: all},
		"an authority as signer": {members: func(m []pair) []pair { return with(m, "certificate", w.cas[0].Raw) }, failed: all},
		"another enclave":        {members: func(m []pair) []pair { return with(m, "module_id", "i-0123456789abcdef0-enc9") }, failed: []string{"module_id"}},
		"a part of its name":     {members: func(m []pair) []pair { return with(m, "module_id", module[:len(module)-1]) }, failed: []string{"module_id"}},
		"made before the leaf":   {members: func(m []pair) []pair { return with(m, "timestamp", uint64(made.Add(-time.Hour).UnixMilli())) }, failed: []string{"document_time"}},
		"made tomorrow":          {members: func(m []pair) []pair { return with(m, "timestamp", uint64(made.Add(24*time.Hour).UnixMilli())) }, failed: []string{"document_time"}},

		"an authority that is none":  {world: ca(1, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 }), failed: all},
		"may not sign certificates":  {world: ca(2, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), failed: all},
		"path length too short":      {world: ca(0, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false }), failed: all},
		"path length zero":           {world: ca(1, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }), failed: all},
		"authority too late":         {world: ca(1, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), failed: []string{"certificate_chain"}},
		"critical extension":         {world: ca(0, func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknown} }), failed: all},
		"name constraint":            {world: ca(0, func(c *x509.Certificate) { c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"a"} }), failed: all},
		"leaf that is an authority":  {world: leaf(func(c *x509.Certificate) { c.IsCA = true }), failed: all},
		"leaf that may not sign":     {world: leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), failed: all},
		"leaf signs certificates":    {world: leaf(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), failed: all},
		"leaf with SHA-256":          {world: leaf(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA256 }), failed: all},
		"leaf of another enclave":    {world: leaf(func(c *x509.Certificate) { c.Subject.CommonName = "i-0-enc0.us-east-1.aws" }), failed: []string{"module_id"}},
		"leaf expired":               {world: leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), failed: []string{"certificate_chain"}},
		"leaf with critical unknown": {world: leaf(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknown} }), failed: all},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := w
			if tc.world != nil {
				w = tc.world
			}
			m := w.members()
			if tc.members != nil {
				m = tc.members(m)
			}
			o := w.options()
			if tc.options != nil {
				o = *tc.options
			}
			r, err := Verify(w.document(m), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := failed(r); !slices.Equal(got, tc.failed) {
				t.Errorf("failed %v, wanted %v: %+v", got, tc.failed, r.Rules)
			}
			for _, rule := range r.Rules {
				if !rule.OK && (rule.Wanted == "" || rule.Seen == "" || rule.Advice == "") {
					t.Errorf("a refusal without reason: %+v", rule)
				}
			}
		})
	}
}

// TestLeafOfAnotherCurve has a P-256 leaf, whose key nobody may use.
func TestLeafOfAnotherCurve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p256 := w.newKey(elliptic.P256())
	ca := newWorld(t)
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: module + ".us-east-1.aws"}, NotBefore: made.Add(-time.Minute), NotAfter: made.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	key := ca.newKey(elliptic.P384())
	root := ca.sign(ca.ca("root", -1), ca.ca("root", -1), key, key)
	leaf := ca.sign(tmpl, root, p256, key)
	m := with(with(w.members(), "certificate", leaf.Raw), "cabundle", [][]byte{root.Raw})
	r, err := Verify(w.document(m), Options{At: now, Roots: []*x509.Certificate{root}})
	if err != nil || r.OK() || failed(r)[0] != "certificate_chain" {
		t.Errorf("%v %+v", err, r)
	}
}

func TestAWSRoot(t *testing.T) {
	t.Parallel()
	hash := sha256.Sum256(AWSRoot().Raw)
	if got := hex.EncodeToString(hash[:]); got != "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b" {
		t.Error(got)
	}
}

func TestErrorsWrapErrFormat(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "\xd2", "\x84", "{}", "\x84\x44" + protectedES384 + "\xa0\x41\x00\x40"} {
		if _, err := Verify([]byte(raw), Options{At: now}); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func ptr[T any](v T) *T { return &v }
