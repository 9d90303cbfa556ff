package atls

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"hitoku.dev/attest/dcap"
)

// ClientConfig returns a TLS configuration whose connections reach only a server
// that [Verify] accepts. TLS 1.3 alone; sessions are never resumed, since a
// resumed session would carry an old judgement on.
func ClientConfig(o Options) *tls.Config {
	k := newChecker(o)
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ServerName:             o.Name,
		SessionTicketsDisabled: true,
		// The check below replaces the standard one; the handshake still proves that the server
		// holds the leaf's key.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.DidResume {
				return errors.New("attested TLS: refused: the session was resumed")
			}
			_, err := k.verify(s.PeerCertificates)
			return err
		},
	}
}

// checker holds options and the collateral that was verified before.
type checker struct {
	o Options

	mu        sync.Mutex
	verifiers map[[32]byte]*dcap.Verifier
}

// maxVerifiers bounds the remembered collateral.
const maxVerifiers = 16

func newChecker(o Options) *checker {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Measurements = slices.Clone(o.Measurements)
	return &checker{o: o, verifiers: make(map[[32]byte]*dcap.Verifier)}
}

// verifier returns the verifier for a message's evidence. The root is chosen by
// the options alone, before anything of the message is read (security decision S10).
func (k *checker) verifier(m *Message) (v *dcap.Verifier, note string) {
	root, simulated := k.o.SimulatedRoot, true
	if root == nil {
		root, simulated = k.o.TEERoot, false
	}
	if root == nil {
		root = dcap.IntelRoot()
	}
	collateral := k.o.Collateral
	if collateral == nil {
		collateral = m.Collateral
	}
	if collateral == nil {
		return dcap.NewVerifier(root, nil, simulated), "collateral: the certificate carries none and none was given"
	}
	text, err := json.Marshal(collateral)
	if err != nil { // a struct of byte slices always has a JSON form
		return dcap.NewVerifier(root, nil, simulated), ""
	}
	id := sha256.Sum256(text)
	k.mu.Lock()
	defer k.mu.Unlock()
	if v = k.verifiers[id]; v == nil {
		v = dcap.NewVerifier(root, collateral, simulated)
		if len(k.verifiers) >= maxVerifiers {
			clear(k.verifiers)
		}
		k.verifiers[id] = v
	}
	return v, ""
}
