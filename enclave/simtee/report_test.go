package simtee

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/internal/proto"
)

func mustReport(t testing.TB, p *Platform, id identity, target []byte) []byte {
	t.Helper()
	r, err := p.programReport(id, target, binding(attest.PurposeApp))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantRule(t testing.TB, what, rule string, err error) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Rule != rule {
		t.Errorf("%s: %v, wanted rule %s", what, err, rule)
	}
}

// targetInfoOf is the TARGETINFO of a program.
func targetInfoOf(id identity) targetInfo { return targetOf(id.body([64]byte{})) }

func TestReportBecomesQuote(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	p := newPlatform(t, 2, a)
	report := mustReport(t, p, program1(), p.TargetInfo())
	if len(report) != 432 {
		t.Fatalf("report has %d bytes", len(report))
	}
	quote, err := p.QuoteReport(report)
	if err != nil {
		t.Fatal(err)
	}
	r := verify(t, quote, a)
	if !r.OK() {
		t.Fatal(failed(r))
	}
	id, data := program1(), binding(attest.PurposeApp).ReportData()
	if c := r.Claims; !bytes.Equal(c.Measurement, id.measurement[:]) || !bytes.Equal(c.Signer, id.signer[:]) || c.ProdID != id.prodID || c.SVN != id.svn ||
		!bytes.Equal(c.ReportData, data[:]) || c.PlatformID != p.ID() || c.Debug {
		t.Errorf("claims %+v", c)
	}

	// The quoting enclave answers with a report that only this program can check.
	subject := [32]byte{7, 8}
	answer, err := p.AnswerReport(report, subject)
	if err != nil {
		t.Fatal(err)
	}
	body, err := p.checkReport(answer, targetInfoOf(id))
	if err != nil {
		t.Fatal(err)
	}
	if body.MREnclave != p.qe.report.MREnclave || body.ReportData != [64]byte{7, 8} {
		t.Errorf("answer %+v", body)
	}
	other := id
	other.measurement[31]++
	_, err = p.checkReport(answer, targetInfoOf(other))
	wantRule(t, "answer for another program", "report_mac", err)
	if _, err := p.QuoteReport(answer); err == nil {
		t.Error("the quoting enclave quotes its own answer")
	}
}

func TestReportsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	p, elsewhere := newPlatform(t, 2, a), newPlatform(t, 3, a)
	id := program1()
	good := mustReport(t, p, id, p.TargetInfo())
	own := targetInfoOf(id)
	forged := bytes.Clone(good[:384])
	forgedMAC := cmac([16]byte{}, forged)
	forged = append(append(forged, make([]byte, 32)...), forgedMAC[:]...)
	for name, c := range map[string]struct {
		rule   string
		report []byte
	}{
		"another platform's":   {"report_mac", mustReport(t, elsewhere, id, elsewhere.TargetInfo())},
		"for another program":  {"report_mac", mustReport(t, p, id, own.bytes())},
		"under a made-up key":  {"report_mac", forged},
		"no MAC":               {"report_mac", append(bytes.Clone(good[:416]), make([]byte, 16)...)},
		"another one's MAC":    {"report_mac", append(bytes.Clone(good[:416]), mustReport(t, p, identity{}, p.TargetInfo())[416:]...)},
		"empty":                {"report_format", nil},
		"with bytes after it":  {"report_format", append(bytes.Clone(good), 0)},
		"a body without a MAC": {"report_format", good[:384]},
	} {
		_, err := p.QuoteReport(c.report)
		wantRule(t, name, c.rule, err)
		_, err = p.AnswerReport(c.report, [32]byte{})
		wantRule(t, name, c.rule, err)
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1 << (i % 8)
		_, err := p.QuoteReport(b)
		wantRule(t, "a byte changed", "report_mac", err)
		_, err = p.QuoteReport(good[:i])
		wantRule(t, "cut short", "report_format", err)
	}
	if _, err := p.QuoteReport(good); err != nil {
		t.Error(err)
	}
	fresh := newPlatform(t, 4, nil)
	if _, err := fresh.QuoteReport(mustReport(t, fresh, id, fresh.TargetInfo())); !errors.Is(err, ErrNotProvisioned) {
		t.Errorf("platform without a certificate: %v", err)
	}
}

// Each member of TARGETINFO leads to another key, and reserved bytes must be zero.
func TestTargetInfoBytes(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, 2, newAuthority(t, 1))
	good := p.TargetInfo()
	mac := string(mustReport(t, p, program1(), good)[416:])
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1
		report, err := p.programReport(program1(), b, binding(attest.PurposeApp))
		if reserved := i == 49 || i >= 56 && i < 64 || i >= 128; reserved {
			wantRule(t, "reserved byte", "target_info", err)
			continue
		}
		if err != nil || string(report[416:]) == mac {
			t.Errorf("byte %d: %v, or the same MAC", i, err)
		}
	}
	for _, n := range []int{0, 511, 513} {
		_, err := p.programReport(program1(), make([]byte, n), binding(attest.PurposeApp))
		wantRule(t, "length", "target_info", err)
	}
	back, err := parseTargetInfo(good)
	if err != nil || !bytes.Equal(back.bytes(), good) {
		t.Errorf("read back: %x, %v", back.bytes(), err)
	}
}

func FuzzReport(f *testing.F) {
	p := newPlatform(f, 2, newAuthority(f, 1))
	good := mustReport(f, p, program1(), p.TargetInfo())
	f.Add(good, p.TargetInfo())
	f.Add(good[:384], make([]byte, 512))
	f.Add([]byte{}, []byte(strings.Repeat("\xff", 512)))
	f.Fuzz(func(t *testing.T, report, target []byte) {
		if _, err := p.QuoteReport(report); err == nil && !bytes.Equal(report, good) {
			t.Fatal("a made-up report is accepted")
		}
		r, err := p.programReport(program1(), target, binding(attest.PurposeApp))
		if err != nil {
			return
		}
		if body, err := dcap.ParseReportBody(r[:384]); err != nil || len(r) != proto.ReportSize || body.ReportData != binding(attest.PurposeApp).ReportData() {
			t.Fatalf("report %x: %v", r, err)
		}
	})
}
