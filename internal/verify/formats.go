package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/eventlog"
	"hitoku.dev/attest/nitro"
	"hitoku.dev/attest/nvgpu"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/tpm"
)

// format is one package that reads evidence.
type format struct {
	name      string // for people
	recognise func(raw []byte) bool
	verify    func(raw []byte, o *Options) (*attest.Result, error)
	// holds reports whether a JSON object that recognise took by the names in it is such evidence
	// itself, and not only around it; nil where recognise knows.
	holds func(raw []byte) bool
	// appendLog replays an event log against the registers of a result; nil where there are none.
	appendLog func(r *attest.Result, l *eventlog.Log, err error)
	// device says that the evidence is of a device beside a TEE.
	device bool
}

// formats lists what can be judged. The order decides where several recognise the
// same bytes: those that hold others' evidence come first.
func formats() []format {
	return []format{
		{name: "TPM quote", recognise: tpm.Recognise, verify: verifyTPM, holds: holdsTPM, appendLog: tpm.AppendEventLog},
		{name: "SGX or TDX quote", recognise: dcap.Recognise, verify: verifyDCAP, appendLog: eventlog.AppendTDX},
		{name: "SEV-SNP report", recognise: snp.Recognise, verify: verifySNP, holds: holdsSNP},
		{name: "Nitro document", recognise: nitro.Recognise, verify: verifyNitro},
		{name: "NVIDIA device report", recognise: nvgpu.Recognise, verify: verifyNVGPU, device: true},
	}
}

func holdsTPM(raw []byte) bool {
	_, err := tpm.Parse(raw)
	return err == nil
}

func holdsSNP(raw []byte) bool {
	_, err := snp.Read(raw)
	return err == nil
}

// dcapOptions are those of Intel's formats but for the collateral, which depends on the evidence.
func (o *Options) dcapOptions() dcap.Options {
	out := dcap.Options{At: o.At, Grace: o.Policy.CollateralGrace, Root: o.Root}
	if o.SimulatedRoot != nil {
		out.Root, out.Simulated = o.SimulatedRoot, true
	}
	return out
}

func verifyDCAP(raw []byte, o *Options) (*attest.Result, error) {
	d := o.dcapOptions()
	if o.Collateral != nil {
		d.Collateral = o.Collateral.DCAP(raw, o.At)
	}
	r, err := dcap.Verify(raw, d)
	if err == nil && d.Collateral == nil {
		r.NotChecked = append(r.NotChecked, "collateral: none was given; name it with --collateral")
	}
	return r, err
}

// roots are what replaces the pinned roots of a maker other than Intel.
func (o *Options) roots() []*x509.Certificate {
	if o.Root == nil {
		return nil
	}
	return []*x509.Certificate{o.Root}
}

// snpOptions are those for one piece of evidence: a folder may serve many machines, and other makers too.
func (o *Options) snpOptions(raw []byte) snp.Options {
	out := snp.Options{At: o.At, Grace: o.Policy.CollateralGrace, Roots: o.roots()}
	if o.Collateral != nil {
		report := new(snp.Report)
		if e, err := snp.Read(raw); err == nil {
			report = e.Report
		}
		out.Collateral = o.Collateral.SNP(report, o.At)
	}
	return out
}

func verifySNP(raw []byte, o *Options) (*attest.Result, error) {
	return snp.Verify(raw, o.snpOptions(raw))
}

func verifyNitro(raw []byte, o *Options) (*attest.Result, error) {
	return nitro.Verify(raw, nitro.Options{At: o.At, Roots: o.roots()})
}

func verifyTPM(raw []byte, o *Options) (*attest.Result, error) {
	e, err := tpm.Parse(raw)
	if err != nil {
		return nil, err
	}
	t := tpm.Options{At: o.At, Grace: o.Policy.CollateralGrace, Roots: o.roots(), Keys: o.Keys, Intel: o.dcapOptions(), AMD: snp.Options{Roots: o.roots()}}
	if o.Collateral != nil {
		t.Collateral = &tpm.Collateral{Certs: o.Collateral.Certs(), CRLs: o.Collateral.CRLs()}
		if e.Azure != nil {
			t.Intel.Collateral = o.Collateral.DCAP(e.Azure.TDQuote, o.At)
			t.AMD = o.snpOptions(e.Azure.HCL.Hardware)
		}
	}
	return tpm.VerifyEvidence(e, t)
}

// verifyNVGPU verifies devices of NVIDIA. A bare report has no certificates; then the
// chains in the collateral are tried.
func verifyNVGPU(raw []byte, o *Options) (*attest.Result, error) {
	n := nvgpu.Options{At: o.At, Roots: o.roots(), RIMs: o.RIMs}
	best, err := nvgpu.Verify(raw, n)
	if err != nil || best.OK() || o.Collateral == nil {
		return best, err
	}
	for _, chain := range chains(o.Collateral.Certs()) {
		n.Chain = chain
		if r, err := nvgpu.Verify(raw, n); err == nil && broken(r) < broken(best) {
			best = r
		}
	}
	return best, nil
}

// broken counts the rules that failed.
func broken(r *attest.Result) (n int) {
	for _, rule := range r.Rules {
		if !rule.OK {
			n++
		}
	}
	return n
}

// Limits on the chains of a folder that are tried.
const (
	maxChains   = 16
	deviceChain = 5 // certificates in the chain of a device, the root included
)

// chains puts certificates in order, from each that issued no other to its root, in
// PEM. What is not as long as a device's chain is left out.
func chains(ders [][]byte) [][]byte {
	var certs []*x509.Certificate
	bySubject := make(map[string][]*x509.Certificate) // devices of a product share names
	issuers := make(map[string]bool)
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		certs = append(certs, c)
		bySubject[string(c.RawSubject)] = append(bySubject[string(c.RawSubject)], c)
		if !bytes.Equal(c.RawSubject, c.RawIssuer) {
			issuers[string(c.RawIssuer)] = true
		}
	}
	var out [][]byte
	for _, c := range certs {
		if issuers[string(c.RawSubject)] || len(out) == maxChains {
			continue
		}
		var text []byte
		n := 0
		for c != nil && n < deviceChain {
			n++
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
			c = issuerAmong(bySubject[string(c.RawIssuer)], c)
		}
		if n == deviceChain {
			out = append(out, text)
		}
	}
	return out
}

// issuerAmong returns the certificate that signed c, and is not c; nil where there is none.
func issuerAmong(candidates []*x509.Certificate, c *x509.Certificate) *x509.Certificate {
	for _, issuer := range candidates {
		if issuer != c && c.CheckSignatureFrom(issuer) == nil {
			return issuer
		}
	}
	return nil
}
