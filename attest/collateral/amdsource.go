package collateral

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"hitoku.dev/attest/snp"
)

// SNP gets what one piece of SEV-SNP evidence needs besides what it carries: the
// VCEK certificate where it has none that fits, the intermediate and root, and
// the product's revocation list. It returns what it has; the error says what is
// missing or stale. A VLEK certificate is the cloud provider's to give: it is
// found in the evidence or in the cache only.
func (s *Source) SNP(ctx context.Context, evidence []byte) (*snp.Collateral, error) {
	c := new(snp.Collateral)
	e, err := snp.Read(evidence)
	if err != nil {
		return c, err
	}
	products, key, have, err := evidenceKey(e)
	if err != nil {
		return c, err
	}
	for i, p := range products {
		c, err = s.product(ctx, p, key, e.Report, !have)
		if i+1 < len(products) && errors.Is(err, ErrNotFound) {
			continue // a report of version 2 does not say which product made it
		}
		break
	}
	return c, err
}

// Product gets what every report of a product that one kind of key signed needs:
// the intermediate with its root, and the revocation list. It returns what it
// has, like [Source.Platform].
func (s *Source) Product(ctx context.Context, p snp.Product, k snp.SigningKey) ([]*Document, error) {
	root := rootOf(p, s.o.AMD)
	if root == nil {
		return nil, fmt.Errorf("no trusted root of AMD's product %s was given", p)
	}
	return together(
		func() (*Document, error) { return s.amdChain(ctx, p, k, root) },
		func() (*Document, error) { return s.get(ctx, s.wantAMDCRL(p, k, root)) },
	)
}

func (s *Source) product(ctx context.Context, p snp.Product, key snp.SigningKey, r *snp.Report, leaf bool) (*snp.Collateral, error) {
	c := new(snp.Collateral)
	root := rootOf(p, s.o.AMD)
	if root == nil {
		return c, fmt.Errorf("no trusted root of AMD's product %s was given", p)
	}
	chain, err := s.amdChain(ctx, p, key, root)
	errs := []error{err}
	if chain != nil {
		c.Certs = append(append(c.Certs, chain.Raw), chain.Chain...)
	}
	if leaf {
		d, err := s.amdLeaf(ctx, p, r, root, chain)
		errs = append(errs, err)
		if d != nil {
			c.Certs = append(c.Certs, d.Raw)
		}
	}
	d, err := s.get(ctx, s.wantAMDCRL(p, key, root))
	errs = append(errs, err)
	if d != nil {
		c.CRLs = [][]byte{d.Raw}
	}
	return c, errors.Join(errs...)
}

func (s *Source) amdChain(ctx context.Context, p snp.Product, k snp.SigningKey, root *x509.Certificate) (*Document, error) {
	return s.get(ctx, want{
		key: key{rootHash(root), Authority, intermediateName(p, k), ""}, root: root,
		fetch: func(ctx context.Context, c *Client) (*Document, error) { return c.AMDChain(ctx, p, k) },
	})
}

// wantedAMD is [Source.wanted] for AMD's documents: of them only lists are renewed.
func (s *Source) wantedAMD(d *Document) (want, bool) {
	for _, p := range snp.Products() {
		root := rootOf(p, s.o.AMD)
		if root == nil || d.Root != rootHash(root) || d.Kind != AMDCRL || d.Subject != strings.ToLower(string(p)) {
			continue
		}
		k := snp.VCEK
		if d.Choice == Choice(snp.VLEK.String()) {
			k = snp.VLEK
		}
		return s.wantAMDCRL(p, k, root), true
	}
	return want{}, false
}

func (s *Source) wantAMDCRL(p snp.Product, k snp.SigningKey, root *x509.Certificate) want {
	subject := strings.ToLower(string(p))
	w := want{
		key: key{rootHash(root), AMDCRL, subject, Choice(k.String())}, root: root,
		fetch: func(ctx context.Context, c *Client) (*Document, error) { return c.AMDCRL(ctx, p, k) },
	}
	w.instead = func() *Document {
		d, err := s.o.Cache.get(key{rootHash(root), AMDCRL, subject, ""}, root)
		if err != nil {
			return nil
		}
		return d
	}
	return w
}

func (s *Source) amdLeaf(ctx context.Context, p snp.Product, r *snp.Report, root *x509.Certificate, chain *Document) (*Document, error) {
	kind := Kind(r.KeyInfo.SigningKey().String())
	w := want{
		key:  key{rootHash(root), kind, fmt.Sprintf("%s-%x-%016x", strings.ToLower(string(p)), r.ChipID[:p.HWIDSize()], uint64(r.ReportedTCB)), ""},
		root: root,
	}
	w.fetch = func(ctx context.Context, c *Client) (*Document, error) {
		if kind == VLEK {
			return nil, errors.New("only the cloud provider has VLEK certificates: take the host's certificate table along with the report")
		}
		if chain == nil {
			return nil, errors.New("not asked for, as its issuers are missing")
		}
		d, err := c.VCEK(ctx, p, &r.ChipID, r.ReportedTCB)
		if err == nil {
			d.Chain = append([][]byte{chain.Raw}, chain.Chain...)
		}
		return d, err
	}
	w.among = func() *Document {
		b, err := s.o.Cache.Bundle()
		if err != nil {
			return nil
		}
		for _, d := range b.of(kind, "") {
			if e, err := snp.ParseEndorsement(d.cert); err != nil || !e.Matches(r) {
				continue
			}
			if v, err := d.verify(root, d.Chain); err == nil {
				return d.verifiedBy(v, d.Chain)
			}
		}
		return nil
	}
	return s.get(ctx, w)
}
