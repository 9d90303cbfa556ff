package gramine

import (
	"errors"

	"hitoku.dev/measure/sgx"
)

// The bits of XFRM (Intel SDM vol. 1, section 13.1) that sgx.cpu_features speaks of.
const (
	xfrmAVX    = 0x4
	xfrmAVX512 = 0xe4 // with the AVX bit
	xfrmAMX    = 0x60000
	xfrmMPX    = 0x18
	xfrmPKRU   = 0x200

	xfrmValue = 0x3
	xfrmMask  = 0xfffffffffff9ff1b
)

// SignParams are what a SIGSTRUCT for the manifest says, as Gramine's own signer makes it,
// and warnings about CPU features that undo each other. Date is yyyymmdd.
func (m *Manifest) SignParams(mrenclave [32]byte, date uint32) (sgx.Params, []string, error) {
	if err := m.Check(); err != nil {
		return sgx.Params{}, nil, err
	}
	p := sgx.Params{
		EnclaveHash: mrenclave, ISVProdID: uint16(m.SGX.ISVProdID), ISVSVN: uint16(m.SGX.ISVSVN), Date: date,
		Attributes:     sgx.Attributes{Flags: 0x4, XFRM: xfrmValue},
		AttributesMask: sgx.Attributes{Flags: ^uint64(0), XFRM: xfrmMask},
		MiscMask:       0xffffffff,
	}
	if m.SGX.Debug {
		p.Attributes.Flags |= sgx.FlagDebug
	}
	if m.SGX.UseExinfo {
		p.MiscSelect = 1
	}
	f := &m.SGX.CPUFeatures
	for _, c := range []struct {
		state, absent string
		bits          uint64
	}{
		{f.AVX, "unspecified", xfrmAVX},
		{f.AVX512, "unspecified", xfrmAVX512},
		{f.AMX, "unspecified", xfrmAMX},
		{f.MPX, "disabled", xfrmMPX},
		{f.PKRU, "disabled", xfrmPKRU},
	} {
		if c.state == "" {
			c.state = c.absent
		}
		switch c.state {
		case "required":
			p.Attributes.XFRM |= c.bits
			p.AttributesMask.XFRM |= c.bits
		case "disabled":
			p.Attributes.XFRM &^= c.bits
			p.AttributesMask.XFRM |= c.bits
		}
	}
	var warnings []string
	if f.AVX == "required" && f.AVX512 == "disabled" {
		warnings = append(warnings, "sgx.cpu_features: avx512 = \"disabled\" takes AVX away too, though avx = \"required\"")
	}
	if f.AVX == "disabled" && f.AVX512 == "required" {
		warnings = append(warnings, "sgx.cpu_features: avx512 = \"required\" turns AVX on, though avx = \"disabled\"")
	}
	return p, warnings, nil
}

// CheckSigstruct reports what in a SIGSTRUCT differs from what the manifest and its
// measurement ask for, or that its signature is wrong.
func (m *Manifest) CheckSigstruct(s *sgx.Sigstruct, mrenclave [32]byte) error {
	p, _, err := m.SignParams(mrenclave, s.Date)
	if err != nil {
		return err
	}
	errs := []error{s.Verify()}
	differ := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("SIGSTRUCT: "+what+" is not what the manifest asks for"))
		}
	}
	differ(s.EnclaveHash == p.EnclaveHash, "MRENCLAVE")
	differ(s.ISVProdID == p.ISVProdID && s.ISVSVN == p.ISVSVN, "product id or version")
	differ(s.Attributes == p.Attributes && s.AttributesMask == p.AttributesMask, "ATTRIBUTES")
	differ(s.MiscSelect == p.MiscSelect && s.MiscMask == p.MiscMask, "MISCSELECT")
	return errors.Join(errs...)
}
