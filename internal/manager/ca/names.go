package ca

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
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
	var b strings.Builder
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.String()
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
