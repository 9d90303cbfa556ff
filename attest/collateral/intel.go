package collateral

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

// Signed looks for a signed JSON document; see [Client.Signed].
func (s *Source) Signed(ctx context.Context, kind Kind, subject string) (*Document, error) {
	return s.get(ctx, s.wantSigned(kind, subject, s.o.As))
}

func (s *Source) wantSigned(kind Kind, subject string, as Choice) want {
	if !kind.numbered() {
		as = ""
	}
	w := want{key: key{rootHash(s.o.Intel), kind, subject, as}, root: s.o.Intel}
	w.fetch = func(ctx context.Context, c *Client) (*Document, error) { return c.Signed(ctx, kind, subject, as) }
	if kind.numbered() && as.number() == 0 {
		w.instead = func() *Document { return s.imported(kind, subject) }
	}
	return w
}

// imported returns the best document that the cache has under its number alone,
// as it has those that were imported from loose files.
func (s *Source) imported(kind Kind, subject string) *Document {
	b, err := s.o.Cache.Bundle()
	if err != nil {
		return nil
	}
	var list []*Document
	for _, d := range b.of(kind, subject) {
		if d.Choice.number() == 0 || d.Root != rootHash(s.o.Intel) {
			continue
		}
		if v, err := d.verify(s.o.Intel, d.Chain); err == nil {
			list = append(list, d.verifiedBy(v, d.Chain))
		}
	}
	return best(list, s.o.Now())
}

func (s *Source) wantPCKCRL(ca string) want {
	return want{
		key: key{rootHash(s.o.Intel), PCKCRL, ca, ""}, root: s.o.Intel,
		fetch: func(ctx context.Context, c *Client) (*Document, error) { return c.PCKCRL(ctx, ca) },
	}
}

func (s *Source) wantRootCRL() want {
	return want{
		key: key{rootHash(s.o.Intel), RootCRL, "", ""}, root: s.o.Intel,
		fetch: func(ctx context.Context, c *Client) (*Document, error) { return c.RootCRL(ctx) },
	}
}

// Platform gets everything that quotes from a platform of a TEE need: TCB info,
// identity and revocation lists. ca is the platform's PCK CA
// ("processor" or "platform"). It returns what it has; the error joins a
// [*MissingError] for each document that is missing or stale.
func (s *Source) Platform(ctx context.Context, t attest.TEE, fmspc, ca string) ([]*Document, error) {
	tcbInfo, identity := tcbInfoKind(t), identityKind(t)
	return together(
		func() (*Document, error) { return s.Signed(ctx, tcbInfo, fmspc) },
		func() (*Document, error) { return s.Signed(ctx, identity, "") },
		func() (*Document, error) { return s.get(ctx, s.wantPCKCRL(ca)) },
		func() (*Document, error) { return s.get(ctx, s.wantRootCRL()) },
	)
}

// together runs all at one time and keeps their order.
func together(all ...func() (*Document, error)) ([]*Document, error) {
	docs, errs := make([]*Document, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	for i, f := range all {
		wg.Go(func() { docs[i], errs[i] = f() })
	}
	wg.Wait()
	return docs, errors.Join(errs...)
}

// Quote gets what one quote of SGX or TDX needs, as a verifier whose collateral
// was checked once and is shared by all quotes that need the same. What is
// missing shows in the verifier's rules, and in the error for people; what is
// stale is in the collateral all the same, and refused there. So the verifier
// is never nil, and never accepts more because of an error.
func (s *Source) Quote(ctx context.Context, quote []byte) (*dcap.Verifier, *dcap.Collateral, error) {
	c, used, err := s.quote(ctx, quote)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.verifiers[used]
	if v == nil {
		v = dcap.NewVerifier(s.o.Intel, c, false)
		if len(s.verifiers) >= maxRemembered/16 {
			clear(s.verifiers)
		}
		s.verifiers[used] = v
	}
	return v, c, err
}

// DCAP is [Source.Quote] for callers with a verifier of their own.
func (s *Source) DCAP(ctx context.Context, quote []byte) (*dcap.Collateral, error) {
	c, _, err := s.quote(ctx, quote)
	return c, err
}

func (s *Source) quote(ctx context.Context, quote []byte) (*dcap.Collateral, set, error) {
	c := new(dcap.Collateral)
	var used set
	q, err := dcap.ParseQuote(quote)
	if err != nil {
		return c, used, err
	}
	pck, err := q.PCK()
	if err != nil {
		return c, used, err
	}
	chain := encodeChain(pck.Chain)
	switch len(pck.Chain) {
	case 0:
		d, err := s.pckCertificate(ctx, q, pck)
		if err != nil {
			return c, used, err
		}
		used[4] = d.id()
		chain = encodePEM(append([][]byte{d.Raw}, d.Chain...)...)
		c.PCKChain = chain
	case 1:
		// The issuer is beside the revocation list.
		d, err := s.get(ctx, s.wantPCKCRL(pck.CA))
		if d == nil {
			return c, used, err
		}
		chain = append(chain, d.pemChain()...)
	}
	// Nothing is asked for a platform that the root does not know.
	leaf, _, err := dcap.VerifyPCKChain(s.o.Intel, chain)
	if err != nil {
		return c, used, fmt.Errorf("no collateral was looked for: PCK certificate: %w", err)
	}
	ext, err := dcap.PCKExtensionOf(leaf)
	if err != nil {
		return c, used, err
	}
	docs, err := s.Platform(ctx, q.TEE(), hex.EncodeToString(ext.FMSPC[:]), dcap.PCKCA(leaf))
	for i, d := range docs {
		if d == nil {
			continue
		}
		used[i] = d.id()
		switch d.Kind {
		case PCKCRL:
			c.PCKCRL, c.PCKCRLChain = d.Raw, d.pemChain()
		case RootCRL:
			c.RootCRL = d.Raw
		case QEIdentity, TDQEIdentity:
			c.QEIdentity, c.QEIdentityChain = d.Raw, d.pemChain()
		default:
			c.TCBInfo, c.TCBInfoChain = d.Raw, d.pemChain()
		}
	}
	return c, used, err
}

func encodeChain(certs []*x509.Certificate) []byte {
	var ders [][]byte
	for _, c := range certs {
		ders = append(ders, c.Raw)
	}
	return encodePEM(ders...)
}

// pckCertificate finds the PCK certificate of a quote that names it by PPID only:
// the one whose key signed the quote's QE report.
func (s *Source) pckCertificate(ctx context.Context, q *dcap.Quote, pck *dcap.PCK) (*Document, error) {
	id := key{rootHash(s.o.Intel), PCKCertificate, hex.EncodeToString(pck.QEID[:]) + hex.EncodeToString(pck.CPUSVN[:]), Pinned(int(pck.PCESVN))}
	w := want{key: id, root: s.o.Intel, fetch: func(ctx context.Context, c *Client) (*Document, error) {
		d, err := c.PCKCertificate(ctx, pck)
		if err == nil && !signedReport(q, d) {
			err = errors.New("the PCK certificate that the service answered did not sign this quote")
		}
		return d, err
	}}
	w.among = func() *Document {
		b, err := s.o.Cache.Bundle()
		if err != nil {
			return nil
		}
		for _, d := range b.of(PCKCertificate, "") {
			if !signedReport(q, d) {
				continue
			}
			if v, err := d.verify(s.o.Intel, d.Chain); err == nil {
				return d.verifiedBy(v, d.Chain)
			}
		}
		return nil
	}
	return s.get(ctx, w)
}
