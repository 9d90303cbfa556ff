package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"io/fs"
	"time"

	sevabi "github.com/google/go-sev-guest/abi"
	sevpb "github.com/google/go-sev-guest/proto/sevsnp"
	sevverify "github.com/google/go-sev-guest/verify"

	"hitoku.dev/attest"
	"hitoku.dev/attest/snp"
)

// snpCase is a report with the certificate of its chip.
type snpCase struct {
	report, vcek []byte
	at           time.Time
}

func readSNP(evidence fs.FS) (*snpCase, error) {
	report, err := fs.ReadFile(evidence, "snp/azure-genoa-v3/report.bin")
	vcek, e := fs.ReadFile(evidence, "snp/azure-genoa-v3/vcek.pem")
	if err := errors.Join(err, e); err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(vcek); block != nil {
		vcek = block.Bytes
	}
	return &snpCase{report, vcek, time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)}, nil
}

// hitoku verifies with certificates that were verified once. Every rule must hold.
func (c *snpCase) hitoku() func() error {
	v := snp.NewVerifier(snp.Options{Collateral: &snp.Collateral{Certs: [][]byte{c.vcek}}})
	return func() error {
		r, err := v.Verify(c.report, c.at)
		if err != nil {
			return err
		}
		if !r.OK() {
			return (&attest.Verdict{Rules: r.Rules}).Err()
		}
		return nil
	}
}

// peer verifies with go-sev-guest and its embedded roots, without a network.
func (c *snpCase) peer() func() error {
	report, err := sevabi.ReportToProto(c.report)
	evidence := &sevpb.Attestation{Report: report, CertificateChain: &sevpb.CertificateChain{VcekCert: c.vcek}}
	return func() error {
		if err != nil {
			return err
		}
		o := sevverify.DefaultOptions()
		o.DisableCertFetching, o.Now = true, c.at
		return sevverify.SnpAttestation(evidence, o)
	}
}

// limitP384 is what no verifier of a report can be faster than.
func limitP384() func() error {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	digest := sha512.Sum384([]byte("report"))
	var sig []byte
	if err == nil {
		sig, err = ecdsa.SignASN1(rand.Reader, key, digest[:])
	}
	return func() error {
		if err != nil {
			return err
		}
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
			return errors.New("a good signature was refused")
		}
		return nil
	}
}

func benchSNP(evidence fs.FS) error {
	c, err := readSNP(evidence)
	if err != nil {
		return err
	}
	const ours, peer, bound = "hitoku.dev/attest/snp", "go-sev-guest", "one P-384 verification"
	err = compare("SEV-SNP report of a known chip (azure-genoa-v3)", []*contender{{name: ours, do: c.hitoku()}, {name: peer, do: c.peer()}, {name: bound, do: limitP384()}},
		[]target{{ours, peer, 2}, {ours, bound, 0.85}})
	return errors.Join(err, scaling(ours, c.hitoku()))
}
