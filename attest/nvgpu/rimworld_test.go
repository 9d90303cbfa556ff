package nvgpu

import (
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
)

// rimFile is a RIM file to be made. It is written as NVIDIA writes them, and signed
// over a canonical form that is written beside it, by hand and not by the product.
type rimFile struct {
	m                         *maker
	product, edition, version string
	golden                    []goldenValue
	chain                     []*x509.Certificate // nil: the maker's

	edit      func(document string) string // after signing
	editInfo  func(info string) string     // of SignedInfo, before signing, in both forms
	editExtra string                       // attributes of the root, in both forms
}

type goldenValue struct {
	index  int
	active bool
	values []string // in hexadecimal
}

// hexOf is the honest value of a unit's measurement.
func hexOf(index int) string { return strings.Repeat(fmt.Sprintf("%02x", index), 48) }

func (m *maker) rim(version string, indexes ...int) *rimFile {
	f := &rimFile{m: m, product: "GH100", edition: "GPU", version: version}
	for i := range 40 {
		f.golden = append(f.golden, goldenValue{index: i, values: []string{strings.Repeat("0", 96)}})
	}
	for _, i := range indexes {
		f.golden[i].active = true
		f.golden[i].values = []string{strings.Repeat("f", 96), hexOf(i)}
	}
	return f
}

const (
	swidNS  = `xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"`
	rimNS1  = `xmlns:ns1="https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"`
	dsNS    = `xmlns:ds="http://www.w3.org/2000/09/xmldsig#"`
	rimFoot = `</SoftwareIdentity>`
)

// body writes the document up to its signature; canon in canonical form.
func (f *rimFile) body(canon bool) string {
	end := func(name string) string {
		if canon {
			return "></" + name + ">"
		}
		return "/>"
	}
	var b strings.Builder
	if canon {
		fmt.Fprintf(&b, `<SoftwareIdentity %s corpus="false" name="GH100"%s tagId="1" tagVersion="0" version="1.0">`, swidNS, f.editExtra)
	} else {
		fmt.Fprintf(&b, "<SoftwareIdentity %s name=\"GH100\"   corpus='false'%s version=\"1.0\"\ttagVersion=\"0\" tagId=\"1\" >", swidNS, f.editExtra)
	}
	b.WriteString("\n    <ns0:Entity")
	b.WriteString(` name="NVIDIA Corporation" role="softwareCreator tagCreator"` + end("ns0:Entity") + "\n    <ns0:Meta ")
	if canon {
		fmt.Fprintf(&b, `%s colloquialVersion="%s" edition="%s" product="%s" ns1:BindingSpec="RIMIM"%s`, rimNS1, f.version, f.edition, f.product, end("ns0:Meta"))
	} else {
		fmt.Fprintf(&b, `ns1:BindingSpec="RIMIM" colloquialVersion = "%s" %s edition="%s" product="%s"%s`, f.version, rimNS1, f.edition, f.product, end("ns0:Meta"))
	}
	b.WriteString("\n    <ns0:Payload xmlns:SHA384=\"http://www.w3.org/2001/04/xmlenc#sha384\">")
	for _, g := range f.golden {
		active := "False"
		if g.active {
			active = "True"
		}
		var hashes strings.Builder
		for i, v := range g.values {
			fmt.Fprintf(&hashes, ` ns2:Hash%d="%s"`, i, v)
		}
		if canon {
			fmt.Fprintf(&b, "\n"+`        <ns0:Resource active="%s" alternatives="%d" index="%d" name="Measurement_%d" size="48" type="Measurement"%s%s`, active, len(g.values), g.index, g.index, hashes.String(), end("ns0:Resource"))
		} else {
			fmt.Fprintf(&b, "\n"+`        <ns0:Resource type="Measurement" index="%d" active="%s" alternatives="%d"%s name="Measurement_%d" size="48"%s`, g.index, active, len(g.values), hashes.String(), g.index, end("ns0:Resource"))
		}
	}
	b.WriteString("\n    </ns0:Payload>\n")
	return b.String()
}

// signedInfo writes the part that is signed; canon with the namespaces around it.
func (f *rimFile) signedInfo(canon bool, digest string) string {
	open, end := "<ds:SignedInfo>", func(string) string { return "/>" }
	if canon {
		open = "<ds:SignedInfo " + strings.Replace(swidNS, ` xmlns:ns0`, " "+dsNS+` xmlns:ns0`, 1) + ">"
		end = func(name string) string { return "></ds:" + name + ">" }
	}
	s := open + `<ds:CanonicalizationMethod Algorithm="` + algC14N11 + `"` + end("CanonicalizationMethod") +
		`<ds:SignatureMethod Algorithm="` + algECDSA384 + `"` + end("SignatureMethod") +
		`<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="` + algEnveloped + `"` + end("Transform") +
		`<ds:Transform Algorithm="` + algC14N11 + `"` + end("Transform") + `</ds:Transforms>` +
		`<ds:DigestMethod Algorithm="` + algSHA384 + `"` + end("DigestMethod") + `<ds:DigestValue>` + digest + `</ds:DigestValue></ds:Reference></ds:SignedInfo>`
	if f.editInfo != nil {
		s = f.editInfo(s)
	}
	return s
}

// bytes signs the file.
func (f *rimFile) bytes() []byte {
	digest := sha512.Sum384([]byte(f.body(true) + rimFoot))
	encoded := base64.StdEncoding.EncodeToString(digest[:])
	value := rawSign(f.m.t, f.m.rimSigner, []byte(f.signedInfo(true, encoded)))
	chain := f.chain
	if chain == nil {
		chain = append(append(chain, f.m.rimChain...), f.m.rimRoot)
	}
	var b strings.Builder
	b.WriteString(f.body(false) + `<ds:Signature ` + dsNS + `>` + f.signedInfo(false, encoded) +
		`<ds:SignatureValue>` + base64.StdEncoding.EncodeToString(value) + `</ds:SignatureValue><ds:KeyInfo><ds:X509Data>`)
	for _, c := range chain {
		b.WriteString(`<ds:X509Certificate>` + lines(base64.StdEncoding.EncodeToString(c.Raw)) + `</ds:X509Certificate>`)
	}
	b.WriteString(`</ds:X509Data></ds:KeyInfo></ds:Signature>` + rimFoot)
	if f.edit != nil {
		return []byte(f.edit(b.String()))
	}
	return []byte(b.String())
}

func lines(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		b.WriteString(s[:64] + "\n")
		s = s[64:]
	}
	return b.String() + s + "\n"
}
