// Package authority is the simulated counterpart of Intel's provisioning
// certification service: a root, the CA that certifies platforms (PCK
// certificates), and the signer of TCB info and quoting enclave identity. There
// is one for each test-only account (security decision S11); it certifies the
// simulated TEE of each node at enrolment.
//
// What it makes has the form of Intel's: the same certificate profiles, SGX
// extension, TCB info v3, identity v2 and revocation lists, so that attest/dcap
// verifies both by the same code. Only the root differs, and every name says
// "Simulated". All simulated platforms share the reserved FMSPC below, which no
// real platform has.
//
// It trusts its caller, who holds the private keys and decides which platforms
// are genuine. It promises nothing about those platforms: a simulated TEE is
// software, and root on its machine can forge everything.
//
// Nothing here reads a clock or a random source that was not given: the same
// arguments make the same bytes (signatures are deterministic, RFC 6979).
package authority

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// Lifetimes. The root and what hangs directly from it live ten years, longer
// than usual: the root is a file that people hand to `--trust-simulated-root`,
// it vouches for nothing but simulations, and the PCK of a node comes only at
// enrolment, so an early end would force every node to enrol again. Freshness
// comes from the collateral instead, which lives 30 days.
const (
	RootLifetime       = 10 * 365 * 24 * time.Hour
	PCKLifetime        = 7 * 365 * 24 * time.Hour // as Intel's; never beyond the root's end
	CollateralLifetime = 30 * 24 * time.Hour

	// backdate lets a verifier whose clock is a little slow accept what was just made.
	backdate = 5 * time.Minute
)

// ErrRevoked means that a platform was revoked and gets no new certificate.
var ErrRevoked = errors.New("simulated platform is revoked")

// Authority is one account's simulated provisioning service. Its methods may be
// called from several goroutines.
type Authority struct {
	root, platformCA, tcbSigning pair

	mu     sync.Mutex
	issued []issued
	tcb    TCB
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issued remembers one PCK certificate, so that it can be revoked.
type issued struct {
	PPID    [16]byte
	Serial  []byte // big-endian
	Revoked time.Time
}

// TCB is what the collateral says about simulated platforms. Tests set it to
// make platforms out of date; everybody else leaves the default, UpToDate.
type TCB struct {
	Status     string    `json:"status"`     // of the level that platforms are at, in Intel's words
	Advisories []string  `json:"advisories"` // of that level, for example INTEL-SA-00615
	Date       time.Time `json:"date"`       // tcbDate of that level
	QEStatus   string    `json:"qe_status"`  // of the quoting enclave's level
	Evaluation int       `json:"evaluation"` // tcbEvaluationDataNumber
}

// New makes an authority with fresh keys from random, valid from now.
func New(random io.Reader, now time.Time) (*Authority, error) {
	a := &Authority{tcb: TCB{
		Status:     "UpToDate",
		Date:       now.UTC().Truncate(24 * time.Hour),
		QEStatus:   "UpToDate",
		Evaluation: 1,
	}}
	for _, k := range []*pair{&a.root, &a.platformCA, &a.tcbSigning} {
		key, err := GenerateKey(random)
		if err != nil {
			return nil, err
		}
		k.key = key
	}
	if err := a.certifySelf(now); err != nil {
		return nil, err
	}
	return a, nil
}

// Root returns the authority's root certificate.
func (a *Authority) Root() *x509.Certificate { return a.root.cert }

// TCB returns the present settings.
func (a *Authority) TCB() TCB {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tcb
	t.Advisories = slices.Clone(t.Advisories)
	return t
}

// SetTCB changes what collateral made from now on says.
func (a *Authority) SetTCB(t TCB) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.Date = t.Date.UTC().Truncate(time.Second)
	t.Advisories = slices.Clone(t.Advisories)
	a.tcb = t
}

// Revoke puts every certificate of a platform on the revocation list of the
// collateral made from now on, and reports whether there was one. The platform
// gets no certificate any more.
func (a *Authority) Revoke(ppid [16]byte, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := false
	for i := range a.issued {
		if a.issued[i].PPID != ppid {
			continue
		}
		found = true
		if a.issued[i].Revoked.IsZero() {
			a.issued[i].Revoked = now.UTC().Truncate(time.Second)
		}
	}
	return found
}

func (a *Authority) revoked(ppid [16]byte) bool {
	return slices.ContainsFunc(a.issued, func(i issued) bool { return i.PPID == ppid && !i.Revoked.IsZero() })
}

// NodeMeasurement is MRENCLAVE in the evidence of a simulated platform itself,
// with which a node enrols.
var NodeMeasurement = sha256.Sum256([]byte("hitoku simulated platform enclave 1"))

// NodeSigner is MRSIGNER in that evidence.
var NodeSigner = sha256.Sum256([]byte("hitoku simulated platform enclave signer 1"))
