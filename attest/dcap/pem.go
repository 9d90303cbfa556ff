package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

const maxChainCerts = 4

// parseChain reads certificates in PEM, first to last. Unlike encoding/pem it
// refuses anything between and around the blocks but line ends and a final NUL,
// and base64 that is not canonical: there is one way to carry a chain.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxCertData {
		return nil, fmt.Errorf("%d bytes of PEM, at most %d allowed", len(data), maxCertData)
	}
	var certs []*x509.Certificate
	for rest := data; ; {
		der, next, err := nextPEM(rest, "CERTIFICATE")
		if err != nil {
			return nil, err
		}
		if der == nil {
			break
		}
		if len(certs) == maxChainCerts {
			return nil, fmt.Errorf("more than %d certificates", maxChainCerts)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
		rest = next
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate")
	}
	return certs, nil
}

// nextPEM reads one PEM block of the given type at the start of data; nil at the end.
func nextPEM(data []byte, kind string) (der, rest []byte, err error) {
	data = bytes.TrimLeft(data, "\r\n")
	if len(data) == 0 || len(data) == 1 && data[0] == 0 {
		return nil, nil, nil
	}
	begin, end := "-----BEGIN "+kind+"-----", "-----END "+kind+"-----"
	body, ok := bytes.CutPrefix(data, []byte(begin))
	if !ok {
		return nil, nil, fmt.Errorf("bytes that are no PEM block of type %s", kind)
	}
	body, rest, ok = bytes.Cut(body, []byte(end))
	if !ok {
		return nil, nil, fmt.Errorf("a PEM block of type %s has no end", kind)
	}
	// The decoder skips \r and \n and refuses every other byte that is not base64.
	der = make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Strict().Decode(der, body)
	if err != nil || n == 0 {
		return nil, nil, fmt.Errorf("a PEM block of type %s is not in base64", kind)
	}
	return der[:n], rest, nil
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// checkWindow reports a time outside from..to, both ends included.
func checkWindow(what string, from, to, at time.Time) error {
	var err error
	switch {
	case at.Before(from):
		err = fmt.Errorf("%s is not valid before %s", what, stamp(from))
	case at.After(to):
		err = fmt.Errorf("%s expired at %s", what, stamp(to))
	default:
		return nil
	}
	return &adviceError{err, "judged at " + stamp(at) + "; get a current one, or name the time at which the evidence was made"}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
