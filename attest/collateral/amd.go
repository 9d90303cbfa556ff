package collateral

import (
	"crypto/x509"
	"strings"
)

// amdProduct reads "ARK-Milan", "SEV-Milan" or "SEV-VLEK-Milan", the names of
// AMD's authorities, as "milan-vcek" or "milan-vlek". The ARK signs the lists of
// both; its name counts as that of VCEKs. Other names give nothing.
func amdProduct(cn string) string {
	for _, form := range []struct{ prefix, suffix string }{{"SEV-VLEK-", "-vlek"}, {"SEV-", "-vcek"}, {"ARK-", "-vcek"}} {
		product, ok := strings.CutPrefix(cn, form.prefix)
		if !ok {
			continue
		}
		switch product {
		case "Milan", "Genoa", "Turin":
			return strings.ToLower(product) + form.suffix
		}
	}
	return ""
}

func amdLeafSubject(cert *x509.Certificate) string {
	product, _, _ := strings.Cut(amdProduct(cert.Issuer.CommonName), "-")
	return product
}
