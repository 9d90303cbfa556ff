package history

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/ledger/wire"
)

// ErrUntrusted means that a policy of the ledger relies on roots that the reader does not believe.
var ErrUntrusted = errors.New("the ledger's policy relies on a root that is not trusted here")

// Trust is which makers of TEEs the reader believes, by the SHA-256 of their root keys
// (SubjectPublicKeyInfo).
type Trust struct {
	Makers    []wire.Hash
	Simulated []wire.Hash // simulated roots protect nothing from the owner of the machine
}

// TrustCertificates is the trust in some roots: Intel's where none of either kind is named.
func TrustCertificates(makers, simulated []*x509.Certificate) Trust {
	if len(makers) == 0 && len(simulated) == 0 {
		makers = []*x509.Certificate{dcap.IntelRoot()}
	}
	hashes := func(list []*x509.Certificate) (out []wire.Hash) {
		for _, c := range list {
			out = append(out, attest.SPKIHash(c.RawSubjectPublicKeyInfo))
		}
		return out
	}
	return Trust{hashes(makers), hashes(simulated)}
}

// narrow is a policy with those of its roots that the reader believes. The error is ErrUntrusted.
func (t Trust) narrow(p wire.Policy) (wire.Policy, error) {
	believed, kind := t.Makers, "a TEE maker's root"
	if p.Flags&wire.PolicySimulated != 0 {
		believed, kind = t.Simulated, "a simulated root, which has to be named as such"
	}
	var roots []wire.Hash
	for _, r := range p.Roots {
		if slices.Contains(believed, r) {
			roots = append(roots, r)
		}
	}
	if len(roots) == 0 {
		return p, fmt.Errorf("%w: policy %d lists %s: key sha256:%s; trusted here: %s", ErrUntrusted, p.Version, kind, texts(p.Roots), texts(believed))
	}
	p.Roots = roots
	return p, nil
}

func texts(hashes []wire.Hash) string {
	if len(hashes) == 0 {
		return "none"
	}
	var out []string
	for _, h := range hashes {
		out = append(out, fmt.Sprintf("%x", h))
	}
	return strings.Join(out, ", ")
}
