package verify

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"hitoku.dev/attest"
)

// WriteText prints the report for a person who has to decide.
func (r *Report) WriteText(w io.Writer) error {
	t := &text{w: tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)}
	r.headline(t)
	r.certificates(t)
	r.evidence(t)
	r.tcb(t)
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

func (r *Report) evidence(t *text) {
	c := &r.Claims
	if c.Format == "" {
		return
	}
	t.section("Evidence")
	t.row("format", c.Format)
	t.row("measurement", hex.EncodeToString(c.Measurement))
	if r.Image != "" {
		t.row("", "image "+r.Image+" has "+r.ImageMeasurement)
	}
	t.row("signer", hex.EncodeToString(c.Signer))
	t.row("product", fmt.Sprintf("id %d, security version %d", c.ProdID, c.SVN))
	t.row("platform", orUnknown(c.PlatformID)+", FMSPC "+orUnknown(c.FMSPC))
	t.row("report data", hex.EncodeToString(c.ReportData))
	if b := r.Binding; b != nil {
		t.row("made for", string(b.Purpose)+", key sha256:"+hex.EncodeToString(b.Subject[:]))
		t.row("", "nonce "+hex.EncodeToString(b.Nonce))
		t.row("", "account root sha256:"+hex.EncodeToString(b.AccountRoot[:]))
		if len(b.ConfigID) > 0 {
			t.row("", "configuration "+hex.EncodeToString(b.ConfigID))
		}
	}
}

func (r *Report) tcb(t *text) {
	c := &r.Claims
	if c.Format == "" {
		return
	}
	t.section("TCB")
	t.row("overall", orUnknown(c.TCB.Overall))
	level := orUnknown(c.TCB.Platform)
	if !c.TCBDate.IsZero() {
		level += ", level of " + c.TCBDate.UTC().Format(time.DateOnly)
	}
	t.row("platform", level)
	t.row("quoting enclave", orUnknown(c.TCB.QE))
	if len(c.TCB.Advisories) > 0 {
		t.row("advisories", strings.Join(c.TCB.Advisories, ", "))
	}
	if c.TCBEvaluation > 0 {
		t.row("evaluation", fmt.Sprint(c.TCBEvaluation))
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}
