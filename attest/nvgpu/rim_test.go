package nvgpu

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// rims of the units that gpu makes.
func (m *maker) driverRIM() *rimFile { return m.rim("590.12", 7, 9, 35) }
func (m *maker) vbiosRIM() *rimFile  { return m.rim("96.00.a5.00.01", 0, 1, 39) }

func TestReferenceValues(t *testing.T) {
	t.Parallel()
	m, stranger := newMaker(t), newMaker(t)
	gpu := list(m.gpu(1))
	good := [][]byte{m.driverRIM().bytes(), m.vbiosRIM().bytes()}
	replace := func(old, with string) [][]byte {
		f := m.driverRIM()
		f.edit = func(s string) string {
			if !strings.Contains(s, old) {
				t.Errorf("%q is not in the file", old)
			}
			return strings.Replace(s, old, with, 1)
		}
		return [][]byte{f.bytes(), good[1]}
	}
	info := func(old, with string) [][]byte {
		f := m.driverRIM()
		f.editInfo = func(s string) string { return strings.Replace(s, old, with, 1) }
		return [][]byte{f.bytes(), good[1]}
	}
	driver := func(edit func(f *rimFile)) [][]byte {
		f := m.driverRIM()
		edit(f)
		return [][]byte{f.bytes(), good[1]}
	}
	wrongValue := func(f *rimFile) { f.golden[9].values = []string{strings.Repeat("a", 96)} }
	late := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "RIM signer"}, NotBefore: now.AddDate(-2, 0, 0), NotAfter: now.AddDate(-1, 0, 0),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}, m.root, m.rimSigner, m.rootKey)
	sw := m.nvswitch(2)
	switchRIM := m.rim("96.10.55.00.01", 0, 1, 2)
	switchRIM.product, switchRIM.edition = "LS10", "SWITCH"
	enabled := m.gpu(5)
	enabled.opaque[6].data = []byte{statusEnabled}
	enabled.measurements = slices.Clone(enabled.measurements)
	enabled.measurements[35] = make([]byte, 48)
	disabled := m.gpu(6)
	disabled.measurements = slices.Clone(disabled.measurements)
	disabled.measurements[35] = make([]byte, 48)
	few := m.gpu(7)
	few.measurements = few.measurements[:39]
	missing := []string{"driver_rim", "measurements"}
	for name, tc := range map[string]struct {
		raw    []byte
		rims   [][]byte
		edit   func(o *Options)
		failed []string
	}{
		"both":                   {rims: good},
		"either order":           {rims: [][]byte{good[1], good[0]}},
		"among others":           {rims: append([][]byte{m.rim("1.2", 3).bytes()}, good...)},
		"CR LF":                  {rims: replace("    <ns0:Entity", "    <ns0:Entity\r")},
		"XML declaration":        {rims: replace("<SoftwareIdentity", `<?xml version="1.0" encoding="utf-8"?>`+"\r\n<SoftwareIdentity")},
		"a switch":               {raw: list(sw), rims: [][]byte{switchRIM.bytes()}},
		"GPU and switch":         {raw: list(m.gpu(1), sw), rims: append([][]byte{switchRIM.bytes()}, good...)},
		"decoder off":            {raw: list(disabled), rims: good},
		"decoder on":             {raw: list(enabled), rims: good, failed: []string{"measurements"}},
		"measurement missing":    {raw: list(few), rims: good, failed: []string{"measurements"}},
		"another value":          {rims: driver(wrongValue), failed: []string{"measurements"}},
		"values beside each one": {rims: driver(func(f *rimFile) { f.golden[1].active = true }), failed: []string{"vbios_rim", "measurements"}},
		"nothing to compare":     {rims: [][]byte{m.rim("590.12").bytes(), m.rim("96.00.A5.00.01").bytes()}, failed: []string{"measurements"}},
		"driver alone":           {rims: good[:1], failed: []string{"vbios_rim", "measurements"}},
		"VBIOS alone":            {rims: good[1:], failed: missing},
		"another driver":         {rims: [][]byte{m.rim("590.13", 7).bytes(), good[1]}, failed: missing},
		"another chip":           {rims: driver(func(f *rimFile) { f.product = "GB100" }), failed: missing},
		"another edition":        {rims: driver(func(f *rimFile) { f.edition = "SWITCH" }), failed: missing},
		"no RIM":                 {rims: [][]byte{[]byte("no XML"), good[1]}, failed: missing},
		"another root":           {rims: good, edit: func(o *Options) { o.RIMRoots = nil }, failed: []string{"driver_rim", "vbios_rim", "measurements"}},
		"no root":                {rims: good, edit: func(o *Options) { o.RIMRoots = []*x509.Certificate{} }, failed: []string{"driver_rim", "vbios_rim", "measurements"}},
		"the devices' root":      {rims: good, edit: func(o *Options) { o.RIMRoots = []*x509.Certificate{m.root} }, failed: []string{"driver_rim", "vbios_rim", "measurements"}},
		"signer expired":         {rims: good, edit: func(o *Options) { o.At = now.AddDate(2, 0, 0) }, failed: []string{"driver_rim", "vbios_rim", "measurements"}},
		"no time":                {rims: good, edit: func(o *Options) { o.At = time.Time{} }, failed: []string{"root_trusted", "certificate_chain", "driver_rim", "vbios_rim", "measurements"}},
		"another maker's":        {rims: [][]byte{stranger.driverRIM().bytes(), good[1]}, failed: missing},
		"another's signature":    {rims: driver(func(f *rimFile) { f.m = stranger; f.chain = append(slices.Clone(m.rimChain), m.rimRoot) }), failed: missing},
		"signer under no root":   {rims: driver(func(f *rimFile) { f.chain = []*x509.Certificate{late, m.rimRoot} }), failed: missing},
		"root alone":             {rims: driver(func(f *rimFile) { f.chain = []*x509.Certificate{m.rimRoot} }), failed: missing},
		"chain without root":     {rims: driver(func(f *rimFile) { f.chain = m.rimChain }), failed: missing},
		"chain of seven":         {rims: driver(func(f *rimFile) { f.chain = slices.Repeat([]*x509.Certificate{m.rimRoot}, 7) }), failed: missing},

		"value changed":          {rims: replace(hexOf(9), hexOf(8)), failed: missing},
		"active changed":         {rims: replace(`active="True"`, `active="False"`), failed: missing},
		"attribute added":        {rims: replace(`name="Measurement_7"`, `name="Measurement_7" root="a"`), failed: missing},
		"white space added":      {rims: replace("\n    </ns0:Payload>", "\n     </ns0:Payload>"), failed: missing},
		"prefix changed":         {rims: replace(`xmlns:SHA384="`, `xmlns:SHA385="`), failed: missing},
		"namespace changed":      {rims: replace(`xmlns:SHA384="http`, `xmlns:SHA384="https`), failed: missing},
		"digest changed":         {rims: replace("<ds:DigestValue>", "<ds:DigestValue>A"), failed: missing},
		"no signature":           {rims: [][]byte{[]byte(m.driverRIM().body(false) + rimFoot), good[1]}, failed: missing},
		"signature elsewhere":    {rims: replace("<ds:Signature ", "<ns0:Payload2><ds:Signature "), failed: missing},
		"two signatures":         {rims: replace("<ds:Signature ", "<ds:Signature "+dsNS+"></ds:Signature><ds:Signature "), failed: missing},
		"text in the signature":  {rims: replace("<ds:SignatureValue>", "x<ds:SignatureValue>"), failed: missing},
		"an object more":         {rims: replace("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object/>"), failed: missing},
		"key info with a name":   {rims: replace("<ds:X509Data>", "<ds:KeyName>a</ds:KeyName><ds:X509Data>"), failed: missing},
		"X509Data with more":     {rims: replace("<ds:X509Data>", "<ds:X509Data><ds:X509CRL>a</ds:X509CRL>"), failed: missing},
		"X509Data with text":     {rims: replace("<ds:X509Data>", "<ds:X509Data>a"), failed: missing},
		"X509Data attribute":     {rims: replace("<ds:X509Data>", `<ds:X509Data a="b">`), failed: missing},
		"certificate attribute":  {rims: replace("<ds:X509Certificate>", `<ds:X509Certificate a="b">`), failed: missing},
		"certificate is no text": {rims: replace("<ds:X509Certificate>", "<ds:X509Certificate><a/>"), failed: missing},
		"certificate too long":   {rims: replace("<ds:X509Certificate>", "<ds:X509Certificate>"+strings.Repeat("A", 2*maxCertificate)), failed: missing},
		"value too short":        {rims: replace("<ds:SignatureValue>", "<ds:SignatureValue>AAAA"), failed: missing},
		"value in no base64":     {rims: replace("<ds:SignatureValue>", "<ds:SignatureValue>!"), failed: missing},

		"a part of the document": {rims: info(`URI=""`, `URI="#1"`), failed: missing},
		"a type of reference":    {rims: info(`URI=""`, `URI="" Type="a"`), failed: missing},
		"no reference":           {rims: info(`<ds:Reference URI="">`, `<ds:Manifest URI="">`), failed: missing},
		"exclusive form":         {rims: info(algC14N11, "http://www.w3.org/2001/10/xml-exc-c14n#"), failed: missing},
		"with comments":          {rims: info(algC14N11, algC14N11+"#WithComments"), failed: missing},
		"SHA-1":                  {rims: info(algSHA384, "http://www.w3.org/2000/09/xmldsig#sha1"), failed: missing},
		"HMAC":                   {rims: info(algECDSA384, "http://www.w3.org/2000/09/xmldsig#hmac-sha1"), failed: missing},
		"XSLT":                   {rims: info(algEnveloped, "http://www.w3.org/TR/1999/REC-xslt-19991116"), failed: missing},
		"transform left out":     {rims: info(`<ds:Transform Algorithm="`+algEnveloped+`"`, `<ds:Other Algorithm="`+algEnveloped+`"`), failed: missing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := m.options(tc.rims...)
			if tc.edit != nil {
				tc.edit(&o)
			}
			raw := tc.raw
			if raw == nil {
				raw = gpu
			}
			r, err := Verify(raw, o)
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
			for _, s := range r.NotChecked {
				if !strings.HasPrefix(s, "revocation:") {
					t.Errorf("not checked: %s", s)
				}
			}
		})
	}
}

// TestCanonicalizationOfTheOldKind signs with the identifier of Canonical XML 1.0.
func TestCanonicalizationOfTheOldKind(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	f := m.driverRIM()
	f.editInfo = func(s string) string { return strings.ReplaceAll(s, algC14N11, algC14N10) }
	if r, err := Verify(list(m.gpu(1)), m.options(f.bytes(), m.vbiosRIM().bytes())); err != nil || !r.OK() {
		t.Errorf("refused: %v %v", err, failed(r))
	}
}

func TestParseRIM(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	r, err := ParseRIM(m.vbiosRIM().bytes())
	if err != nil || r.Version != "96.00.a5.00.01" || r.Product != "GH100" || r.Edition != "GPU" || len(r.Golden) != 40 {
		t.Fatalf("%v %+v", err, r)
	}
	if g := r.Golden[39]; !g.Active || g.Name != "Measurement_39" || len(g.Values) != 2 || !bytes.Equal(g.Values[1], bytes.Repeat([]byte{39}, 48)) || r.Golden[2].Active {
		t.Errorf("%+v", g)
	}
	good := m.vbiosRIM().body(false) + rimFoot
	for name, edit := range map[string][2]string{
		"another root":          {"SoftwareIdentity", "Identity"},
		"another namespace":     {`xmlns="http://standards.iso.org`, `xmlns="http://example.org`},
		"no version":            {"colloquialVersion", "Version"},
		"no product":            {" product=", " produce="},
		"no edition":            {" edition=", " editing="},
		"no payload":            {"ns0:Payload", "ns0:Load"},
		"text in the payload":   {"\n    </ns0:Payload>", "a\n    </ns0:Payload>"},
		"another resource":      {`<ns0:Resource type="Measurement" index="3"`, `<ns0:File type="Measurement" index="3"`},
		"another type":          {`type="Measurement" index="3"`, `type="Hash" index="3"`},
		"index twice":           {`index="3"`, `index="4"`},
		"index below zero":      {`index="3"`, `index="-3"`},
		"index with a zero":     {`index="3"`, `index="03"`},
		"index too high":        {`index="3"`, `index="256"`},
		"no index":              {`index="3"`, `indes="3"`},
		"active in small":       {`active="True"`, `active="true"`},
		"another size":          {`size="48"`, `size="32"`},
		"no alternative":        {`alternatives="2"`, `alternatives="0"`},
		"more alternatives":     {`alternatives="2"`, `alternatives="3"`},
		"fewer alternatives":    {`alternatives="2"`, `alternatives="1"`},
		"too many alternatives": {`alternatives="2"`, `alternatives="65"`},
		"short value":           {strings.Repeat("27", 48), strings.Repeat("27", 47)},
		"value in no hex":       {strings.Repeat("27", 48), strings.Repeat("2g", 48)},
		"value of SHA-256":      {"ns2:Hash1", "Hash1"},
	} {
		bad := strings.ReplaceAll(good, edit[0], edit[1])
		if name == "index twice" || strings.HasPrefix(name, "another resource") {
			bad = strings.Replace(good, edit[0], edit[1], 1)
		}
		if bad == good {
			t.Errorf("%s: nothing was changed", name)
		}
		if _, err := ParseRIM([]byte(bad)); !errors.Is(err, ErrRIM) {
			t.Errorf("%s: read: %v", name, err)
		}
	}
	empty := strings.Split(good, "\n        <ns0:Resource")[0] + "\n    </ns0:Payload>\n" + rimFoot
	if _, err := ParseRIM([]byte(empty)); !errors.Is(err, ErrRIM) {
		t.Errorf("without measurements: %v", err)
	}
	two := strings.Replace(good, "    <ns0:Entity", "    <ns0:Meta/><ns0:Entity", 1)
	if _, err := ParseRIM([]byte(two)); !errors.Is(err, ErrRIM) {
		t.Errorf("with two Meta: %v", err)
	}
}

// TestSignerOfAnotherCurve has a RIM signer with a P-256 key.
func TestSignerOfAnotherCurve(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	key, rootKey := newKey(t, elliptic.P256()), newKey(t, elliptic.P384())
	root := sign(t, authority("root"), authority("root"), rootKey, rootKey)
	leaf := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "signer"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}, root, key, rootKey)
	f := m.driverRIM()
	f.chain = []*x509.Certificate{leaf, root}
	o := m.options(f.bytes(), m.vbiosRIM().bytes())
	o.RIMRoots = append(o.RIMRoots, root)
	if r, err := Verify(list(m.gpu(1)), o); err != nil || !slices.Equal(failed(r), []string{"driver_rim", "measurements"}) {
		t.Errorf("%v %v", err, failed(r))
	}
}
