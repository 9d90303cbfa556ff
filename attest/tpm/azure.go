package tpm

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

// tpmPrefix stands before the rules of the virtual TPM's part, so that the hardware
// report's keep the names that they have elsewhere.
const tpmPrefix = "tpm_"

// verifyAzure checks the hardware report, then that it was made over the runtime
// data, then the quotes under the key in the runtime data. The hardware measured
// the paravisor, and the paravisor made that key: nothing else vouches for it.
func verifyAzure(e *Evidence, o *Options) *attest.Result {
	h := e.Azure.HCL
	r, hardware := o.hardware(e.Azure)
	c := &check{o: o, used: make(PCRs), prefix: tpmPrefix, ak: e.readKey()}
	r.Rules = append(r.Rules, reportData(h, hardware))
	if h.Type == reportTypeSNP {
		r.Rules = append(r.Rules, privilege(&r.Claims))
	}
	if len(e.Quotes) > 0 {
		c.quotes(e)
	} else {
		c.notChecked = append(c.notChecked, "tpm_quote: there is none, so no PCR and no nonce; the report is as old as the machine's start")
	}
	r.Rules = append(r.Rules, c.rules...)
	r.NotChecked = slices.Concat(r.NotChecked, c.notChecked, e.unread)
	c.mergeClaims(h, &r.Claims)
	if len(e.Quotes) > 0 {
		c.eventLog(e, r)
	}
	return r
}

// hardware verifies the report of SEV-SNP or the quote of TDX. The second result is
// the report data that were signed.
func (o *Options) hardware(az *Azure) (r *attest.Result, signed []byte) {
	var err error
	if az.HCL.Type == reportTypeSNP {
		r, err = o.verifySNP(az)
	} else {
		r, err = o.verifyTDX(az)
	}
	if err != nil {
		format := map[uint32]string{reportTypeSNP: FormatAzureSNP, reportTypeTDX: FormatAzureTDX}[az.HCL.Type]
		r = &attest.Result{Claims: attest.Claims{Format: format}}
		r.Rules = []attest.Rule{{
			Name: "report_format", Wanted: "a hardware report that can be verified", Seen: err.Error(),
			Advice: "add the TD quote that Azure's metadata service gives for this TDREPORT",
		}}
		return r, nil
	}
	return r, r.Claims.ReportData
}

func (o *Options) verifySNP(az *Azure) (*attest.Result, error) {
	so := o.AMD
	so.At, so.Grace = o.At, max(o.Grace, so.Grace)
	if len(az.VCEK) > 0 {
		with := snp.Collateral{}
		if so.Collateral != nil {
			with = *so.Collateral
		}
		with.Certs = append(slices.Clone(with.Certs), az.VCEK)
		so.Collateral = &with
	}
	r, err := snp.Verify(az.HCL.Hardware, so)
	if err == nil {
		r.Claims.Format = FormatAzureSNP
	}
	return r, err
}

func (o *Options) verifyTDX(az *Azure) (*attest.Result, error) {
	if len(az.TDQuote) == 0 {
		return nil, errors.New("a TDREPORT without a TD quote: only the machine that made it can check it")
	}
	do := o.Intel
	do.At, do.Grace = o.At, max(o.Grace, do.Grace)
	r, err := dcap.Verify(az.TDQuote, do)
	if err != nil {
		return nil, err
	}
	if r.Claims.TEE != attest.TDX {
		return nil, fmt.Errorf("a quote of %s, wanted TDX", r.Claims.Format)
	}
	r.Claims.Format = FormatAzureTDX
	return r, nil
}

// reportData is the rule that ties the attestation key to the hardware.
func reportData(h *HCLReport, signed []byte) attest.Rule {
	want := h.ReportData()
	rule := attest.Rule{
		Name: "hcl_report_data", Wanted: "report data " + hex.EncodeToString(want) + " (SHA-256 of the runtime data with the attestation key, then zeros)",
		Seen: hex.EncodeToString(signed), OK: bytes.Equal(want, signed) && bytes.Equal(want, h.hardwareReportData()),
	}
	if !rule.OK {
		rule.Advice = "the runtime data, and with them the attestation key, are not those of this machine"
		if rule.Seen == "" {
			rule.Seen = "none"
		}
	}
	return rule
}

// privilege is the rule that the paravisor asked for the report, at VMPL 0. The
// guest's own system runs at a lower level, and could have a report made over any key.
func privilege(c *attest.Claims) attest.Rule {
	rule := attest.Rule{Name: "hcl_vmpl", Wanted: "a report that the paravisor asked for, at VMPL 0", Seen: "VMPL " + c.Facts["vmpl"], OK: c.Facts["vmpl"] == "0"}
	if !rule.OK {
		rule.Advice = "the report was not made by Azure's paravisor; read it from the virtual TPM's NV index 0x01400001"
	}
	return rule
}

// mergeClaims adds registers, nonce and facts of the quotes to the hardware's claims.
func (c *check) mergeClaims(h *HCLReport, out *attest.Claims) {
	all, _ := c.measurements()
	if out.Measurements == nil {
		out.Measurements = make(map[string]string, len(all))
	}
	maps.Copy(out.Measurements, all)
	if out.Facts == nil {
		out.Facts = make(map[string]string)
	}
	maps.Copy(out.Facts, h.facts())
	if c.attest != nil {
		out.Nonce = c.attest.ExtraData
		c.counters(out.Facts)
	}
}

// facts reads what the paravisor says of the machine's configuration. The runtime
// data are covered by the hardware's report data.
func (h *HCLReport) facts() map[string]string {
	out := make(map[string]string)
	names := map[string]string{
		"console-enabled": "azure_console_enabled", "secure-boot": "azure_secure_boot", "tpm-enabled": "azure_tpm_enabled",
		"tpm-persisted": "azure_tpm_persisted", "vmUniqueId": "azure_vm_unique_id", "root-cert-thumbprint": "azure_root_cert_thumbprint",
	}
	_ = object(h.RuntimeData, func(name string, value json.RawMessage) error {
		var s string
		if name == "user-data" && json.Unmarshal(value, &s) == nil && plain(s) {
			out["azure_user_data"] = s
		}
		if name != "vm-configuration" {
			return nil
		}
		return object(value, func(name string, value json.RawMessage) error {
			fact, text := names[name], string(value)
			if fact == "" {
				return nil
			}
			if text != "true" && text != "false" && (json.Unmarshal(value, &text) != nil || !plain(text)) {
				return nil
			}
			out[fact] = text
			return nil
		})
	})
	return out
}
