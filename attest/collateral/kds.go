package collateral

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"

	"hitoku.dev/attest/snp"
)

// kds asks AMD's service for a path with its query.
func (c *Client) kds(ctx context.Context, path string) (*request, *answer, error) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, nil, err
	}
	r, err := newRequest(c.o.KDS, strings.TrimPrefix(u.Path, "/"), u.Query())
	if err != nil {
		return nil, nil, err
	}
	r.spacing = c.o.KDSSpacing
	a, err := c.do(ctx, r)
	return r, a, err
}

// VCEK asks for the certificate of a chip's key at a TCB, which comes without its issuers.
func (c *Client) VCEK(ctx context.Context, p snp.Product, chipID *[64]byte, tcb snp.TCBVersion) (*Document, error) {
	path, err := snp.VCEKPath(p, chipID, tcb)
	if err != nil {
		return nil, err
	}
	r, a, err := c.kds(ctx, path)
	if err != nil {
		return nil, err
	}
	d, err := newDocument(VCEK, a.body)
	if err != nil {
		return nil, r.failed(0, err)
	}
	e, err := snp.ParseEndorsement(d.cert)
	if err != nil {
		return nil, r.failed(0, err)
	}
	if e.Product != p || !bytes.Equal(e.HWID, chipID[:p.HWIDSize()]) || e.TCB != tcb {
		return nil, r.failed(0, errors.New("it answered the certificate of another chip or TCB"))
	}
	return d, nil
}

// AMDChain asks for the intermediate certificate of a kind of key, with the root as its issuer.
func (c *Client) AMDChain(ctx context.Context, p snp.Product, k snp.SigningKey) (*Document, error) {
	r, a, err := c.kds(ctx, snp.ChainPath(p, k))
	if err != nil {
		return nil, err
	}
	b := new(Bundle)
	if !b.addPEM(bytes.TrimSpace(a.body)) || len(b.documents) != 2 {
		return nil, r.failed(0, errors.New("the answer is not two certificates in PEM"))
	}
	d := b.documents[0]
	if d.Kind != Authority || d.Subject != intermediateName(p, k) {
		return nil, r.failed(0, answeredOther(d, Authority, intermediateName(p, k)))
	}
	d.Chain = [][]byte{b.documents[1].Raw}
	return d, nil
}

func intermediateName(p snp.Product, k snp.SigningKey) string {
	if k == snp.VLEK {
		return "SEV-VLEK-" + string(p)
	}
	return "SEV-" + string(p)
}

// AMDCRL asks for the revocation list of a product for a kind of key. The list
// itself says only the product.
func (c *Client) AMDCRL(ctx context.Context, p snp.Product, k snp.SigningKey) (*Document, error) {
	r, a, err := c.kds(ctx, snp.CRLPath(p, k))
	if err != nil {
		return nil, err
	}
	der := a.body
	if block, _ := pem.Decode(bytes.TrimSpace(der)); block != nil {
		der = block.Bytes
	}
	d, err := crlAnswer(der, AMDCRL, amdProduct("ARK-"+string(p)))
	if err != nil {
		return nil, r.failed(0, err)
	}
	d.Choice = Choice(k.String())
	return d, nil
}
