package issue

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

// PlatformKey is the SHA-256, in hexadecimal, of the key in the PCK certificate that a quote
// carries; empty where it carries none. It is meant for a quote that was verified.
func PlatformKey(quote []byte) string {
	q, err := dcap.ParseQuote(quote)
	if err != nil || q.CertType != dcap.CertPCKChain {
		return ""
	}
	block, _ := pem.Decode(q.CertData)
	if block == nil {
		return ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	hash := attest.SPKIHash(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(hash[:])
}

// platformKey compares the key that certifies a simulated platform with the one seen before.
// Simulated platforms choose their id, so that the id alone would let one pose as another; a
// real platform gets other keys with other TCB levels, and cannot choose.
func (d *decider) platformKey(c *attest.Claims, wanted, seen string) {
	if wanted == "" || !c.Simulated {
		return
	}
	d.rule("platform_key", "platform key "+wanted, "platform key "+seen, wanted == seen, "another platform uses this id; give the machine an id of its own by removing its platform file")
}
