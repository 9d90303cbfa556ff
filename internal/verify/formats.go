package verify

import (
	"crypto/x509"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/eventlog"
	"hitoku.dev/attest/nitro"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/tpm"
)

// format is one package that reads evidence.
type format struct {
	name      string // for people
	recognise func(raw []byte) bool
	verify    func(raw []byte, o *Options) (*attest.Result, error)
	// appendLog replays an event log against the registers of a result; nil where there are none.
	appendLog func(r *attest.Result, l *eventlog.Log, err error)
	// device says that the evidence is of a device beside a TEE.
	device bool
}

// formats lists what can be judged. The order decides where several recognise the
// same bytes: those that hold others' evidence come first.
func formats() []format {
	return []format{
		{name: "TPM quote", recognise: tpm.Recognise, verify: verifyTPM, appendLog: tpm.AppendEventLog},
		{name: "SGX or TDX quote", recognise: dcap.Recognise, verify: verifyDCAP, appendLog: eventlog.AppendTDX},
		{name: "SEV-SNP report", recognise: snp.Recognise, verify: verifySNP},
		{name: "Nitro document", recognise: nitro.Recognise, verify: verifyNitro},
	}
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

func (o *Options) snpOptions() snp.Options {
	out := snp.Options{At: o.At, Grace: o.Policy.CollateralGrace, Roots: o.roots()}
	if o.Collateral != nil {
		out.Collateral = &snp.Collateral{Certs: o.Collateral.Certs(), CRLs: o.Collateral.CRLs()}
	}
	return out
}

func verifySNP(raw []byte, o *Options) (*attest.Result, error) {
	return snp.Verify(raw, o.snpOptions())
}

func verifyNitro(raw []byte, o *Options) (*attest.Result, error) {
	return nitro.Verify(raw, nitro.Options{At: o.At, Roots: o.roots()})
}

func verifyTPM(raw []byte, o *Options) (*attest.Result, error) {
	e, err := tpm.Parse(raw)
	if err != nil {
		return nil, err
	}
	t := tpm.Options{At: o.At, Grace: o.Policy.CollateralGrace, Roots: o.roots(), Keys: o.Keys, Intel: o.dcapOptions(), AMD: o.snpOptions()}
	if o.Collateral != nil {
		t.Collateral = &tpm.Collateral{Certs: o.Collateral.Certs(), CRLs: o.Collateral.CRLs()}
		if e.Azure != nil {
			t.Intel.Collateral = o.Collateral.DCAP(e.Azure.TDQuote, o.At)
		}
	}
	return tpm.VerifyEvidence(e, t)
}
