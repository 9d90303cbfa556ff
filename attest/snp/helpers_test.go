package snp_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// now is the time at which the test world is valid.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// world is the made-up AMD that all tests share, since its keys take a while to
// make. Nothing in it changes; what a test needs otherwise it makes anew.
var world = sync.OnceValue(func() *snptest.World { return snptest.New(lasting{}, now) })

// lasting stands for a test that does not end.
type lasting struct{ testing.TB }

func (lasting) Helper() {}

func (lasting) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func parseDER(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func parsePEM(t testing.TB, text []byte) (out []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		out = append(out, parseDER(t, block.Bytes))
	}
	return out
}

// certDER returns the first certificate in DER or PEM.
func certDER(t testing.TB, data []byte) []byte {
	t.Helper()
	if bytes.HasPrefix(data, []byte("-----BEGIN")) {
		return parsePEM(t, data)[0].Raw
	}
	return data
}

// flipAll calls try with data in which one byte was changed, for every byte. The
// bit that changes moves along.
func flipAll(data []byte, try func(i int, flipped []byte)) {
	for i := range data {
		flipped := slices.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		try(i, flipped)
	}
}

// trusteeReport takes a report apart as trustee's attester does.
func trusteeReport(t testing.TB, raw []byte) map[string]any {
	t.Helper()
	r, err := snp.ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	turin := r.Product() == snp.Turin
	tcb := func(v snp.TCBVersion) map[string]any {
		p := snp.Milan
		if turin {
			p = snp.Turin
		}
		s := v.Parts(p)
		m := map[string]any{"fmc": nil, "bootloader": s.Bootloader, "tee": s.TEE, "snp": s.SNP, "microcode": s.Microcode}
		if turin {
			m["fmc"] = s.FMC
		}
		return m
	}
	firmware := func(f snp.Firmware) map[string]any {
		return map[string]any{"major": f.Major, "minor": f.Minor, "build": f.Build}
	}
	m := map[string]any{
		"version": r.Version, "guest_svn": r.GuestSVN, "policy": r.Policy, "family_id": ints(r.FamilyID[:]), "image_id": ints(r.ImageID[:]),
		"vmpl": r.VMPL, "sig_algo": r.SignatureAlgo, "current_tcb": tcb(r.CurrentTCB), "plat_info": r.PlatformInfo, "key_info": r.KeyInfo,
		"report_data": ints(r.ReportData[:]), "measurement": ints(r.Measurement[:]), "host_data": ints(r.HostData[:]),
		"id_key_digest": ints(r.IDKeyDigest[:]), "author_key_digest": ints(r.AuthorKeyDigest[:]), "report_id": ints(r.ReportID[:]),
		"report_id_ma": ints(r.ReportIDMA[:]), "reported_tcb": tcb(r.ReportedTCB), "cpuid_fam_id": nil, "cpuid_mod_id": nil, "cpuid_step": nil,
		"chip_id": ints(r.ChipID[:]), "committed_tcb": tcb(r.CommittedTCB), "current": firmware(r.Current), "committed": firmware(r.Committed),
		"launch_tcb": tcb(r.LaunchTCB), "launch_mit_vector": nil, "current_mit_vector": nil,
		"signature": map[string]any{"r": ints(r.Signature.R[:]), "s": ints(r.Signature.S[:])},
	}
	if r.Version >= 3 {
		m["cpuid_fam_id"], m["cpuid_mod_id"], m["cpuid_step"] = r.Family, r.Model, r.Stepping
	}
	if r.Version >= 5 {
		m["launch_mit_vector"], m["current_mit_vector"] = r.LaunchMit, r.CurrentMit
	}
	return m
}

// trusteeJSON writes a report and one certificate as trustee's evidence.
func trusteeJSON(t testing.TB, raw []byte, kind snp.CertKind, cert []byte) []byte {
	t.Helper()
	doc := map[string]any{"attestation_report": trusteeReport(t, raw), "cert_chain": nil}
	if cert != nil {
		doc["cert_chain"] = []any{map[string]any{"cert_type": kind, "data": ints(cert)}}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ints is what a byte array is in Rust's JSON: an array of numbers.
func ints(b []byte) []int {
	out := make([]int, len(b))
	for i, v := range b {
		out[i] = int(v)
	}
	return out
}
