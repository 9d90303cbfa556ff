package collateral_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

func now() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

const fmspc = "00906ed50000"

// setup is a world with one platform, a server and a source.
type setup struct {
	t      testing.TB
	world  *collateraltest.World
	server *collateraltest.Server
	p      *collateraltest.Platform
	dir    string
}

func newSetup(t testing.TB) *setup {
	w := collateraltest.New(t, now())
	return &setup{t, w, w.Serve(), w.Platform(fmspc, dcap.CAPlatform), t.TempDir()}
}

// source makes a source with the cache of the setup; edit may be nil.
func (s *setup) source(edit func(*collateral.Options, *collateral.ClientOptions)) *collateral.Source {
	s.t.Helper()
	cache, err := collateral.OpenCache(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cache.Close() })
	o := collateral.Options{Intel: s.world.Root(), Cache: cache, Now: s.world.Now}
	co := s.server.Options()
	if edit != nil {
		edit(&o, &co)
	}
	if co.HTTP != nil {
		if o.Client, err = collateral.NewClient(co); err != nil {
			s.t.Fatal(err)
		}
	}
	return collateral.NewSource(o)
}

func offline(_ *collateral.Options, c *collateral.ClientOptions) { c.HTTP = nil }

// judge verifies a quote with what the source has, and returns the failed rules.
func (s *setup) judge(src *collateral.Source, quote []byte) (failed []string, tcb attest.TCB, err error) {
	s.t.Helper()
	v, _, err := src.Quote(s.t.Context(), quote)
	r, verr := v.Verify(quote, s.world.Now())
	if verr != nil {
		s.t.Fatal(verr)
	}
	for _, rule := range r.Rules {
		if !rule.OK {
			failed = append(failed, rule.Name)
		}
	}
	return failed, r.Claims.TCB, err
}

func TestQuotes(t *testing.T) {
	t.Parallel()
	for _, ca := range []string{dcap.CAPlatform, dcap.CAProcessor} {
		for name, quote := range map[string]func(*collateraltest.Platform) []byte{
			"sgx":                   func(p *collateraltest.Platform) []byte { return p.Quote(attest.SGX) },
			"tdx":                   func(p *collateraltest.Platform) []byte { return p.Quote(attest.TDX) },
			"sgx by encrypted PPID": (*collateraltest.Platform).QuoteByPPID,
		} {
			for _, pccs := range []bool{false, true} {
				t.Run(ca+" "+name, func(t *testing.T) {
					t.Parallel()
					s := newSetup(t)
					raw := quote(s.world.Platform("00606a000001", ca))
					src := s.source(func(_ *collateral.Options, c *collateral.ClientOptions) {
						if pccs {
							c.PCCS, c.PCS, c.RootCRL = c.PCS, "https://pcs.invalid", "https://root.invalid/x.der"
						}
					})
					failed, tcb, err := s.judge(src, raw)
					if err != nil || len(failed) > 0 || tcb.Overall != dcap.UpToDate {
						t.Fatalf("%v, failed %v, TCB %+v", err, failed, tcb)
					}
					n := len(s.server.Requests())
					if _, _, err := s.judge(src, raw); err != nil {
						t.Fatal(err)
					}
					// A second process finds everything on disk, without a network.
					if failed, _, err := s.judge(s.source(offline), raw); err != nil || len(failed) > 0 {
						t.Errorf("from disk: %v, failed %v", err, failed)
					}
					if more := s.server.Requests(); len(more) > 0 || n < 4 {
						t.Errorf("%d requests first, then %v", n, more)
					}
				})
			}
		}
	}
}

func TestVerifierIsShared(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	src := s.source(nil)
	quote := s.p.Quote(attest.SGX)
	var wg sync.WaitGroup
	got := make([]*dcap.Verifier, 16)
	for i := range got {
		wg.Go(func() { got[i], _, _ = src.Quote(t.Context(), quote) })
	}
	wg.Wait()
	for _, v := range got {
		if v != got[0] {
			t.Error("two verifiers for the same collateral")
		}
	}
	if n := len(s.server.Requests()); n != 4 {
		t.Errorf("%d requests for 16 quotes at once, wanted 4", n)
	}
}

func TestNextUpdate(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	src := s.source(nil)
	quote := s.p.Quote(attest.SGX)
	step := func(what string, after time.Duration, requests int, wanted ...string) error {
		t.Helper()
		s.world.SetNow(now().Add(after))
		failed, _, err := s.judge(src, quote)
		if strings.Join(failed, " ") != strings.Join(wanted, " ") {
			t.Errorf("%s: failed %v, wanted %v", what, failed, wanted)
		}
		if n := len(s.server.Requests()); n != requests {
			t.Errorf("%s: %d requests, wanted %d", what, n, requests)
		}
		return err
	}
	const day = 24 * time.Hour
	stale := []string{"pck_revocation", "root_crl", "tcb_info_current", "qe_identity_current"}
	for _, err := range []error{
		step("first", 0, 4),
		step("in the middle", 15*day, 0),
		step("a day before the end", 29*day, 4),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	// The service is down when the next renewal is due: what is still good is used.
	s.server.Set(func(b *collateraltest.Behaviour) { b.Redirect = "https://elsewhere.invalid" })
	if err := step("service down before the end", 58*day, 16); err != nil {
		t.Error(err)
	}
	if err := step("a minute later", 58*day+3*time.Minute, 0); err != nil {
		t.Error("asked again soon: ", err)
	}
	err := step("service down after the end", 60*day, 16, stale...)
	var missing *collateral.MissingError
	if !errors.As(err, &missing) || missing.State != collateral.Stale {
		t.Errorf("stale collateral: error %v", err)
	}
	// It is back, but a service that failed is left alone for a minute.
	s.server.Set(func(b *collateraltest.Behaviour) { b.Redirect = "" })
	if err := step("back", 60*day+10*time.Second, 0, stale...); err == nil {
		t.Error("no error for stale collateral")
	}
	if err := step("back, a while later", 60*day+3*time.Minute, 4); err != nil {
		t.Error(err)
	}
}

func TestEvaluationNumbers(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	quote := s.p.Quote(attest.SGX)
	for as, number := range map[collateral.Choice]int{"": 17, collateral.Standard: 17, collateral.Early: 19, collateral.Pinned(18): 18} {
		src := s.source(func(o *collateral.Options, _ *collateral.ClientOptions) { o.As = as })
		v, _, err := src.Quote(t.Context(), quote)
		if err != nil {
			t.Fatal(err)
		}
		r, err := v.Verify(quote, now())
		if err != nil || r.Claims.TCBEvaluation != number {
			t.Errorf("%q: evaluation number %d, wanted %d (%v)", as, r.Claims.TCBEvaluation, number, err)
		}
	}
	// All three are in the cache now; each is found as what it was asked for.
	b, err := collateral.Load(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for as, number := range map[collateral.Choice]int{"": 19, collateral.Standard: 17, collateral.Early: 19, collateral.Pinned(18): 18, collateral.Pinned(16): 0} {
		r, err := dcap.Verify(quote, dcap.Options{Root: s.world.Root(), Collateral: b.DCAPAs(quote, now(), as), At: now()})
		if err != nil || r.Claims.TCBEvaluation != number {
			t.Errorf("from the folder, %q: evaluation number %d, wanted %d (%v)", as, r.Claims.TCBEvaluation, number, err)
		}
	}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		revoke func(*setup) *collateraltest.World
		failed string
		kinds  string
	}{
		"PCK certificate": {func(s *setup) *collateraltest.World { s.world.Revoke(s.p.Certificate()); return s.world }, "pck_revocation", ""},
		"PCK CA":          {func(s *setup) *collateraltest.World { s.world.Revoke(s.p.Authority()); return s.world }, "root_crl", "pck-crl"},
		"TCB signer":      {func(s *setup) *collateraltest.World { s.world.Revoke(s.world.Signer()); return s.world }, "root_crl", "qe-identity sgx-tcb-info"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			c.revoke(s)
			failed, _, err := s.judge(s.source(nil), s.p.Quote(attest.SGX))
			if err != nil || strings.Join(failed, " ") != c.failed {
				t.Errorf("failed %v, wanted %s (%v)", failed, c.failed, err)
			}
			b, err := collateral.Load(s.dir)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, e := range b.Inspect([]*x509.Certificate{s.world.Root()}, now()) {
				if e.State == collateral.Revoked {
					kinds = append(kinds, string(e.Kind))
				}
			}
			if got := strings.Join(kinds, " "); got != c.kinds {
				t.Errorf("shown as revoked: %q, wanted %q", got, c.kinds)
			}
		})
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set    func(*setup)
		says   string // "" where the quote is accepted
		rules  string
		client func(*collateral.ClientOptions)
	}{
		"older names of headers": {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.OldHeaders = true }) }},
		"lists in hexadecimal":   {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.CRLForm = "hex" }) }},
		"lists in PEM":           {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.CRLForm = "pem" }) }},
		"busy for a while":       {set: func(s *setup) { s.server.Fail(3, http.StatusServiceUnavailable, "Retry-After", "5") }},
		"too many requests":      {set: func(s *setup) { s.server.Fail(3, http.StatusTooManyRequests, "Retry-After", "2") }},
		"connections cut":        {set: func(s *setup) { s.server.Fail(3, 0, "", "") }},
		"busy for hours":         {set: func(s *setup) { s.server.Fail(16, http.StatusTooManyRequests, "Retry-After", "7200") }, says: "left alone until"},
		"failing for good":       {set: func(s *setup) { s.server.Fail(64, http.StatusInternalServerError, "", "") }, says: "status 500"},
		"not there":              {set: func(s *setup) { s.server.Fail(4, http.StatusNotFound, "", "") }, says: "no such document"},
		"gone":                   {set: func(s *setup) { s.server.Fail(4, http.StatusGone, "", "") }, says: "status 410"},
		"forbidden":              {set: func(s *setup) { s.server.Fail(4, http.StatusUnauthorized, "", "") }, says: "status 401"},
		"no headers":             {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.NoHeaders = true }) }, says: "no header TCB-Info-Issuer-Chain"},
		"two issuer chains":      {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.BothHeaders = true }) }, says: "two issuer chains"},
		"header of no chain":     {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.Header = "hello" }) }, says: "certificates in PEM"},
		"header not encoded":     {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.Header = "%zz" }) }, says: "not percent-encoded"},
		"another FMSPC":          {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.FMSPC = "00606a000000" }) }, says: "asked for sgx-tcb-info 00906ed50000, answered sgx-tcb-info 00606a000000"},
		"another number":         {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.Evaluation = 15 }) }, says: "asked for evaluation number 18, answered 15"},
		"truncated":              {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.Truncate = true }) }, says: "unexpected EOF"},
		"too long":               {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.Oversize = true }) }, says: "too long"},
		"a byte changed":         {set: func(s *setup) { s.server.Set(func(b *collateraltest.Behaviour) { b.Flip = true }) }, says: "collateral sgx-tcb-info for 00906ed50000 is missing"},
		"sent elsewhere": {set: func(s *setup) {
			s.server.Set(func(b *collateraltest.Behaviour) { b.Redirect = "http://elsewhere.invalid/" })
		}, says: "is not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			c.set(s)
			src := s.source(func(o *collateral.Options, _ *collateral.ClientOptions) {
				if name == "another number" {
					o.As = collateral.Pinned(18)
				}
			})
			failed, _, err := s.judge(src, s.p.Quote(attest.SGX))
			if c.says == "" {
				if err != nil || len(failed) > 0 {
					t.Errorf("%v, failed %v", err, failed)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || len(failed) == 0 {
				t.Errorf("error %v, wanted %q; failed rules %v", err, c.says, failed)
			}
		})
	}
}

func TestAnotherRoot(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	quote := s.p.Quote(attest.SGX)
	if _, _, err := s.judge(s.source(nil), quote); err != nil {
		t.Fatal(err)
	}
	// The same folder under another root: nothing is found, nothing is asked for a platform that
	// this root does not know, and what the service says is not taken.
	other := collateraltest.New(t, now())
	src := s.source(func(o *collateral.Options, _ *collateral.ClientOptions) { o.Intel = other.Root() })
	s.server.Requests()
	failed, _, err := s.judge(src, quote)
	if err == nil || !strings.Contains(err.Error(), "no collateral was looked for") || len(failed) == 0 {
		t.Errorf("%v, failed %v", err, failed)
	}
	if n := len(s.server.Requests()); n != 0 {
		t.Errorf("%d requests, wanted none", n)
	}
	if _, err := src.Platform(t.Context(), attest.SGX, fmspc, dcap.CAPlatform); err == nil || !strings.Contains(err.Error(), "not signed under") {
		t.Error(err)
	}
	if n := len(s.server.Requests()); n != 4 {
		t.Errorf("%d requests, wanted 4", n)
	}
}

func TestLeafOnly(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	q, err := dcap.ParseQuote(s.p.Quote(attest.SGX))
	if err != nil {
		t.Fatal(err)
	}
	text := string(q.CertData)
	q.CertType, q.CertData = dcap.CertPCKLeaf, []byte(text[:strings.Index(text, "-----END CERTIFICATE-----")]+"-----END CERTIFICATE-----\n")
	raw, err := q.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if failed, tcb, err := s.judge(s.source(nil), raw); err != nil || len(failed) > 0 || tcb.Overall != dcap.UpToDate {
		t.Errorf("%v, failed %v", err, failed)
	}
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	src := s.source(func(o *collateral.Options, _ *collateral.ClientOptions) { o.MaxAge = 48 * time.Hour })
	quote := s.p.Quote(attest.SGX)
	for _, step := range []struct {
		after    time.Duration
		requests int
	}{{0, 4}, {24 * time.Hour, 0}, {72 * time.Hour, 4}, {96 * time.Hour, 0}} {
		s.world.SetNow(now().Add(step.after))
		if step.after == 72*time.Hour {
			s.world.SetStatus(dcap.OutOfDate)
		}
		_, tcb, err := s.judge(src, quote)
		if n := len(s.server.Requests()); err != nil || n != step.requests {
			t.Errorf("after %v: %d requests, wanted %d (%v)", step.after, n, step.requests, err)
		}
		if want := map[bool]string{true: dcap.OutOfDate, false: dcap.UpToDate}[step.after >= 72*time.Hour]; tcb.Overall != want {
			t.Errorf("after %v: %s, wanted %s", step.after, tcb.Overall, want)
		}
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	if _, _, err := s.judge(s.source(nil), s.p.QuoteByPPID()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.source(nil).SNP(t.Context(), nil); err == nil {
		t.Error("no bytes were taken for a report")
	}
	amd := s.amd(snp.Milan)
	if _, err := s.source(amd).SNP(t.Context(), s.world.AMD.Sign(s.world.AMD.Report(snp.Milan, 3))); err != nil {
		t.Fatal(err)
	}
	s.server.Requests()
	s.world.SetNow(now().AddDate(0, 0, 100))
	if n, err := s.source(func(o *collateral.Options, c *collateral.ClientOptions) { amd(o, c); c.HTTP = nil }).Refresh(t.Context()); n != 0 || err == nil {
		t.Errorf("offline: %d good, %v", n, err)
	}
	n, err := s.source(amd).Refresh(t.Context())
	if requests := s.server.Requests(); n != 5 || err != nil || len(requests) != 5 {
		t.Errorf("%d good, %v; requests %v", n, err, requests)
	}
}

func TestCacheTampered(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	quote := s.p.Quote(attest.SGX)
	if _, _, err := s.judge(s.source(nil), quote); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// A byte of the document, in base64.
		raw[strings.LastIndex(string(raw), `"value":"`)+200] ^= 3
		return os.WriteFile(path, raw, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	failed, _, err := s.judge(s.source(offline), quote)
	if err == nil || !strings.Contains(err.Error(), "passed over") || len(failed) == 0 {
		t.Errorf("tampered cache, offline: %v, failed %v", err, failed)
	}
	if failed, _, err := s.judge(s.source(nil), quote); err != nil || len(failed) > 0 {
		t.Errorf("tampered cache, with network: %v, failed %v", err, failed)
	}
	if failed, _, err := s.judge(s.source(offline), quote); err != nil || len(failed) > 0 {
		t.Errorf("mended cache: %v, failed %v", err, failed)
	}
}

func TestOlderAnswer(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	quote := s.p.Quote(attest.SGX)
	src := s.source(nil)
	if _, _, err := s.judge(src, quote); err != nil {
		t.Fatal(err)
	}
	// The service goes back in time while the source's clock is at the renewal.
	later := now().AddDate(0, 0, 29)
	s.world.SetNow(now().AddDate(0, 0, -5))
	src = s.source(func(o *collateral.Options, c *collateral.ClientOptions) { o.Now = func() time.Time { return later } })
	if _, _, err := src.Quote(t.Context(), quote); err != nil {
		t.Errorf("within its dates: %v", err)
	}
	b, err := collateral.Load(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range b.Documents() {
		if d.Kind != collateral.Authority && !d.Issued.Equal(now().Truncate(24*time.Hour)) {
			t.Errorf("%s was replaced by an older one of %v", d.Kind, d.Issued)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	src := s.source(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, c, err := src.Quote(ctx, s.p.Quote(attest.SGX)); !errors.Is(err, context.Canceled) || c == nil {
		t.Errorf("%v", err)
	}
}
