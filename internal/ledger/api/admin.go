package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/wire"
)

// Headers of signed calls.
const (
	HeaderKey       = "Hitoku-Key"       // hex, Ed25519 public key
	HeaderNotAfter  = "Hitoku-Not-After" // seconds since 1970, decimal
	HeaderNonce     = "Hitoku-Nonce"     // hex, 16 bytes
	HeaderSignature = "Hitoku-Signature" // standard base64, 64 bytes
)

const (
	maxAhead  = 5 * 60 // seconds that a signature may be good for
	maxNonces = 1 << 14
)

// AdminMessage is what a signed call's signature is over.
func AdminMessage(ledger, incarnation wire.Hash, method, path string, body []byte, notAfter uint64, nonce [16]byte) []byte {
	h := sha256.Sum256(body)
	return wire.Name("ADMIN", ledger[:], incarnation[:], []byte(method), []byte(path), h[:], wire.U64(notAfter), nonce[:])
}

type nonce [16]byte

// nonces are those that were used, until their signatures end.
type nonces struct {
	mu   sync.Mutex
	seen map[nonce]uint64
}

// use takes a nonce once.
func (n *nonces) use(x nonce, until, now uint64) *Error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.seen) >= maxNonces {
		for k, t := range n.seen {
			if t < now {
				delete(n.seen, k)
			}
		}
	}
	switch _, used := n.seen[x]; {
	case used:
		return Fail(http.StatusUnauthorized, CodeSignature, "%s was used before; sign again with a new one", HeaderNonce)
	case len(n.seen) >= maxNonces:
		return Fail(http.StatusServiceUnavailable, CodeBusy, "too many administrative calls; wait five minutes")
	}
	n.seen[x] = until
	return nil
}

// authenticate checks who has signed a call.
func (s *Server) authenticate(r *http.Request, body []byte) error {
	refuse := func(format string, a ...any) error {
		return Fail(http.StatusUnauthorized, CodeSignature, format, a...)
	}
	var key [32]byte
	var id nonce
	var signature [64]byte
	if raw, err := hex.DecodeString(r.Header.Get(HeaderKey)); err != nil || copy(key[:], raw) != len(raw) || len(raw) != len(key) {
		return refuse("%s: wanted 64 hexadecimal digits", HeaderKey)
	}
	if raw, err := hex.DecodeString(r.Header.Get(HeaderNonce)); err != nil || copy(id[:], raw) != len(raw) || len(raw) != len(id) {
		return refuse("%s: wanted 32 hexadecimal digits", HeaderNonce)
	}
	if raw, err := base64.StdEncoding.DecodeString(r.Header.Get(HeaderSignature)); err != nil || copy(signature[:], raw) != len(raw) || len(raw) != len(signature) {
		return refuse("%s: wanted 64 bytes in base64", HeaderSignature)
	}
	notAfter, err := strconv.ParseUint(r.Header.Get(HeaderNotAfter), 10, 64)
	now := uint64(s.o.Now().Unix())
	if err != nil || notAfter < now || notAfter > now+maxAhead {
		return refuse("%s: wanted a time in seconds from %d to %d", HeaderNotAfter, now, now+maxAhead)
	}
	if r.URL.RawQuery != "" {
		return refuse("administrative calls take no query parameters: the signature does not cover them")
	}
	message := AdminMessage(s.ledger, s.r.ID(), r.Method, r.URL.Path, body, notAfter, id)
	if !wire.VerifyEd25519(key, message, signature) {
		return refuse("%s does not hold over this ledger, incarnation, method, path, body, time and nonce", HeaderSignature)
	}
	if !s.mayAdminister(key) {
		return Fail(http.StatusForbidden, CodeForbidden, "the key is neither the operator's of this slot nor an administrator's of the policy in force")
	}
	if err := s.nonces.use(id, notAfter, now); err != nil {
		return err
	}
	return nil
}

// mayAdminister says whether a key is the slot operator's or an administrator's.
func (s *Server) mayAdminister(key [32]byte) (ok bool) {
	number := s.r.Status().Slot
	s.r.View(func(c *control.State) {
		p := c.Policy(c.Position() + 1)
		if slot, there := p.Slot(number); there && slot.Operator == key {
			ok = true
		}
		for _, a := range p.Admins {
			ok = ok || a == key
		}
	})
	return ok
}
