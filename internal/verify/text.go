package verify

import (
	"cmp"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"hitoku.dev/attest"
	"hitoku.dev/attest/nvgpu"
)

// WriteText prints the report for a person who has to decide.
func (r *Report) WriteText(w io.Writer) error {
	t := &text{w: tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)}
	r.headline(t)
	r.proved(t)
	r.certificates(t)
	r.evidence(t)
	r.tcb(t)
	r.devices(t)
	t.section("Rules")
	for _, rule := range r.Verdict.Rules {
		mark := "ok"
		if !rule.OK {
			mark = "FAILED"
		}
		t.row(mark, rule.Name, fold(rule.Seen))
		if !rule.OK {
			t.row("", "", "wanted: "+fold(rule.Wanted))
			if rule.Advice != "" {
				t.row("", "", "-> "+fold(rule.Advice))
			}
		}
	}
	if len(r.Verdict.NotChecked) > 0 {
		t.section("Not checked")
		for _, s := range r.Verdict.NotChecked {
			name, rest, _ := strings.Cut(s, ": ")
			t.row("-", name, rest)
		}
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	return t.err
}

// text prints aligned rows; the cells are cleaned of control characters.
type text struct {
	w   *tabwriter.Writer
	err error
}

func (t *text) section(name string) { t.line("\n" + name) }

func (t *text) line(s string) {
	if _, err := fmt.Fprintln(t.w, s); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *text) row(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	t.line("  " + strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

// clean replaces what a terminal might obey.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c == ' ' || unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}

// fold keeps a cell at a length that a table can hold.
func fold(s string) string {
	const most = 400
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func (r *Report) headline(t *text) {
	t.line(clean(r.Target) + ", judged at " + r.At.UTC().Format(time.RFC3339))
	if r.Accepted() {
		t.line("ACCEPTED: every rule held.")
	} else {
		failed := r.Verdict.Failed()
		names := make([]string, len(failed))
		for i, rule := range failed {
			names[i] = rule.Name
		}
		t.line(fmt.Sprintf("REFUSED: %d of %d rules failed: %s.", len(failed), len(r.Verdict.Rules), strings.Join(names, ", ")))
	}
	if r.Verdict.Simulated {
		t.line("SIMULATED: this evidence comes from a simulated TEE. No hardware protects the program; trust it in tests only.")
	}
	if r.Verdict.Debug {
		t.line("DEBUG: the memory of this program can be read from outside.")
	}
}

func (r *Report) certificates(t *text) {
	if len(r.Chain) == 0 {
		return
	}
	t.section("Certificates")
	roles := []string{"leaf", "zone", "root"}
	for i, c := range r.Chain {
		role := "more"
		if i < len(roles) {
			role = roles[i]
		}
		t.row(role, c.Subject.String())
		if names := names(c); names != "" {
			t.row("", "names "+names)
		}
		spki := attest.SPKIHash(c.RawSubjectPublicKeyInfo)
		t.row("", fmt.Sprintf("valid %s to %s, serial %x", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), c.SerialNumber))
		t.row("", "key sha256:"+hex.EncodeToString(spki[:]))
	}
}

func names(c *x509.Certificate) string {
	list := append([]string(nil), c.DNSNames...)
	for _, u := range c.URIs {
		list = append(list, u.String())
	}
	return strings.Join(list, ", ")
}

// proved says in a few lines what the verdict comes to, for the reader who stops here.
func (r *Report) proved(t *text) {
	c := &r.Claims
	if c.Format == "" {
		return
	}
	title := "Proved"
	if !r.Accepted() {
		title = "Claimed by the evidence, and not proved"
	}
	t.section(title)
	t.row("what", subject(c))
	for _, rule := range r.Verdict.Rules {
		if name := strings.TrimPrefix(rule.Name, "device_1_"); name == "root_trusted" || name == "ak_trusted" {
			by := rule.Seen
			if !rule.OK {
				by = "nobody that is trusted here: " + by
			}
			t.row("by whom", fold(by))
			break
		}
	}
	t.row("under", r.underTCB())
	switch n := len(c.Devices); {
	case isDevice(c) && n > 1:
		t.row("of", fmt.Sprintf("%d devices, see below", n))
	case !isDevice(c) && n > 0:
		t.row("beside it", fmt.Sprintf("%d devices, see below", n))
	}
	t.row("not checked", fmt.Sprintf("%d things, listed below", len(r.Verdict.NotChecked)))
}

// subject names what evidence of a kind is about.
func subject(c *attest.Claims) string {
	switch c.TEE {
	case attest.SGX:
		return "an enclave of Intel SGX runs the program with the measurement below"
	case attest.TDX:
		return "a virtual machine of Intel TDX was started with the measurement below; what ran later is in its RTMRs"
	case attest.SEVSNP:
		return "a virtual machine of AMD SEV-SNP was started with the measurement below; what it loaded later is not in it"
	case attest.Nitro:
		return "an AWS Nitro enclave runs the image with the PCRs below; AWS's hypervisor keeps it apart"
	case attest.TPM:
		return "a machine with this TPM booted what its PCRs say; no memory is protected by a TPM"
	case attest.NVIDIAGPU, nvgpu.Switch:
		return "a genuine NVIDIA device runs the firmware measured below; which machine uses it is not in the evidence"
	}
	return "evidence of a kind that is not known"
}

// isDevice reports whether the claims are those of devices themselves.
func isDevice(c *attest.Claims) bool { return c.TEE == attest.NVIDIAGPU || c.TEE == nvgpu.Switch }

func (r *Report) underTCB() string {
	c := &r.Claims
	switch {
	case c.TCB.Overall != "" && len(c.TCB.Advisories) > 0:
		return "TCB " + c.TCB.Overall + " with " + strings.Join(c.TCB.Advisories, ", ")
	case c.TCB.Overall != "":
		return "TCB " + c.TCB.Overall
	case len(c.SVNs) > 0:
		return "versions that the maker gives no status for, see below"
	case c.TEE == attest.SGX || c.TEE == attest.TDX || c.TEE == "":
		return "a TCB that is not known"
	}
	return "software that the maker gives no status for"
}

func (r *Report) evidence(t *text) {
	c := &r.Claims
	if c.Format == "" {
		return
	}
	t.section("Evidence")
	t.row("format", c.Format)
	for i, in := range r.Containers {
		t.row(map[bool]string{true: "found in"}[i == 0], in)
	}
	t.row("measurement", hex.EncodeToString(c.Measurement))
	if r.Image != "" {
		t.row("", "image "+r.Image+" has "+r.ImageMeasurement)
	}
	optional := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	optional("signer", hex.EncodeToString(c.Signer))
	if c.TEE == attest.SGX || c.TEE == "" {
		t.row("product", fmt.Sprintf("id %d, security version %d", c.ProdID, c.SVN))
	}
	t.row("platform", orUnknown(c.PlatformID))
	optional("FMSPC", c.FMSPC)
	optional("report data", hex.EncodeToString(c.ReportData))
	optional("nonce", hex.EncodeToString(c.Nonce))
	if !c.IssuedAt.IsZero() {
		t.row("made at", c.IssuedAt.UTC().Format(time.RFC3339))
	}
	if b := r.Binding; b != nil {
		t.row("made for", string(b.Purpose)+", key sha256:"+hex.EncodeToString(b.Subject[:]))
		t.row("", "nonce "+hex.EncodeToString(b.Nonce))
		t.row("", "account root sha256:"+hex.EncodeToString(b.AccountRoot[:]))
		if len(b.ConfigID) > 0 {
			t.row("", "configuration "+hex.EncodeToString(b.ConfigID))
		}
	}
	t.table("Registers", registers(c))
	t.table("Facts", c.Facts)
}

// registers are the measurements but for the one that is shown already and those that are empty.
func registers(c *attest.Claims) map[string]string {
	shown := hex.EncodeToString(c.Measurement)
	out := make(map[string]string)
	for name, value := range c.Measurements {
		if value != shown && value != hex.EncodeToString(c.Signer) && strings.Trim(value, "0") != "" {
			out[name] = value
		}
	}
	return out
}

// table prints names with their values, in order; nothing when there are none.
func (t *text) table(title string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	t.section(title)
	for _, name := range slices.SortedFunc(maps.Keys(values), byNumber) {
		t.row(name, fold(values[name]))
	}
}

// byNumber orders names as people do: pcr2 before pcr10.
func byNumber(a, b string) int {
	split := func(s string) (string, int) {
		digits := s[len(strings.TrimRight(s, "0123456789")):]
		n, err := strconv.Atoi(digits)
		if err != nil {
			return s, 0
		}
		return strings.TrimSuffix(s, digits), n
	}
	nameA, nA := split(a)
	nameB, nB := split(b)
	return cmp.Or(cmp.Compare(nameA, nameB), cmp.Compare(nA, nB), cmp.Compare(a, b))
}

func (r *Report) devices(t *text) {
	if isDevice(&r.Claims) && len(r.Claims.Devices) == 1 { // shown already
		return
	}
	for i := range r.Claims.Devices {
		d := &r.Claims.Devices[i]
		t.section(fmt.Sprintf("Device %d", i+1))
		t.row("format", d.Format)
		t.row("what", subject(d))
		t.row("platform", orUnknown(d.PlatformID))
		for _, name := range slices.Sorted(maps.Keys(d.Facts)) {
			t.row(name, fold(d.Facts[name]))
		}
	}
}

func (r *Report) tcb(t *text) {
	c := &r.Claims
	versions := make(map[string]string)
	for part, n := range c.SVNs {
		versions[part] = fmt.Sprint(n)
	}
	switch {
	case c.Format == "":
		return
	case c.TEE != attest.SGX && c.TEE != attest.TDX && c.TEE != "":
		t.table("Versions", versions)
		return
	}
	t.section("TCB")
	t.row("overall", orUnknown(c.TCB.Overall))
	level := orUnknown(c.TCB.Platform)
	if !c.TCBDate.IsZero() {
		level += ", level of " + c.TCBDate.UTC().Format(time.DateOnly)
	}
	t.row("platform", level)
	if c.TCB.Module != "" {
		t.row("TDX module", c.TCB.Module)
	}
	t.row("quoting enclave", orUnknown(c.TCB.QE))
	if len(c.TCB.Advisories) > 0 {
		t.row("advisories", strings.Join(c.TCB.Advisories, ", "))
	}
	if c.TCBEvaluation > 0 {
		t.row("evaluation", fmt.Sprint(c.TCBEvaluation))
	}
	if !c.CollateralDate.IsZero() {
		t.row("collateral", "oldest of "+c.CollateralDate.UTC().Format(time.RFC3339))
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}
