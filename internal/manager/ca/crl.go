package ca

import (
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"time"
)

// ListLifetime is how long a revocation list is good for. A new one is made with each
// revocation and before the old one ends.
const ListLifetime = 24 * time.Hour

// Revocation reasons of RFC 5280 section 5.3.1 that the manager uses.
const (
	ReasonUnspecified        = 0
	ReasonSuperseded         = 4
	ReasonCessation          = 5 // the node was deactivated
	ReasonPrivilegeWithdrawn = 9 // the build's approval was withdrawn
)

// Revoked is one entry of a revocation list.
type Revoked struct {
	Serial *big.Int
	At     time.Time
	Reason int
}

// RevocationList signs the list of an authority. number must be higher than that of the list
// before; entries whose certificates have ended may be left out.
func (a *Authority) RevocationList(random io.Reader, now time.Time, number *big.Int, entries []Revoked) ([]byte, error) {
	list := &x509.RevocationList{Number: number, ThisUpdate: now, NextUpdate: now.Add(ListLifetime)}
	for _, e := range entries {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: e.Serial, RevocationTime: e.At, ReasonCode: e.Reason,
		})
	}
	der, err := x509.CreateRevocationList(random, list, a.Certificate, a.Key)
	if err != nil {
		return nil, fmt.Errorf("revocation list of %s: %w", a.Certificate.Subject.CommonName, err)
	}
	return der, nil
}
