package snptest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"

	"hitoku.dev/attest/snp"
)

// CSP is the cloud provider in the world's VLEK certificates.
const CSP = "CN=cc-test-1.provider.example"

// Report returns a template of a report of a product in a version: signed by the
// chip's VCEK, no debugging, the same TCB everywhere. A chip's CHIP_ID begins with
// the bytes C1.
func (w *World) Report(p snp.Product, version uint32) *snp.Report {
	parts := snp.TCBParts{Bootloader: 4, SNP: 24, Microcode: 219}
	if p == snp.Turin {
		parts.FMC = 1
	}
	tcb := parts.Version(p)
	r := &snp.Report{
		Version: version, GuestSVN: 7, Policy: snp.NewPolicy(0, 31, snp.PolicySMT), SignatureAlgo: snp.SignatureECDSAP384,
		PlatformInfo: snp.PlatformSMT | snp.PlatformECC, KeyInfo: snp.NewKeyInfo(snp.VCEK, false, false),
		CurrentTCB: tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
		Current: snp.Firmware{Major: 1, Minor: 55, Build: 29}, Committed: snp.Firmware{Major: 1, Minor: 55, Build: 29},
	}
	fill(r.FamilyID[:], 0xf1)
	fill(r.ImageID[:], 0x1d)
	fill(r.ReportData[:], 0x42)
	fill(r.Measurement[:], 0x33)
	fill(r.HostData[:], 0x55)
	fill(r.ReportID[:], 0x66)
	fill(r.ReportIDMA[:], 0xff)
	fill(r.ChipID[:p.HWIDSize()], 0xc1)
	if version >= 3 {
		r.PlatformInfo |= snp.PlatformAliasCheck
		r.Family, r.Model, r.Stepping = cpuid(p)
	}
	if version >= 5 {
		r.LaunchMit, r.CurrentMit = 3, 7
	}
	return r
}

// Masked turns a report into one whose CHIP_ID the host masks and that a VLEK signs.
func Masked(r *snp.Report) *snp.Report {
	r.ChipID, r.KeyInfo = [64]byte{}, snp.NewKeyInfo(snp.VLEK, true, false)
	return r
}

func cpuid(p snp.Product) (family, model, stepping uint8) {
	switch p {
	case snp.Milan:
		return 0x19, 0x01, 1
	case snp.Genoa:
		return 0x19, 0x11, 1
	}
	return 0x1a, 0x02, 1
}

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

// product returns the product of a report; one of version 2 does not say, and is taken for Milan's.
func product(r *snp.Report) snp.Product {
	if p := r.Product(); p != "" {
		return p
	}
	return snp.Milan
}

// Leaf returns the key that signs a report: the VCEK of its CHIP_ID and reported
// TCB, or the VLEK of [CSP]. Reports of version 2 are taken for Milan's.
func (w *World) Leaf(r *snp.Report) *Leaf { return w.LeafAs(product(r), r) }

// LeafAs is Leaf for a report of a product that it does not name.
func (w *World) LeafAs(p snp.Product, r *snp.Report) *Leaf {
	if r.KeyInfo.SigningKey() == snp.VLEK {
		return w.Line(p).VLEK(CSP, r.ReportedTCB)
	}
	return w.Line(p).VCEK(r.ChipID, r.ReportedTCB)
}

// Sign signs a report with the key that its members name and returns its 1184
// bytes. Reports of version 2 are taken for Milan's.
func (w *World) Sign(r *snp.Report) []byte { return w.SignWith(r, w.Leaf(r).Key) }

// SignAs is Sign for a report of a product that it does not name.
func (w *World) SignAs(p snp.Product, r *snp.Report) []byte {
	return w.SignWith(r, w.LeafAs(p, r).Key)
}

// SignWith signs a report with any key and returns its 1184 bytes.
func (w *World) SignWith(r *snp.Report, key *ecdsa.PrivateKey) []byte {
	raw := r.Marshal()
	Resign(w, raw, key)
	return raw
}

// Resign replaces the signature in the bytes of a report.
func Resign(w *World, raw []byte, key *ecdsa.PrivateKey) {
	w.tb.Helper()
	digest := sha512.Sum384(raw[:snp.SignedSize])
	x, y, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		w.tb.Fatalf("snptest: %v", err)
	}
	for i, n := range []*big.Int{x, y} {
		le := n.FillBytes(make([]byte, 72))
		slices.Reverse(le)
		copy(raw[snp.SignedSize+72*i:], le)
	}
}

// Table returns the certificate table that a host gives with a report: the
// endorsement key, its intermediate and the ARK.
func (w *World) Table(r *snp.Report) []byte {
	w.tb.Helper()
	p, key := product(r), r.KeyInfo.SigningKey()
	kind := snp.CertVCEK
	if key == snp.VLEK {
		kind = snp.CertVLEK
	}
	raw, err := snp.MarshalCertTable([]snp.CertEntry{
		{Kind: kind, Data: w.Leaf(r).Cert.Raw},
		{Kind: snp.CertASK, Data: w.Line(p).Issuer(key).Cert.Raw},
		{Kind: snp.CertARK, Data: w.Line(p).ARK.Cert.Raw},
	})
	if err != nil {
		w.tb.Fatalf("snptest: %v", err)
	}
	return raw
}

// SignExtended returns a signed report followed by its certificate table: the
// extended report, and configfs-tsm's outblob and auxblob one after the other.
func (w *World) SignExtended(r *snp.Report) []byte { return append(w.Sign(r), w.Table(r)...) }

// Collateral returns the certificates for a report, without a revocation list.
func (w *World) Collateral(r *snp.Report) *snp.Collateral {
	p := product(r)
	l := w.Line(p)
	return &snp.Collateral{Certs: [][]byte{w.Leaf(r).Cert.Raw, l.Issuer(r.KeyInfo.SigningKey()).Cert.Raw, l.ARK.Cert.Raw}}
}

// Extensions returns AMD's members of an endorsement certificate but hardware id and provider.
func (l *Line) Extensions(productName string, tcb snp.TCBVersion) []pkix.Extension {
	order, structVersion := []int{1, 2, 4, 5, 6, 7, 3, 8}, 0
	if l.Product == snp.Turin {
		order, structVersion = []int{9, 1, 2, 3, 5, 6, 7, 8}, 1
	}
	exts := []pkix.Extension{
		{Id: amdOID(1), Value: der(structVersion)},
		{Id: amdOID(2), Value: ia5(productName)},
	}
	for i, arc := range order {
		exts = append(exts, pkix.Extension{Id: amdOID(3, arc), Value: der(int(uint8(tcb >> (8 * i))))})
	}
	return exts
}

// EditExtension returns an edit for NewVCEK and NewVLEK that replaces the value of
// 1.3.6.1.4.1.3704.1.arcs, or removes the extension when value is nil.
func EditExtension(value []byte, arcs ...int) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		id := amdOID(arcs...)
		for i, e := range c.ExtraExtensions {
			if !e.Id.Equal(id) {
				continue
			}
			if value == nil {
				c.ExtraExtensions = slices.Delete(c.ExtraExtensions, i, i+1)
			} else {
				c.ExtraExtensions[i].Value = value
			}
			return
		}
		if value != nil {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value})
		}
	}
}

// Critical is an edit that adds a critical extension that nobody knows.
func Critical(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: amdOID(99), Critical: true, Value: []byte{5, 0}})
}

func amdOID(arcs ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, arcs...)
}

func der(v int) []byte {
	raw, err := asn1.Marshal(v)
	if err != nil {
		panic(err) // a number always has an encoding
	}
	return raw
}

func ia5(s string) []byte {
	raw, err := asn1.MarshalWithParams(s, "ia5")
	if err != nil {
		panic("snptest: " + err.Error())
	}
	return raw
}
