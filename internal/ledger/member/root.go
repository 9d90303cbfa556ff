package member

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/ledger/wire"
)

const (
	maxChain      = 32 << 10 // bytes of PEM that are searched for a root
	maxCandidates = 8        // certificates of each chain
)

// findRoot returns the certificate of a root that the policy lists. The policy names
// keys only, so the certificate is looked for in the evidence, then in the collateral;
// last comes Intel's, which everybody has. It must carry its own key's signature:
// anybody can make a certificate with the key of somebody else in it. Nil when there
// is none; seen says which roots were there instead.
func findRoot(q *dcap.Quote, c *dcap.Collateral, roots []wire.Hash) (root *x509.Certificate, seen string) {
	var chains [][]byte
	if q != nil && (q.CertType == dcap.CertPCKChain || q.CertType == dcap.CertPCKLeaf) {
		chains = append(chains, q.CertData)
	}
	chains = append(chains, c.PCKChain, c.PCKCRLChain, c.TCBInfoChain, c.QEIdentityChain)
	tried := map[wire.Hash]bool{}
	seen = "no root"
	for _, chain := range chains {
		for _, cert := range selfIssued(chain) {
			id := sha256.Sum256(cert.Raw)
			if tried[id] {
				continue
			}
			tried[id] = true
			key := attest.SPKIHash(cert.RawSubjectPublicKeyInfo)
			switch {
			case !slices.Contains(roots, key):
				seen = fmt.Sprintf("root %.64q, key sha256:%x", cert.Subject.CommonName, key)
			case cert.SignatureAlgorithm != x509.ECDSAWithSHA256 || cert.CheckSignatureFrom(cert) != nil:
				seen = fmt.Sprintf("a certificate %.64q with the key of a listed root that the key did not sign", cert.Subject.CommonName)
			default:
				return cert, fmt.Sprintf("root %.64q, key sha256:%x", cert.Subject.CommonName, key)
			}
		}
	}
	if intel := dcap.IntelRoot(); slices.Contains(roots, attest.SPKIHash(intel.RawSubjectPublicKeyInfo)) {
		return intel, "Intel's root"
	}
	return nil, seen
}

// selfIssued returns the certificates of a PEM chain that name themselves as issuer.
func selfIssued(chain []byte) []*x509.Certificate {
	if len(chain) > maxChain {
		return nil
	}
	var out []*x509.Certificate
	for range maxCandidates {
		block, rest := pem.Decode(chain)
		if block == nil {
			break
		}
		chain = rest
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && string(cert.RawSubject) == string(cert.RawIssuer) {
			out = append(out, cert)
		}
	}
	return out
}
