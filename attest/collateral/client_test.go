package collateral_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

func (s *setup) client(edit func(*collateral.ClientOptions)) *collateral.Client {
	s.t.Helper()
	o := s.server.Options()
	if edit != nil {
		edit(&o)
	}
	c, err := collateral.NewClient(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestClientOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []collateral.ClientOptions{
		{},
		{HTTP: http.DefaultClient, PCCS: "pccs.example.com"},
		{HTTP: http.DefaultClient, PCCS: "file:///etc"},
		{HTTP: http.DefaultClient, PCS: "https://user@example.com"},
		{HTTP: http.DefaultClient, KDS: "https://example.com/?a=b"},
		{HTTP: http.DefaultClient, RootCRL: "https://example.com/#a"},
		{HTTP: http.DefaultClient, RootCRL: "https://"},
	} {
		if _, err := collateral.NewClient(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if c := collateral.NewHTTPClient(); c.Transport.(*http.Transport).Proxy == nil {
		t.Error("the environment's proxies are not used")
	}
}

// TestPCKCertificates asks for the certificates of a platform in both ways, with
// the subscription key for Intel's service and not for a caching one.
func TestPCKCertificates(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var keys []string
	var mu sync.Mutex
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keys = append(keys, r.Header.Get("Ocp-Apim-Subscription-Key"))
		mu.Unlock()
		s.server.ServeHTTP(w, r)
	}))
	defer front.Close()
	q, err := dcap.ParseQuote(s.p.QuoteByPPID())
	if err != nil {
		t.Fatal(err)
	}
	pck, err := q.PCK()
	if err != nil {
		t.Fatal(err)
	}
	intel := s.client(func(o *collateral.ClientOptions) { o.PCS, o.SubscriptionKey = front.URL+"/", "secret" })
	list, err := intel.PCKCertificates(t.Context(), pck)
	if err != nil || len(list) != 1 || len(list[0].Chain) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	one, err := intel.PCKCertificate(t.Context(), pck)
	if err != nil || string(one.Raw) != string(list[0].Raw) || one.Subject != list[0].Subject {
		t.Fatalf("%v, %v", one, err)
	}
	if _, err := s.client(func(o *collateral.ClientOptions) { o.PCCS, o.SubscriptionKey = front.URL, "secret" }).PCKCertificate(t.Context(), pck); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(keys, ","); got != "secret,secret," {
		t.Errorf("subscription keys sent: %q", got)
	}
	if requests := s.server.Requests(); !strings.Contains(requests[2], "qeid=") || strings.Contains(requests[1], "qeid=") {
		t.Errorf("requests %v", requests)
	}
	// A failure does not tell which machine was asked for.
	unknown := *pck
	unknown.EncryptedPPID = make([]byte, 384)
	if _, err := intel.PCKCertificate(t.Context(), &unknown); !errors.Is(err, collateral.ErrNotFound) || strings.Contains(err.Error(), "0000") {
		t.Error(err)
	}
	for _, short := range []int{0, 256} {
		unknown.EncryptedPPID = make([]byte, short)
		if _, err := intel.PCKCertificate(t.Context(), &unknown); err == nil {
			t.Errorf("a PPID encrypted to %d bytes was asked for", short)
		}
	}
}

func TestRetryAfterDate(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.server.Fail(1, http.StatusServiceUnavailable, "Retry-After", now().Add(20*time.Second).Format(http.TimeFormat))
	s.server.Fail(1, http.StatusServiceUnavailable, "Retry-After", "soon")
	if _, err := s.client(nil).RootCRL(t.Context()); err != nil {
		t.Fatal(err)
	}
	if passed := s.world.Now().Sub(now()); passed < 20*time.Second || passed > 25*time.Second {
		t.Errorf("waited %v, wanted a bit over 20 s", passed)
	}
}

// TestPauses watches the pauses between attempts: they double, and are random parts.
func TestPauses(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.server.Fail(64, http.StatusBadGateway, "", "")
	var most, waited []time.Duration
	c := s.client(func(o *collateral.ClientOptions) {
		o.Jitter = func(d time.Duration) time.Duration { most = append(most, d); return d / 2 }
		o.Wait = func(_ context.Context, d time.Duration) error { waited = append(waited, d); return nil }
	})
	var failed *collateral.FetchError
	if _, err := c.RootCRL(t.Context()); !errors.As(err, &failed) || failed.Status != http.StatusBadGateway {
		t.Fatal(err)
	}
	ms := time.Millisecond
	for i, want := range []time.Duration{500 * ms, 1000 * ms, 2000 * ms} {
		if len(most) != 3 || most[i] != want || waited[i] != want/2 {
			t.Fatalf("pauses up to %v, waited %v", most, waited)
		}
	}
	if n := len(s.server.Requests()); n != 4 {
		t.Errorf("%d attempts, wanted 4", n)
	}
	// A pause ends with its context.
	stop := errors.New("stop")
	c = s.client(func(o *collateral.ClientOptions) { o.Wait = func(context.Context, time.Duration) error { return stop } })
	if _, err := c.RootCRL(t.Context()); err == nil {
		t.Error("no error")
	}
	if n := len(s.server.Requests()); n != 1 {
		t.Errorf("%d attempts, wanted 1", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c = s.client(func(o *collateral.ClientOptions) {
		o.Wait, o.Jitter = nil, func(time.Duration) time.Duration { cancel(); return time.Hour }
	})
	if _, err := c.RootCRL(ctx); err == nil {
		t.Error("no error after the context ended")
	}
}

// TestProcesses lets several sources with caches of their own over one folder fetch at one time.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	quote := s.p.Quote(attest.TDX)
	sources := make([]*collateral.Source, 6)
	for i := range sources {
		sources[i] = s.source(nil)
	}
	var wg sync.WaitGroup
	var bad atomic.Int32
	for _, src := range sources {
		wg.Go(func() {
			v, _, err := src.Quote(t.Context(), quote)
			if err != nil {
				bad.Add(1)
				return
			}
			if r, err := v.Verify(quote, now()); err != nil || !r.OK() {
				bad.Add(1)
			}
		})
	}
	wg.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d of %d failed", n, len(sources))
	}
	if failed, _, err := s.judge(s.source(offline), quote); err != nil || len(failed) > 0 {
		t.Errorf("afterwards: %v, failed %v", err, failed)
	}
}

func TestProduct(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	src := s.source(s.amd(snp.Milan))
	for _, k := range []snp.SigningKey{snp.VCEK, snp.VLEK} {
		docs, err := src.Product(t.Context(), snp.Milan, k)
		if err != nil || docs[0] == nil || docs[1] == nil || docs[1].Choice != collateral.Choice(k.String()) {
			t.Errorf("%v: %v, %v", k, docs, err)
		}
	}
	if _, err := src.Product(t.Context(), snp.Turin, snp.VCEK); err == nil {
		t.Error("a product without root")
	}
	entries := collateral.NewBundle(src.Documents()).Inspect(nil, now())
	collateral.SortEntries(entries)
	if len(entries) != 4 || entries[0].Kind != collateral.AMDCRL || entries[3].Subject != "SEV-VLEK-Milan" {
		t.Errorf("%+v", entries)
	}
	// The cache is not replaced by what is older.
	cache, err := collateral.OpenCache(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	old := new(collateral.Bundle)
	old.Add(s.world.AMD.Line(snp.Milan).CRL(now().AddDate(0, 0, -10)))
	docs, err := old.Verified([]*x509.Certificate{s.world.AMD.Line(snp.Milan).ARK.Cert}, now())
	if err != nil {
		t.Fatal(err)
	}
	docs[0].Choice = "vcek"
	if err := cache.Put(docs...); err != nil {
		t.Fatal(err)
	}
	b, err := cache.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range b.Documents() {
		if d.Issued.Before(now().AddDate(0, 0, -5)) && d.Kind == collateral.AMDCRL {
			t.Error("an older list took the place of a newer one")
		}
	}
	if _, err := collateral.OpenCache("/dev/null/x"); err == nil {
		t.Error("a folder below a file")
	}
}
