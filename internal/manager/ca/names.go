package ca

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// TrustDomain is the name under which an account is served and identified:
// "<account-uuid>.<manager host>". It is the SNI of agents and guests and the
// authority part of SPIFFE ids. An IPv6 address is written in full with hyphens for colons.
func TrustDomain(accountID, managerHost string) string {
	if ip, err := netip.ParseAddr(managerHost); err == nil && ip.Is6() {
		managerHost = strings.ReplaceAll(ip.WithZone("").StringExpanded(), ":", "-")
	}
	return accountID + "." + strings.ToLower(managerHost)
}

// AppID is the SPIFFE id of a running build.
func AppID(trustDomain, appID, buildID string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/app/" + appID + "/build/" + buildID}
}

// NodeID is the SPIFFE id of a compute node.
func NodeID(trustDomain, zoneID, nodeID string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/zone/" + zoneID + "/node/" + nodeID}
}

// EncodePEM writes certificates as PEM blocks, in order.
func EncodePEM(certs ...*x509.Certificate) string {
	n := 0
	for _, c := range certs {
		n += pemSize(len(c.Raw))
	}
	b := make([]byte, 0, n)
	for _, c := range certs {
		b = appendPEM(b, "CERTIFICATE", c.Raw)
	}
	return string(b)
}

// EncodeRequestPEM writes a certificate request (DER) as a PEM block.
func EncodeRequestPEM(der []byte) string {
	return string(appendPEM(make([]byte, 0, pemSize(len(der))), "CERTIFICATE REQUEST", der))
}

// pemLine is how many bytes stand in a line of PEM (RFC 7468 section 2: 64 characters).
const pemLine = 48

// pemSize is at least the length of a PEM block of n bytes and of one of the types used here.
func pemSize(n int) int { return base64.StdEncoding.EncodedLen(n) + n/pemLine + 100 }

// appendPEM writes what pem.Encode does. Leaves with evidence are long, and one is written for
// each certificate issued; this takes a tenth of the time.
func appendPEM(b []byte, kind string, der []byte) []byte {
	b = append(append(append(b, "-----BEGIN "...), kind...), "-----\n"...)
	for line := range slices.Chunk(der, pemLine) {
		b = append(base64.StdEncoding.AppendEncode(b, line), '\n')
	}
	return append(append(append(b, "-----END "...), kind...), "-----\n"...)
}

// ParsePEM reads PEM blocks of certificates and nothing else; at least one.
func ParsePEM(text string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	rest := []byte(text)
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			return nil, fmt.Errorf("certificates: wanted PEM blocks CERTIFICATE without headers, seen %s", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificates: block %d: %w", len(certs)+1, err)
		}
		certs, rest = append(certs, cert), after
	}
	if len(certs) == 0 || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("certificates: wanted PEM blocks only, seen %d and other text", len(certs))
	}
	return certs, nil
}
