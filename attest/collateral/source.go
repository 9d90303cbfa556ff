package collateral

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

const (
	// flightTimeout bounds one document's way from the service, all attempts together.
	flightTimeout = 90 * time.Second
	// restAfterFailure is how long a service that failed is not asked again for a document that
	// is missing or stale, and restWhileFresh for one that is merely to be renewed.
	restAfterFailure = time.Minute
	restWhileFresh   = 15 * time.Minute
	// maxRemembered bounds each map in memory; what was dropped is read again.
	maxRemembered = 4096
)

// Options say what a [Source] rests on.
type Options struct {
	// Intel is the trusted root of SGX and TDX; nil: the pinned one. AMD are the trusted roots
	// (ARKs) of SEV-SNP; nil: the pinned ones.
	Intel *x509.Certificate
	AMD   []*x509.Certificate
	// Client asks the makers' services; nil: no network, only what the cache has.
	Client *Client
	// Cache keeps documents on disk; nil: in memory only.
	Cache *Cache
	// As is the evaluation number that is wanted; empty: [Standard].
	As Choice
	// MaxAge makes the source look for a newer document when the one at hand was issued longer
	// ago, although its next update is still to come; 0: only shortly before its next update.
	MaxAge time.Duration
	Now    func() time.Time // nil: the machine's clock
	Log    *slog.Logger     // gets what does not stop the work; nil: nothing
}

// Source finds collateral for evidence: in memory, in the cache, at the makers'
// services. It may be used by many goroutines; those that want the same document
// at one time share one request.
type Source struct {
	o       Options
	flights singleflight.Group

	mu        sync.Mutex
	known     map[key]*Document
	asked     map[key]time.Time // when the service last answered
	rest      map[key]pause
	verifiers map[set]*dcap.Verifier
}

// pause is a failure that is not tried again for a while.
type pause struct {
	until time.Time
	err   error
}

// set names the documents behind a verifier.
type set [6]documentID

// NewSource makes a Source.
func NewSource(o Options) *Source {
	if o.Intel == nil {
		o.Intel = dcap.IntelRoot()
	}
	if o.AMD == nil {
		o.AMD = snp.AMDRoots()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fill(&o.As, Standard)
	return &Source{o: o, known: map[key]*Document{}, asked: map[key]time.Time{}, rest: map[key]pause{}, verifiers: map[set]*dcap.Verifier{}}
}

// MissingError says which document is not to be had, or only a stale one.
type MissingError struct {
	Kind    Kind
	Subject string
	State   State // Stale, or Unknown when there is none
	Err     error
}

func (e *MissingError) Error() string {
	what := "collateral " + string(e.Kind)
	if e.Subject != "" {
		what += " for " + e.Subject
	}
	if e.State == Stale {
		what += " is stale"
	} else {
		what += " is missing"
	}
	return what + ": " + e.Err.Error()
}

func (e *MissingError) Unwrap() error { return e.Err }

var errNoNetwork = errors.New("no service may be asked; import a bundle (hitoku collateral import)")

// want is one document that is looked for.
type want struct {
	key
	root  *x509.Certificate
	fetch func(context.Context, *Client) (*Document, error)
	// among looks in the cache for a document under another name that serves as well, and instead
	// for one that serves where no service answers. Both may be nil.
	among, instead func() *Document
}

// get returns a verified document. With an error beside it the document is stale.
func (s *Source) get(ctx context.Context, w want) (*Document, error) {
	d := s.remembered(w.key)
	if s.enough(w.key, d) {
		return d, nil
	}
	ch := s.flights.DoChan(fmt.Sprint(w.key), func() (any, error) {
		// The flight is everybody's: it does not end with the one who began it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
		defer cancel()
		d, err := s.renew(ctx, w)
		return d, err
	})
	select {
	case r := <-ch:
		d, _ := r.Val.(*Document)
		return d, r.Err
	case <-ctx.Done():
		return d, &MissingError{w.kind, w.subject, s.missing(d), ctx.Err()}
	}
}

func (s *Source) remembered(k key) *Document {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[k]
}

func (s *Source) remember(k key, d *Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxRemembered {
		clear(s.known)
		clear(s.asked)
	}
	s.known[k] = d
}

// enough reports whether a document can be used without a look for a newer one.
func (s *Source) enough(k key, d *Document) bool {
	if d == nil {
		return false
	}
	now := s.o.Now()
	if now.After(d.renewal()) {
		return false
	}
	if s.o.MaxAge == 0 || d.cert != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(d.Issued) <= s.o.MaxAge || now.Sub(s.asked[k]) <= s.o.MaxAge
}

// current reports whether a document is within its dates.
func (s *Source) current(d *Document) bool {
	if d == nil {
		return false
	}
	until, _ := d.by.until(d)
	now := s.o.Now()
	return !now.Before(d.Issued) && !now.After(until)
}

func (s *Source) missing(d *Document) State {
	if d == nil {
		return Unknown
	}
	return Stale
}

// renewal is when a newer document is looked for: a tenth of its time before its
// end, a day at most. Certificates are not replaced by newer ones.
func (d *Document) renewal() time.Time {
	until, _ := d.by.until(d)
	if d.cert != nil {
		return until
	}
	return until.Add(-min(until.Sub(d.Issued)/10, 24*time.Hour))
}

// renew looks for a document on disk, where another process may have put a newer
// one, and then at the service.
func (s *Source) renew(ctx context.Context, w want) (*Document, error) {
	d := s.remembered(w.key)
	var readErr error
	if s.o.Cache != nil {
		stored, err := s.o.Cache.get(w.key, w.root)
		switch {
		case err == nil && (d == nil || stored.Issued.After(d.Issued)):
			d = stored
		case err != nil && !errors.Is(err, errAbsent):
			readErr = fmt.Errorf("the cache's copy was passed over: %w", err)
		}
		if d == nil && w.among != nil {
			d = w.among()
		}
	}
	if d != nil {
		s.remember(w.key, d)
	}
	if s.enough(w.key, d) {
		return d, nil
	}
	newer, err := s.fetch(ctx, w, d)
	if err == nil {
		s.remember(w.key, newer)
		return newer, nil
	}
	if !s.current(d) && s.o.Cache != nil && w.instead != nil {
		if other := w.instead(); s.current(other) || d == nil {
			d = other
		}
	}
	if s.current(d) {
		return d, nil
	}
	return d, &MissingError{w.kind, w.subject, s.missing(d), errors.Join(err, readErr)}
}

// fetch asks the service for a newer document than old, unless it failed just now.
func (s *Source) fetch(ctx context.Context, w want, old *Document) (*Document, error) {
	if s.o.Client == nil {
		return nil, errNoNetwork
	}
	now := s.o.Now()
	s.mu.Lock()
	p, resting := s.rest[w.key]
	s.mu.Unlock()
	if resting && now.Before(p.until) {
		return nil, fmt.Errorf("%w (not asked again before %s)", p.err, stamp(p.until))
	}
	d, err := s.take(ctx, w, old)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.rest, w.key)
		s.asked[w.key] = now
		return d, nil
	}
	maps.DeleteFunc(s.rest, func(_ key, p pause) bool { return !now.Before(p.until) })
	after := restAfterFailure
	if s.current(old) {
		after = restWhileFresh
	}
	if len(s.rest) < maxRemembered {
		s.rest[w.key] = pause{s.o.Now().Add(after), err}
	}
	return nil, err
}

// take fetches, verifies and stores.
func (s *Source) take(ctx context.Context, w want, old *Document) (*Document, error) {
	d, err := w.fetch(ctx, s.o.Client)
	if err != nil {
		return nil, err
	}
	v, err := d.verify(w.root, d.Chain)
	if err != nil {
		return nil, fmt.Errorf("what the service answered is not signed under %q: %w", w.root.Subject.CommonName, err)
	}
	d = d.verifiedBy(v, d.Chain)
	if old != nil && d.Issued.Before(old.Issued) {
		return nil, fmt.Errorf("the service answered an older document (issued %s) than the one at hand (%s)", stamp(d.Issued), stamp(old.Issued))
	}
	if s.o.Cache != nil {
		if err := s.o.Cache.Put(d); err != nil {
			s.o.Log.Warn("a fetched document was not kept on disk", "kind", d.Kind, "subject", d.Subject, "error", err)
		}
	}
	until, why := v.until(d)
	if s.o.Now().After(until) {
		s.remember(w.key, d)
		return nil, fmt.Errorf("the service has none that is newer: %s", why)
	}
	return d, nil
}

// Documents returns every verified document that the source found so far.
func (s *Source) Documents() []*Document {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.known))
}

// Refresh looks for newer documents in the place of those of the cache, where it
// is time for that, and returns how many it has then that are within their dates.
// Certificates are not replaced. The error joins a [*MissingError] for each that
// is stale.
func (s *Source) Refresh(ctx context.Context) (int, error) {
	if s.o.Cache == nil {
		return 0, nil
	}
	b, err := s.o.Cache.Bundle()
	if err != nil {
		return 0, err
	}
	good := 0
	var errs []error
	for _, d := range b.documents {
		w, ok := s.wanted(d)
		if !ok {
			continue
		}
		if _, err := s.get(ctx, w); err != nil {
			errs = append(errs, err)
		} else {
			good++
		}
	}
	return good, errors.Join(errs...)
}

// wanted is what a document of the cache stands for.
func (s *Source) wanted(d *Document) (want, bool) {
	if d.Root != rootHash(s.o.Intel) {
		return s.wantedAMD(d)
	}
	switch {
	case d.Kind.signedMember() != "":
		return s.wantSigned(d.Kind, d.Subject, d.Choice), true
	case d.Kind == PCKCRL:
		return s.wantPCKCRL(d.Subject), true
	case d.Kind == RootCRL:
		return s.wantRootCRL(), true
	}
	return want{}, false
}
