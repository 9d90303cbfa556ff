package snp

import (
	"crypto/x509"
	"encoding/pem"
)

// AMDRoots returns the pinned root certificate (ARK) of every product line.
func AMDRoots() []*x509.Certificate {
	return []*x509.Certificate{pinned(arkMilan), pinned(arkGenoa), pinned(arkTurin)}
}

// amdIntermediates returns the published intermediates, so that evidence need not
// carry them. They are trusted no more than others: a root key must have signed them.
func amdIntermediates() []*x509.Certificate {
	return []*x509.Certificate{pinned(askMilan), pinned(asvkMilan), pinned(askGenoa), pinned(asvkGenoa), pinned(askTurin), pinned(asvkTurin)}
}

func pinned(text string) *x509.Certificate {
	block, _ := pem.Decode([]byte(text))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic("snp: a pinned certificate of AMD does not parse: " + err.Error())
	}
	return cert
}
