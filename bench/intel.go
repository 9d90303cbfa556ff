package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	tdxabi "github.com/google/go-tdx-guest/abi"
	tdxpcs "github.com/google/go-tdx-guest/pcs"
	tdxverify "github.com/google/go-tdx-guest/verify"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

// intelCase is a row of the evidence's index.
type intelCase struct {
	ID        string    `json:"id"`
	Quote     string    `json:"quote"`
	TCBInfo   string    `json:"tcb_info"`
	TCBChain  string    `json:"tcb_info_chain"`
	Identity  string    `json:"enclave_identity"`
	IDChain   string    `json:"enclave_identity_chain"`
	PCKCRL    string    `json:"pck_crl"`
	RootCRL   string    `json:"root_ca_crl"`
	At        time.Time `json:"verify_at"`
	quote     []byte
	coll      dcap.Collateral
	pckIssuer []byte
}

func readCase(evidence fs.FS, id string) (*intelCase, error) {
	raw, err := fs.ReadFile(evidence, "intel-cases.json")
	if err != nil {
		return nil, err
	}
	var index struct{ Cases []*intelCase }
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, err
	}
	for _, c := range index.Cases {
		if c.ID != id {
			continue
		}
		read := func(name string) []byte {
			data, e := fs.ReadFile(evidence, name)
			err = errors.Join(err, e)
			return data
		}
		c.quote = read(c.Quote)
		platform := "platform"
		if strings.Contains(c.PCKCRL, "processor") {
			platform = "processor"
		}
		c.pckIssuer = read("intel-collateral/chains/pck_" + platform + "_ca.pem") // and the root
		c.coll = dcap.Collateral{
			TCBInfo: read(c.TCBInfo), TCBInfoChain: read(c.TCBChain), QEIdentity: read(c.Identity), QEIdentityChain: read(c.IDChain),
			PCKCRL: read(c.PCKCRL), PCKCRLChain: c.pckIssuer, RootCRL: read(c.RootCRL),
		}
		return c, err
	}
	return nil, fmt.Errorf("no case %q in the evidence", id)
}

// hitoku verifies with collateral that was verified once. Every rule must hold.
func (c *intelCase) hitoku() func() error {
	v := dcap.NewVerifier(dcap.IntelRoot(), &c.coll, false)
	return func() error {
		r, err := v.Verify(c.quote, c.At)
		if err != nil {
			return err
		}
		if !r.OK() {
			return (&attest.Verdict{Rules: r.Rules}).Err()
		}
		return nil
	}
}

// limit is what no verifier of a quote can be faster than: two verifications of P-256 signatures.
func limit() func() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	digest := sha256.Sum256([]byte("report"))
	var sig []byte
	if err == nil {
		sig, err = ecdsa.SignASN1(rand.Reader, key, digest[:])
	}
	return func() error {
		if err != nil {
			return err
		}
		for range 2 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				return errors.New("a good signature was refused")
			}
		}
		return nil
	}
}

// peerGetter answers go-tdx-guest as Intel's service would, from memory.
type peerGetter struct{ c *intelCase }

func (g peerGetter) Get(address string) (map[string][]string, []byte, error) {
	chain := func(name string, data []byte) map[string][]string {
		var text []byte
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			text = append(text, pem.EncodeToMemory(block)...)
		}
		return map[string][]string{name: {url.QueryEscape(string(text))}}
	}
	u := g.c.coll
	switch {
	case strings.Contains(address, "/tcb?"):
		return chain(tdxpcs.TcbInfoIssuerChainPhrase, u.TCBInfoChain), u.TCBInfo, nil
	case strings.Contains(address, "/qe/identity"):
		return chain(tdxpcs.SgxQeIdentityIssuerChainPhrase, u.QEIdentityChain), u.QEIdentity, nil
	case strings.Contains(address, "/pckcrl"):
		return chain(tdxpcs.SgxPckCrlIssuerChainPhrase, g.c.pckIssuer), u.PCKCRL, nil
	case strings.Contains(address, "IntelSGXRootCA"):
		return nil, u.RootCRL, nil
	}
	return nil, nil, fmt.Errorf("not served: %s", address)
}

// peer verifies with go-tdx-guest, collateral and revocation lists included.
func (c *intelCase) peer() func() error {
	quote, err := tdxabi.QuoteToProto(c.quote)
	o := tdxverify.DefaultOptions()
	o.TrustedRoots = x509.NewCertPool()
	o.TrustedRoots.AddCert(dcap.IntelRoot())
	o.GetCollateral, o.CheckRevocations, o.Getter = true, true, peerGetter{c}
	o.Now = &tdxverify.TimeSet{PckCertChain: c.At, TcbInfo: c.At, QeIdentity: c.At, PckCrl: c.At, RootCaCrl: c.At}
	return func() error {
		if err != nil {
			return err
		}
		return tdxverify.TdxQuote(quote, o)
	}
}

func benchTDX(evidence fs.FS) error {
	c, err := readCase(evidence, "v4_teekit_tdx-v4-gcp@20251021-eval17")
	if err != nil {
		return err
	}
	const ours, peer, bound = "hitoku.dev/attest/dcap", "go-tdx-guest", "two P-256 verifications"
	err = compare("TDX quote v4 with collateral ("+c.ID+")", []*contender{{name: ours, do: c.hitoku()}, {name: peer, do: c.peer()}, {name: bound, do: limit()}},
		[]target{{ours, peer, 5}, {ours, bound, 0.75}})
	return errors.Join(err, scaling(ours, c.hitoku()))
}

func benchSGX(evidence fs.FS) error {
	c, err := readCase(evidence, "v3_phala_sgx_quote@20250704-eval17")
	if err != nil {
		return err
	}
	const ours, bound = "hitoku.dev/attest/dcap", "two P-256 verifications"
	err = compare("SGX quote v3 with collateral ("+c.ID+")", []*contender{{name: ours, do: c.hitoku()}, {name: bound, do: limit()}}, []target{{ours, bound, 0.75}})
	return errors.Join(err, scaling(ours, c.hitoku()))
}
