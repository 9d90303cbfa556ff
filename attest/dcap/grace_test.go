package dcap

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestGrace lets each collateral document grow stale: within the grace it passes
// and is called stale, later it is refused.
func TestGrace(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	raw, c := w.seal(w.tdQuote(Version5, true)), w.collateral()
	end := now.AddDate(0, 0, 29) // of all documents
	const grace = 48 * time.Hour
	stale := []string{"pck_revocation", "root_crl", "tcb_info_current", "qe_identity_current"}
	for name, tc := range map[string]struct {
		at    time.Time
		grace time.Duration
		stale bool
		ok    bool
	}{
		"at the end":            {end, 0, false, true},
		"a second later":        {end.Add(time.Second), 0, false, false},
		"a grace below zero":    {end.Add(time.Second), -time.Hour, false, false},
		"within the grace":      {end.Add(time.Second), grace, true, true},
		"at its end":            {end.Add(grace), grace, true, true},
		"after it":              {end.Add(grace + time.Second), grace, false, false},
		"no grace for too soon": {now.AddDate(0, 0, -2), grace, false, false},
	} {
		r, err := Verify(raw, Options{Root: w.root, Collateral: c, At: tc.at, Grace: tc.grace})
		if err != nil || r.OK() != tc.ok {
			t.Errorf("%s: OK %v, wanted %v: %v", name, r.OK(), tc.ok, err)
			continue
		}
		failed := failedNames(r.Rules)
		if !tc.ok && !slices.Equal(failed, stale) {
			t.Errorf("%s: failed %v, wanted %v", name, failed, stale)
		}
		for _, rule := range r.Rules {
			want := tc.stale && slices.Contains(stale, rule.Name)
			if got := rule.OK && strings.HasSuffix(rule.Seen, "stale since 2026-06-30T12:00:00Z"); got != want {
				t.Errorf("%s: rule %s, seen %q", name, rule.Name, rule.Seen)
			}
		}
	}
}

// TestGraceIsNotForCertificates lets each certificate expire within the grace.
func TestGraceIsNotForCertificates(t *testing.T) {
	t.Parallel()
	expired := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
	for name, tc := range map[string]struct {
		edit   func(w *world)
		failed string
	}{
		"PCK":    {func(w *world) { w.editPCK = expired }, "pck_chain"},
		"CA":     {func(w *world) { w.editCA = expired }, "pck_chain"},
		"root":   {func(w *world) { w.editRoot = expired }, "root_trusted"},
		"signer": {func(w *world) { w.editSigner = expired }, "tcb_info_signature"},
	} {
		w := newTDWorld(t)
		tc.edit(w)
		w.issue()
		r, err := Verify(w.seal(w.tdQuote(Version4, false)), Options{Root: w.root, Collateral: w.collateral(), At: now, Grace: time.Hour})
		if err != nil || !slices.Contains(failedNames(r.Rules), tc.failed) {
			t.Errorf("%s: failed %v, wanted among them %s: %v", name, failedNames(r.Rules), tc.failed, err)
		}
	}
}
