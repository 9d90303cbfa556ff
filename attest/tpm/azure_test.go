package tpm

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/eventlog"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// azure is a confidential machine of Azure for tests: a paravisor that puts the
// attestation key of its virtual TPM into the runtime data.
type azure struct {
	*world
	amd     *snptest.World
	runtime []byte
	vcek    *x509.Certificate
	signed  Quote // made once
}

func newAzure(t testing.TB) *azure {
	a := &azure{world: newWorldOf(t, newRSA(t), tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256), amd: snptest.New(t, now)}
	a.runtime, a.signed = a.runtimeData("HCLAkPub"), a.quote(eventlog.SHA256)
	return a
}

func (a *azure) runtimeData(kids ...string) []byte {
	key := a.ak.Public().(*rsa.PublicKey)
	b64 := base64.RawURLEncoding.EncodeToString
	var keys []map[string]any
	for _, kid := range kids {
		keys = append(keys, map[string]any{"kid": kid, "key_ops": []string{"sign"}, "kty": "RSA", "e": b64(big.NewInt(int64(key.E)).Bytes()), "n": b64(key.N.Bytes())})
	}
	raw, err := json.Marshal(map[string]any{
		"keys": keys, "vm-configuration": map[string]any{"secure-boot": true, "console-enabled": false, "vmUniqueId": "an id", "count": 7}, "user-data": "00",
	})
	a.must(err)
	return raw
}

// hcl wraps a hardware report.
func (a *azure) hcl(kind uint32, hardware []byte) []byte {
	word := func(list ...uint32) (out []byte) {
		for _, v := range list {
			out = binary.LittleEndian.AppendUint32(out, v)
		}
		return out
	}
	area := append(slices.Clone(hardware), make([]byte, hclHardware-len(hardware))...)
	n := uint32(len(a.runtime))
	header := append([]byte(hclMagic), word(2, n+hclRuntime+hclHardware, 2, 0, 0, 0, 0)...)
	return slices.Concat(header, area, word(n+hclRuntime, 1, kind, hashSHA256, n), a.runtime, make([]byte, 100))
}

func (a *azure) reportData() (d [64]byte) {
	sum := sha256.Sum256(a.runtime)
	copy(d[:], sum[:])
	return d
}

func (a *azure) snp(edit func(*snp.Report)) []byte {
	r := a.amd.Report(snp.Milan, 3)
	r.ReportData = a.reportData()
	if edit != nil {
		edit(r)
	}
	a.vcek = a.amd.Leaf(r).Cert
	return a.hcl(reportTypeSNP, a.amd.Sign(r))
}

// json writes the newest form of the evidence.
func (a *azure) json(members map[string]any) []byte {
	q := a.signed
	s, err := ParseSignature(q.Signature)
	a.must(err)
	var pcrs []string
	for i := range numPCRs {
		pcrs = append(pcrs, fmt.Sprintf("%x", q.PCRs[eventlog.SHA256][i]))
	}
	all := map[string]any{"version": 2, "tpm_quote": map[string]any{"message": fmt.Sprintf("%x", q.Attest), "signature": fmt.Sprintf("%x", s.RSA), "pcrs": pcrs}}
	for k, v := range members {
		all[k] = v
	}
	raw, err := json.Marshal(all)
	a.must(err)
	return raw
}

func ints(b []byte) (out []int) {
	for _, x := range b {
		out = append(out, int(x))
	}
	return out
}

func (a *azure) options() Options {
	line := a.amd.Line(snp.Milan)
	return Options{At: now, AMD: snp.Options{Roots: []*x509.Certificate{line.ARK.Cert}, Collateral: &snp.Collateral{Certs: [][]byte{line.ASK.Cert.Raw, line.ARK.Cert.Raw}}}}
}

func TestAzureSNP(t *testing.T) {
	t.Parallel()
	a := newAzure(t)
	report := a.snp(nil)
	for name, members := range map[string]map[string]any{
		"base64":  {"hcl_report": report, "vcek": a.vcek.Raw},
		"url":     {"hcl_report": base64.RawURLEncoding.EncodeToString(report), "vcek": a.vcek.Raw},
		"numbers": {"report": ints(report), "vcek": string(snptest.PEM(a.vcek))},
	} {
		r, err := Verify(a.json(members), a.options())
		if err != nil || !r.OK() {
			t.Errorf("%s: %v %v", name, err, r)
			continue
		}
		c := r.Claims
		if c.TEE != attest.SEVSNP || c.Format != FormatAzureSNP || string(c.Nonce) != "a nonce" || len(c.Measurement) != 48 || len(c.Measurements["pcr0"]) != 64 ||
			c.Facts["azure_secure_boot"] != "true" || c.Facts["azure_vm_unique_id"] != "an id" || c.Facts["azure_user_data"] != "00" || c.Facts["tpm_clock"] != "77" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	// The HCL report alone: authentic, but without PCRs and nonce.
	o := a.options()
	o.AMD.Collateral.Certs = append(o.AMD.Collateral.Certs, a.vcek.Raw)
	r, err := Verify(report, o)
	if err != nil || !r.OK() || r.Claims.Nonce != nil || !slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.HasPrefix(s, "tpm_quote:") }) {
		t.Errorf("%v %+v", err, r)
	}
}

func TestAzureRefusals(t *testing.T) {
	t.Parallel()
	a, other := newAzure(t), newAzure(t)
	report := a.snp(nil)
	vcek := a.vcek.Raw
	otherRuntime := *a
	otherRuntime.runtime = other.runtime
	swapped := slices.Concat(report[:hclHeader+hclHardware], otherRuntime.hcl(reportTypeSNP, nil)[hclHeader+hclHardware:])
	unbound := a.snp(func(r *snp.Report) { r.ReportData[32] = 1 })
	byGuest := a.snp(func(r *snp.Report) { r.VMPL = 2 })
	for name, tc := range map[string]struct {
		report []byte
		quote  *azure
		failed []string
	}{
		"quote of another machine":        {report, other, []string{"tpm_quote_signature"}},
		"runtime data of another machine": {swapped, other, []string{"hcl_report_data"}},
		"more than the hash":              {unbound, a, []string{"hcl_report_data"}},
		"made by the guest's own system":  {byGuest, a, []string{"hcl_vmpl"}},
	} {
		r, err := Verify(tc.quote.json(map[string]any{"hcl_report": tc.report, "vcek": vcek}), a.options())
		if err != nil || !slices.Equal(failedNames(r.Rules), tc.failed) {
			t.Errorf("%s: %v %v", name, err, failedNames(r.Rules))
		}
	}
	hardware := slices.Clone(report)
	hardware[hclHeader+0x90] ^= 1 // the launch digest
	r, err := Verify(a.json(map[string]any{"hcl_report": hardware, "vcek": vcek}), a.options())
	if err != nil || r.OK() {
		t.Errorf("a changed hardware report was accepted: %v", err)
	}
	// An SNP report with a quote of TDX beside it.
	if _, err := Verify(a.json(map[string]any{"hcl_report": report, "td_quote": []int{1}}), a.options()); err == nil {
		t.Error("two kinds of hardware in one evidence")
	}
}

func TestAzureTDX(t *testing.T) {
	t.Parallel()
	a := newAzure(t)
	tdreport := make([]byte, tdReportSize)
	d := a.reportData()
	copy(tdreport[tdReportDataOff:], d[:])
	hcl := a.hcl(reportTypeTDX, tdreport)
	quote := func(data [64]byte) []byte {
		q := &dcap.Quote{
			Header: dcap.Header{Version: dcap.Version4, TEEType: dcap.TEETypeTDX, KeyType: dcap.KeyTypeECDSAP256, QEVendorID: dcap.IntelQEVendorID()},
			TD:     &dcap.TDReport{TEETCBSVN: [16]byte{6, 1, 3}, MRTD: [48]byte{1}, ReportData: data}, CertType: dcap.CertPCKChain, CertData: snptest.PEM(a.akCert),
		}
		raw, err := q.Marshal()
		a.must(err)
		return raw
	}
	// The made-up quote has no signature: only the rules that tie the parts together are looked at.
	verify := func(members map[string]any) []string {
		r, err := Verify(a.json(members), a.options())
		a.must(err)
		if r.Claims.Format != FormatAzureTDX || r.OK() {
			t.Errorf("%+v", r)
		}
		return failedNames(r.Rules)
	}
	bound := verify(map[string]any{"hcl_report": hcl, "td_quote": quote(d)})
	if slices.Contains(bound, "hcl_report_data") || slices.Contains(bound, "tpm_quote_signature") || !slices.Contains(bound, "quote_signature") {
		t.Errorf("failed %v", bound)
	}
	if failed := verify(map[string]any{"hcl_report": hcl, "td_quote": quote([64]byte{1})}); !slices.Contains(failed, "hcl_report_data") {
		t.Errorf("a quote over other report data: failed %v", failed)
	}
	for name, members := range map[string]map[string]any{"no quote": {"hcl_report": hcl}, "no quote at all": {"hcl_report": hcl, "td_quote": []int{4, 0}}} {
		if failed := verify(members); !slices.Equal(failed, []string{"report_format", "hcl_report_data"}) {
			t.Errorf("%s: failed %v", name, failed)
		}
	}
}

func TestParseHCLRefuses(t *testing.T) {
	t.Parallel()
	a := newAzure(t)
	good := a.snp(nil)
	rt := hclHeader + hclHardware
	edit := func(off int, v byte) []byte {
		b := slices.Clone(good)
		b[off] = v
		return b
	}
	with := func(runtime string) []byte {
		b := *a
		b.runtime = []byte(runtime)
		return b.hcl(reportTypeSNP, nil)
	}
	key := func(members string) []byte { return with(`{"keys":[{"kid":"HCLAkPub",` + members + `}]}`) }
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{
		"magic": {edit(0, 0), "HCLA"}, "short": {good[:rt], "bytes"}, "long": {append(slices.Clone(good), make([]byte, maxHCL)...), "bytes"},
		"type": {edit(rt+8, 1), "type 1"}, "hash": {edit(rt+12, 2), "hash type 2"}, "size": {edit(rt+17, 0xff), "announced"},
		"not JSON": {with("x"), "JSON"}, "no keys": {with(`{}`), "no key"}, "keys twice": {with(`{"keys":[],"keys":[]}`), "twice"},
		"two keys": {with(string(a.runtimeData("HCLAkPub", "HCLAkPub"))), "two keys"}, "other key": {with(string(a.runtimeData("HCLEkPub"))), "no key"},
		"modulus": {key(`"n":"!"`), "modulus"}, "exponent": {key(`"n":"AQAB","e":""`), "exponent"}, "kty": {key(`"n":"AQAB","e":"AQAB"`), "kty"},
		"small key": {key(`"kty":"RSA","n":"AQAB","e":"AQAB"`), "RSA key"}, "many keys": {with(`{"keys":[` + strings.Repeat("{},", 16) + `{}]}`), "17 keys"},
	} {
		if _, err := ParseHCL(tc.raw); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.want)
		}
	}
}
