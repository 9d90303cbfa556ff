package issue

import (
	"encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"hitoku.dev/attest"
)

// maxNames bounds the names that one request may ask for.
const maxNames = 64

var (
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
)

const (
	wantSubject    = "a subject with at most one attribute, the common name"
	wantAttributes = "one quote, one binding, at most one extension request, nothing else"
	wantExtensions = "no extension but subjectAltName; what else a certificate holds is the manager's to say"
	wantNames      = "DNS names only"
)

func (r *Request) readSubject(subject cryptobyte.String) error {
	for n := 0; !subject.Empty(); n++ {
		var rdn, pair, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		var tag cbasn1.Tag
		if !subject.ReadASN1(&rdn, cbasn1.SET) || !rdn.ReadASN1(&pair, cbasn1.SEQUENCE) || !rdn.Empty() ||
			!pair.ReadASN1ObjectIdentifier(&oid) || !pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
			return refuse("csr_subject", wantSubject, "a subject that cannot be read", "")
		}
		if n > 0 || !oid.Equal(oidCommonName) {
			return refuse("csr_subject", wantSubject, "attribute "+oid.String(), "leave it out of the request; it would not be in the certificate")
		}
		if tag != cbasn1.UTF8String && tag != cbasn1.PrintableString && tag != cbasn1.IA5String || len(value) > 255 {
			return refuse("csr_subject", wantSubject, fmt.Sprintf("a common name of ASN.1 type %d with %d bytes", tag, len(value)), "")
		}
		for _, c := range value {
			if c < 0x20 || c > 0x7e {
				return refuse("csr_subject", wantSubject, "a common name that is not printable ASCII", "")
			}
		}
		r.CommonName = string(value)
	}
	r.hold("csr_subject", wantSubject, fmt.Sprintf("common name %q", r.CommonName))
	return nil
}

func (r *Request) readAttributes(attributes cryptobyte.String) error {
	bad := func(seen, advice string) error { return refuse("csr_attributes", wantAttributes, seen, advice) }
	var seen []string
	var extensions cryptobyte.String
	for !attributes.Empty() {
		var one, values cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !attributes.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) ||
			!one.ReadASN1(&values, cbasn1.SET) || !one.Empty() {
			return bad("an attribute that cannot be read", "")
		}
		name := oid.String()
		if slices.Contains(seen, name) {
			return bad("attribute "+name+" twice", "a request carries one piece of evidence")
		}
		seen = append(seen, name)
		switch {
		case oid.Equal(attest.OIDQuote):
			if !readOctets(values, &r.Quote) {
				return bad("a quote that is not one OCTET STRING", "")
			}
		case oid.Equal(attest.OIDBinding):
			if !readOctets(values, &r.BindingDER) {
				return bad("a binding that is not one OCTET STRING", "")
			}
		case oid.Equal(oidExtensionRequest):
			if !values.ReadASN1(&extensions, cbasn1.SEQUENCE) || !values.Empty() {
				return bad("an extension request that cannot be read", "")
			}
		default:
			return bad("attribute "+name, "leave it out of the request")
		}
	}
	if len(r.Quote) == 0 {
		return bad("no quote", fmt.Sprintf("the request must carry evidence in attribute %s", attest.OIDQuote))
	}
	if r.BindingDER != nil {
		b, err := attest.ParseBinding(r.BindingDER)
		if err != nil {
			return bad(err.Error(), "")
		}
		r.Binding = b
	}
	r.hold("csr_attributes", wantAttributes, fmt.Sprintf("%d attributes, quote of %d bytes", len(seen), len(r.Quote)))
	return r.readExtensions(extensions)
}

func readOctets(values cryptobyte.String, to *[]byte) bool {
	var octets cryptobyte.String
	if !values.ReadASN1(&octets, cbasn1.OCTET_STRING) || !values.Empty() || len(octets) == 0 {
		return false
	}
	*to = octets
	return true
}

func (r *Request) readExtensions(extensions cryptobyte.String) error {
	n := 0
	for ; !extensions.Empty(); n++ {
		var one, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		var critical bool
		if !extensions.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) ||
			!one.ReadOptionalASN1Boolean(&critical, cbasn1.BOOLEAN, false) ||
			!one.ReadASN1(&value, cbasn1.OCTET_STRING) || !one.Empty() {
			return refuse("csr_extensions", wantExtensions, "an extension that cannot be read", "")
		}
		switch {
		case oid.Equal(oidBasicConstraints):
			return refuse("csr_extensions", wantExtensions, "basicConstraints (CA:TRUE or CA:FALSE)", "leave it out of the request; only end-entity certificates are issued")
		case !oid.Equal(oidSubjectAltName):
			return refuse("csr_extensions", wantExtensions, "extension "+oid.String(), "leave it out of the request")
		case n > 0:
			return refuse("csr_extensions", wantExtensions, "subjectAltName twice", "")
		}
		if err := r.readNames(value); err != nil {
			return err
		}
	}
	r.hold("csr_extensions", wantExtensions, fmt.Sprintf("%d", n))
	r.hold("csr_names", wantNames, fmt.Sprintf("%q", r.DNSNames))
	return nil
}

func (r *Request) readNames(san cryptobyte.String) error {
	var names cryptobyte.String
	if !san.ReadASN1(&names, cbasn1.SEQUENCE) || !san.Empty() || names.Empty() {
		return refuse("csr_names", wantNames, "a subjectAltName that cannot be read", "")
	}
	for !names.Empty() {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&value, &tag) {
			return refuse("csr_names", wantNames, "a subjectAltName that cannot be read", "")
		}
		if tag != cbasn1.Tag(2).ContextSpecific() {
			return refuse("csr_names", wantNames, "a name of kind "+nameKind(tag), "ask for DNS names; identities beside them are set by the manager")
		}
		if len(r.DNSNames) == maxNames {
			return refuse("csr_names", wantNames, fmt.Sprintf("more than %d names", maxNames), "use several certificates")
		}
		r.DNSNames = append(r.DNSNames, string(value))
	}
	return nil
}

// nameKind names a choice of GeneralName (RFC 5280 section 4.2.1.6).
func nameKind(tag cbasn1.Tag) string {
	kinds := []string{"otherName", "e-mail", "DNS", "x400Address", "directoryName", "ediPartyName", "URI", "IP", "registeredID"}
	if n := int(tag & 0x1f); n < len(kinds) {
		return kinds[n]
	}
	return fmt.Sprintf("%d", tag)
}
