package nvgpu

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// fwidSize is the length of a firmware id, a SHA-384, in bytes.
const fwidSize = 48

// leafFWID returns the firmware id that the device's boot ROM put into the leaf: the
// hash of the firmware that holds the attestation key. Hopper and LS10 have it in a
// CompositeDeviceID, Blackwell in a DiceTcbInfo (TCG DICE Attestation Architecture,
// section 6.1), of which the first id counts.
func leafFWID(leaf *x509.Certificate) ([]byte, error) {
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}) && !e.Id.Equal(asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1, 1}) {
			continue
		}
		in := cryptobyte.String(e.Value)
		var seq, list cryptobyte.String
		if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() {
			return nil, errors.New("the certificate's firmware id is no ASN.1 sequence")
		}
		if seq.PeekASN1Tag(cbasn1.INTEGER) {
			if !seq.SkipASN1(cbasn1.INTEGER) || !seq.SkipASN1(cbasn1.SEQUENCE) {
				return nil, errors.New("the certificate's CompositeDeviceID has another form")
			}
			return readFWID(&seq)
		}
		fwids := cbasn1.Tag(6).ContextSpecific().Constructed()
		for !seq.Empty() {
			var tag cbasn1.Tag
			if !seq.ReadAnyASN1(&list, &tag) {
				return nil, errors.New("the certificate's DiceTcbInfo has another form")
			}
			if tag == fwids {
				return readFWID(&list)
			}
		}
		return nil, errors.New("the certificate's DiceTcbInfo has no firmware id")
	}
	return nil, errors.New("the certificate has no firmware id")
}

// readFWID reads SEQUENCE { OBJECT IDENTIFIER sha384, OCTET STRING }.
func readFWID(in *cryptobyte.String) ([]byte, error) {
	var seq, digest cryptobyte.String
	var alg asn1.ObjectIdentifier
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.ReadASN1ObjectIdentifier(&alg) || !seq.ReadASN1(&digest, cbasn1.OCTET_STRING) || !seq.Empty() {
		return nil, errors.New("the certificate's firmware id has another form")
	}
	if !alg.Equal(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}) || len(digest) != fwidSize {
		return nil, fmt.Errorf("the certificate's firmware id has algorithm %v and %d bytes, wanted SHA-384", alg, len(digest))
	}
	return digest, nil
}
