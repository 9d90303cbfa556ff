package collateral

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/url"

	"hitoku.dev/attest/dcap"
)

// maxFileDocuments bounds the documents that one file may hold.
const maxFileDocuments = 512

// Add takes in a file, recognised by its content, and reports whether it holds
// collateral: an exported bundle, a JSON set of [dcap.Collateral], a signed JSON
// document, a PCS answer with PCK certificates, certificates or revocation lists
// in PEM (also percent-encoded, as in headers), DER or hexadecimal.
func (b *Bundle) Add(raw []byte) bool {
	text := bytes.TrimSpace(raw)
	if bytes.HasPrefix(text, []byte("-----BEGIN%20")) { // a header's value
		plain, err := url.PathUnescape(string(text))
		if err != nil {
			return false
		}
		text = []byte(plain)
	}
	switch {
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")):
		return b.addJSON(text)
	case bytes.HasPrefix(text, []byte("-----BEGIN ")):
		return b.addPEM(text)
	}
	der := raw
	if plain, err := hex.DecodeString(string(text)); err == nil && len(plain) > 0 {
		der = plain
	}
	if d, err := crlDocument(der); err == nil {
		return b.put(d)
	}
	if len(der) > maxFileDocuments*maxCert {
		return false
	}
	certs, err := x509.ParseCertificates(der)
	if err != nil || len(certs) == 0 || len(certs) > maxFileDocuments {
		return false
	}
	for _, c := range certs {
		b.put(certDocument(c))
	}
	return true
}

func (b *Bundle) addPEM(text []byte) bool {
	found := false
	for n := 0; n < maxFileDocuments; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		switch block.Type {
		case "CERTIFICATE":
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil && len(cert.Raw) <= maxCert {
				found = b.put(certDocument(cert)) || found
			}
		case "X509 CRL":
			if d, err := crlDocument(block.Bytes); err == nil {
				found = b.put(d) || found
			}
		}
	}
	return found
}

func (b *Bundle) addJSON(text []byte) bool {
	if bytes.Contains(text[:min(len(text), maxDocument)], []byte(fileFormat)) {
		if docs, err := Decode(text); err == nil {
			for _, d := range docs {
				b.put(d)
			}
			return len(docs) > 0
		}
	}
	if d := signedDocument(text); d != nil {
		return b.put(d)
	}
	if b.addPCKCertificates(text) {
		return true
	}
	var set dcap.Collateral
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if dec.Decode(&set) != nil || len(set.TCBInfo) == 0 || dec.More() {
		return false
	}
	b.addSet(&set)
	return true
}

// addPCKCertificates reads an answer with the PCK certificates of a platform, one
// for each TCB level: [{"tcb":…,"tcbm":…,"cert":"<PEM>"}], or one such object.
func (b *Bundle) addPCKCertificates(text []byte) bool {
	type entry struct {
		Cert string `json:"cert"`
	}
	var list []entry
	if text[0] == '[' {
		if json.Unmarshal(text, &list) != nil {
			return false
		}
	} else {
		var one struct {
			entry
			Data []entry `json:"pck_data"`
		}
		if json.Unmarshal(text, &one) != nil {
			return false
		}
		list = append(one.Data, one.entry)
	}
	found := false
	for _, e := range list[:min(len(list), maxFileDocuments)] {
		plain, err := url.PathUnescape(e.Cert)
		if err != nil || len(plain) > 2*maxCert {
			continue
		}
		if block, _ := pem.Decode([]byte(plain)); block != nil {
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
				found = b.put(certDocument(cert)) || found
			}
		}
	}
	return found
}

// addSet keeps a whole set as it is, and takes its parts in too.
func (b *Bundle) addSet(set *dcap.Collateral) {
	if len(b.documents) > 0 || b.set != nil {
		b.mixed = true
	}
	b.set = set
	part := func(raw, chain []byte) {
		if len(raw) == 0 {
			return
		}
		one := new(Bundle)
		if !one.Add(raw) {
			return
		}
		d := one.documents[0]
		d.Chain = chainDER(chain)
		b.insert(d)
	}
	part(set.TCBInfo, set.TCBInfoChain)
	part(set.QEIdentity, set.QEIdentityChain)
	part(set.PCKCRL, set.PCKCRLChain)
	part(set.RootCRL, nil)
	for _, chain := range [][]byte{set.TCBInfoChain, set.QEIdentityChain, set.PCKCRLChain, set.PCKChain} {
		for _, der := range chainDER(chain) {
			if cert, err := x509.ParseCertificate(der); err == nil {
				b.insert(certDocument(cert))
			}
		}
	}
}

// chainDER reads PEM certificates as far as they go.
func chainDER(text []byte) [][]byte {
	var out [][]byte
	for len(out) < maxChainCerts {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if text = rest; block.Type == "CERTIFICATE" && len(block.Bytes) <= maxCert {
			out = append(out, block.Bytes)
		}
	}
	return out
}
