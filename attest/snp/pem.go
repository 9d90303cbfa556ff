package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Limits in bytes and numbers, so that no hostile input costs much before a
// signature is checked. AMD's certificates have some 1700 bytes.
const (
	maxCert  = 4 << 10
	maxCerts = 16
	maxCRL   = 32 << 10
)

// blocks returns what one item of evidence or collateral holds: DER as it is, or
// each block of PEM. There is one way to write PEM: no headers, lines as the
// standard library writes them, nothing between the blocks but white space.
func blocks(data []byte, kind string) ([][]byte, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("-----BEGIN")) {
		return [][]byte{data}, nil
	}
	if len(data) > 2*maxCRL {
		return nil, fmt.Errorf("%d bytes of PEM, at most %d allowed", len(data), 2*maxCRL)
	}
	var out [][]byte
	for rest := bytes.TrimSpace(data); len(rest) > 0; {
		block, next := pem.Decode(rest)
		if block == nil || block.Type != kind {
			return nil, fmt.Errorf("not PEM of type %s", kind)
		}
		canonical := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block.Bytes})
		if !bytes.Equal(withoutSpace(canonical), withoutSpace(rest[:len(rest)-len(next)])) {
			return nil, fmt.Errorf("PEM of type %s with headers, other text or a second spelling", kind)
		}
		if len(out) == maxCerts {
			return nil, fmt.Errorf("more than %d blocks of PEM", maxCerts)
		}
		out = append(out, block.Bytes)
		rest = bytes.TrimSpace(next)
	}
	return out, nil
}

func withoutSpace(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' || r == ' ' {
			return -1
		}
		return r
	}, b)
}

// parseCerts reads certificates in DER or PEM.
func parseCerts(items [][]byte, limit int) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, item := range items {
		ders, err := blocks(item, "CERTIFICATE")
		if err != nil {
			return nil, err
		}
		for _, der := range ders {
			if len(der) > maxCert {
				return nil, fmt.Errorf("a certificate of %d bytes, at most %d allowed", len(der), maxCert)
			}
			if len(out) == limit {
				return nil, fmt.Errorf("more than %d certificates", limit)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
			}
			out = append(out, cert)
		}
	}
	return out, nil
}

// parseCRL reads one revocation list in DER or PEM.
func parseCRL(data []byte) (*x509.RevocationList, error) {
	ders, err := blocks(data, "X509 CRL")
	if err != nil {
		return nil, err
	}
	if len(ders) != 1 || len(ders[0]) > maxCRL {
		return nil, fmt.Errorf("not one revocation list of at most %d bytes", maxCRL)
	}
	crl, err := x509.ParseRevocationList(ders[0])
	if err != nil {
		return nil, err
	}
	if len(crl.Raw) != len(ders[0]) {
		return nil, errors.New("bytes after its end")
	}
	for _, e := range crl.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("critical extension %v is not known", e.Id)
		}
	}
	return crl, nil
}
