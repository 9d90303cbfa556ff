package keys

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/crypto/nacl/box"

	"hitoku.dev/internal/ledger/wire"
)

// Limits of the crypto_box form, in bytes.
const (
	MaxBoxRequest = 3 * wire.MaxBucket // of the JSON form, which doubles the ciphertext
	BoxReplySize  = 1 << 10            // of every reply's plaintext
)

// BoxKey is a node's X25519 key for requests in Anonify's form.
type BoxKey struct{ public, private [32]byte }

// NewBoxKey makes a key from 32 bytes of random.
func NewBoxKey(random io.Reader) (*BoxKey, error) {
	public, private, err := box.GenerateKey(random)
	if err != nil {
		return nil, fmt.Errorf("crypto_box key: randomness: %w", err)
	}
	defer Erase(private[:])
	return &BoxKey{*public, *private}, nil
}

// Public is the public key.
func (k *BoxKey) Public() [32]byte { return k.public }

// Erase makes the key useless.
func (k *BoxKey) Erase() { Erase(k.private[:]) }

// hexBytes is bytes that stand in JSON in hexadecimal digits.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}

// BoxRequest is a sealed request in Anonify's form.
type BoxRequest struct {
	Ephemeral  hexBytes `json:"ephemeral_public_key"` // 32 bytes
	Nonce      hexBytes `json:"nonce"`                // 24 bytes
	Ciphertext hexBytes `json:"ciphertext"`           // 16 bytes of tag and the plaintext
}

// ParseBoxRequest reads the JSON form.
func ParseBoxRequest(b []byte) (BoxRequest, error) {
	var q BoxRequest
	if len(b) > MaxBoxRequest {
		return q, fmt.Errorf("%w crypto_box request: %d bytes, at most %d are allowed", wire.ErrMalformed, len(b), MaxBoxRequest)
	}
	if err := wire.DecodeJSON("crypto_box request", b, &q); err != nil {
		return BoxRequest{}, err
	}
	if len(q.Ephemeral) != 32 || len(q.Nonce) != 24 || len(q.Ciphertext) < box.Overhead || len(q.Ciphertext) > wire.MaxBucket {
		return BoxRequest{}, fmt.Errorf("%w crypto_box request: key, nonce and ciphertext of %d, %d and %d bytes; wanted 32, 24 and %d to %d",
			wire.ErrMalformed, len(q.Ephemeral), len(q.Nonce), len(q.Ciphertext), box.Overhead, wire.MaxBucket)
	}
	return q, nil
}

// BoxCommand is the inside of a request in Anonify's form.
type BoxCommand struct {
	Account   [20]byte // claimed, not proved
	Arguments []byte   // JSON
	Name      string
	Counter   uint32
}

// boxCommandJSON is BoxCommand as it stands in JSON. account_id is a list of numbers.
type boxCommandJSON struct {
	Policy    boxPolicyJSON   `json:"access_policy"`
	Arguments json.RawMessage `json:"runtime_params"`
	Name      string          `json:"cmd_name"`
	Counter   uint32          `json:"counter"`
}

type boxPolicyJSON struct {
	Account []uint8Number `json:"account_id"`
}

// uint8Number keeps encoding/json from reading a list of bytes as base64.
type uint8Number uint16

// parseBoxCommand reads the plaintext of a request.
func parseBoxCommand(b []byte) (BoxCommand, error) {
	var v boxCommandJSON
	if err := wire.DecodeJSON("crypto_box command", b, &v); err != nil {
		return BoxCommand{}, err
	}
	c := BoxCommand{Arguments: v.Arguments, Name: v.Name, Counter: v.Counter}
	if len(v.Policy.Account) != len(c.Account) {
		return BoxCommand{}, fmt.Errorf("%w crypto_box command: account_id of %d numbers, wanted 20", wire.ErrMalformed, len(v.Policy.Account))
	}
	for i, n := range v.Policy.Account {
		if n > 255 {
			return BoxCommand{}, fmt.Errorf("%w crypto_box command: account_id[%d] is %d, at most 255 is allowed", wire.ErrMalformed, i, n)
		}
		c.Account[i] = byte(n)
	}
	if len(c.Name) > wire.MaxName || len(c.Arguments) > wire.MaxArguments {
		return BoxCommand{}, fmt.Errorf("%w crypto_box command: cmd_name and runtime_params of %d and %d bytes, at most %d and %d are allowed",
			wire.ErrMalformed, len(c.Name), len(c.Arguments), wire.MaxName, wire.MaxArguments)
	}
	return c, nil
}

// Signed is the command of scheme 0 that stands for c on the ledger: nonce = counter.
func (c BoxCommand) Signed(ledger wire.Hash, application string, expiresAt uint64) wire.Signed {
	return wire.Signed{Body: wire.Command{
		Ledger: ledger, Application: application, Scheme: wire.SchemeNone, Key: c.Account[:],
		Nonce: uint64(c.Counter), ExpiresAt: expiresAt, Name: c.Name, Arguments: c.Arguments,
	}.Encode()}
}

// BoxReplySealer seals the replies to one request.
type BoxReplySealer struct{ shared [32]byte }

// Open opens a request. Errors are ErrOpen and wire.ErrMalformed.
func (k *BoxKey) Open(q BoxRequest) (BoxCommand, *BoxReplySealer, error) {
	shared, err := boxShared(&k.private, q.Ephemeral)
	if err != nil {
		return BoxCommand{}, nil, err
	}
	plain, ok := box.OpenAfterPrecomputation(nil, q.Ciphertext, (*[24]byte)(q.Nonce), &shared)
	if !ok {
		return BoxCommand{}, nil, fmt.Errorf("%w: crypto_box request", ErrOpen)
	}
	c, err := parseBoxCommand(plain)
	if err != nil {
		return BoxCommand{}, nil, err
	}
	return c, &BoxReplySealer{shared}, nil
}

// boxShared is the key of NaCl's crypto_box. Points of small order, with which anybody knows the
// key, are refused.
func boxShared(private *[32]byte, public []byte) (shared [32]byte, err error) {
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return shared, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return shared, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if _, err := k.ECDH(p); err != nil {
		return shared, fmt.Errorf("%w: crypto_box key: %w", ErrOpen, err)
	}
	box.Precompute(&shared, (*[32]byte)(public), private)
	return shared, nil
}

// BoxReply is the inside of a reply in Anonify's form.
type BoxReply struct {
	Status  string          `json:"status"` // committed, rejected or pending
	Code    uint16          `json:"code"`
	Message string          `json:"message"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// Seal seals a reply: nonce (24 bytes of random) ‖ box of the JSON, padded with spaces to
// BoxReplySize. The error is ErrTooLarge when it does not fit.
func (s *BoxReplySealer) Seal(r BoxReply, random io.Reader) ([]byte, error) {
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("crypto_box reply: result is not JSON: %w", err)
	}
	if len(plain) > BoxReplySize {
		return nil, fmt.Errorf("crypto_box reply of %d bytes into %d: %w", len(plain), BoxReplySize, ErrTooLarge)
	}
	plain = append(plain, bytes.Repeat([]byte{' '}, BoxReplySize-len(plain))...)
	var nonce [24]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return nil, fmt.Errorf("crypto_box reply: randomness: %w", err)
	}
	return box.SealAfterPrecomputation(nonce[:], plain, &nonce, &s.shared), nil
}

// Erase makes the sealer useless.
func (s *BoxReplySealer) Erase() { Erase(s.shared[:]) }

// BoxReplyOpener opens the replies to one request.
type BoxReplyOpener struct{ shared [32]byte }

// SealBox seals a command to a node's crypto_box key, as Anonify's clients do. random gives 56 bytes.
func SealBox(node [32]byte, c BoxCommand, random io.Reader) (BoxRequest, *BoxReplyOpener, error) {
	v := boxCommandJSON{Arguments: c.Arguments, Name: c.Name, Counter: c.Counter}
	for _, n := range c.Account {
		v.Policy.Account = append(v.Policy.Account, uint8Number(n))
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return BoxRequest{}, nil, fmt.Errorf("crypto_box command: arguments are not JSON: %w", err)
	}
	own, err := NewBoxKey(random)
	if err != nil {
		return BoxRequest{}, nil, err
	}
	defer own.Erase()
	var nonce [24]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return BoxRequest{}, nil, fmt.Errorf("crypto_box command: randomness: %w", err)
	}
	shared, err := boxShared(&own.private, node[:])
	if err != nil {
		return BoxRequest{}, nil, err
	}
	return BoxRequest{own.public[:], nonce[:], box.SealAfterPrecomputation(nil, plain, &nonce, &shared)}, &BoxReplyOpener{shared}, nil
}

// Open opens a reply. Errors are ErrOpen and wire.ErrMalformed.
func (o *BoxReplyOpener) Open(reply []byte) (BoxReply, error) {
	var r BoxReply
	if len(reply) != 24+box.Overhead+BoxReplySize {
		return r, fmt.Errorf("%w: crypto_box reply of %d bytes, wanted %d", ErrOpen, len(reply), 24+box.Overhead+BoxReplySize)
	}
	plain, ok := box.OpenAfterPrecomputation(nil, reply[24:], (*[24]byte)(reply), &o.shared)
	if !ok {
		return r, fmt.Errorf("%w: crypto_box reply", ErrOpen)
	}
	return r, wire.DecodeJSON("crypto_box reply", plain, &r)
}
