package keys

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"hitoku.dev/internal/ledger/wire"
)

const replyContext = wire.Protocol + " reply"

func requestInfo(ledger, iid, id wire.Hash) []byte {
	return wire.Name("REQ", ledger[:], iid[:], id[:])
}

// RequestOptions are what a request is made of.
type RequestOptions struct {
	Suite wire.Suite
	// Info is the node's, whose signature and evidence the caller has verified.
	Info     wire.KeyInfo
	Kind     uint8  // wire.RequestCommands or wire.RequestQuery
	NotAfter uint64 // seconds; the node refuses it later
	// Bucket is the padded size in bytes, 0 for the smallest that fits.
	Bucket  int
	Payload wire.Payload
}

// SealRequest seals a request to a node. The opener opens the replies to it. Randomness is
// crypto/hpke's own.
func SealRequest(o RequestOptions) (wire.Request, *ReplyOpener, error) {
	body := o.Payload.Encode()
	if o.Bucket == 0 {
		o.Bucket = wire.Bucket(len(body), wire.MaxBucket)
	}
	padded := wire.Pad(body, min(o.Bucket, wire.MaxBucket))
	if padded == nil || o.Bucket > wire.MaxBucket {
		return wire.Request{}, nil, fmt.Errorf("request of %d bytes: %w, at most %d", len(body), ErrTooLarge, wire.MaxBucket)
	}
	q := wire.Request{Kind: o.Kind, KeyID: wire.RequestKeyID(o.Info.RequestKey), NotAfter: o.NotAfter, Bucket: uint32(o.Bucket)}
	enc, s, err := sender(o.Suite, o.Info.RequestKey, requestInfo(o.Info.Ledger, o.Info.Incarnation, q.KeyID))
	if err != nil {
		return wire.Request{}, nil, err
	}
	q.Enc = enc
	if q.CT, err = s.Seal(q.Associated(), padded); err != nil {
		return wire.Request{}, nil, err
	}
	x, err := s.Export(replyContext, 32)
	if err != nil {
		return wire.Request{}, nil, err
	}
	return q, &ReplyOpener{newReplyKeys(x, q)}, nil
}

// OpenRequest opens a request at the node with the incarnation iid. A query request holds exactly
// one item. Errors are ErrOpen and wire.ErrMalformed. Times and floors are for the caller.
func OpenRequest(k *HPKEKey, ledger, iid wire.Hash, q wire.Request) (wire.Payload, *ReplySealer, error) {
	if id := wire.RequestKeyID(k.public); id != q.KeyID {
		return wire.Payload{}, nil, fmt.Errorf("%w: request to key %x, wanted %x", ErrOpen, q.KeyID, id)
	}
	padded, r, err := openWith(k, q.Enc, requestInfo(ledger, iid, q.KeyID), q.Associated(), q.CT)
	if err != nil {
		return wire.Payload{}, nil, fmt.Errorf("request: %w", err)
	}
	body, err := wire.Unpad(padded, wire.MaxBucket)
	if err != nil {
		return wire.Payload{}, nil, fmt.Errorf("request: %w", err)
	}
	p, err := wire.ParsePayload(body)
	if err != nil {
		return wire.Payload{}, nil, err
	}
	if q.Kind == wire.RequestQuery && len(p.Items) != 1 {
		return wire.Payload{}, nil, fmt.Errorf("%w payload: %d items in a query request, wanted 1", wire.ErrMalformed, len(p.Items))
	}
	x, err := r.Export(replyContext, 32)
	if err != nil {
		return wire.Payload{}, nil, err
	}
	return p, &ReplySealer{newReplyKeys(x, q)}, nil
}

// replyKeys is what both ends of a request share.
type replyKeys struct {
	x       [32]byte
	enc     []byte
	request wire.Hash
}

func newReplyKeys(x []byte, q wire.Request) replyKeys {
	defer Erase(x)
	return replyKeys{x: [32]byte(x), enc: q.Enc, request: sha256.Sum256(q.Encode())}
}

// aead gives the key and nonce for a reply with rn.
func (k *replyKeys) aead(rn wire.Hash, recorder Recorder) (*aead, [12]byte) {
	prk, err := hkdf.Extract(sha256.New, k.x[:], append(append([]byte(nil), k.enc...), rn[:]...))
	if err != nil {
		panic(err) // SHA-256 is approved everywhere
	}
	key, nonce := expand([32]byte(prk), wire.Name("REPLYKEY")), expand([32]byte(prk), wire.Name("REPLYNONCE"))
	return newAEAD(key, recorder), [12]byte(nonce[:12])
}

// ReplySealer seals replies to one request.
type ReplySealer struct{ keys replyKeys }

// Seal seals a reply, padded to bucket bytes: a power of two from wire.MinBucket to wire.MaxReply.
// Two replies never share a key: it depends on 32 bytes of random and on the reply. The error is
// ErrTooLarge when the body does not fit. recorder may be nil.
func (s *ReplySealer) Seal(body wire.ReplyBody, bucket uint32, random io.Reader, recorder Recorder) (wire.Reply, error) {
	var fresh [32]byte
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return wire.Reply{}, fmt.Errorf("reply: randomness: %w", err)
	}
	b := body.Encode()
	padded := wire.Pad(b, min(int(bucket), wire.MaxReply))
	if padded == nil || bucket > wire.MaxReply {
		return wire.Reply{}, fmt.Errorf("reply of %d bytes into %d: %w", len(b), bucket, ErrTooLarge)
	}
	rn := mac(expand(s.keys.x, wire.Name("RN")), fresh[:], padded)
	a, nonce := s.keys.aead(rn, recorder)
	return wire.Reply{Nonce: rn, CT: a.seal(nonce, padded, s.keys.request[:])}, nil
}

// Erase makes the sealer useless.
func (s *ReplySealer) Erase() { Erase(s.keys.x[:]) }

// ReplyOpener opens the replies to one request.
type ReplyOpener struct{ keys replyKeys }

// Open opens a reply. Errors are ErrOpen and wire.ErrMalformed.
func (o *ReplyOpener) Open(p wire.Reply) (wire.ReplyBody, error) {
	a, nonce := o.keys.aead(p.Nonce, nil)
	padded, err := a.open(nonce, p.CT, o.keys.request[:])
	if err != nil {
		return wire.ReplyBody{}, fmt.Errorf("reply: %w", err)
	}
	body, err := wire.Unpad(padded, wire.MaxReply)
	if err != nil {
		return wire.ReplyBody{}, fmt.Errorf("reply: %w", err)
	}
	return wire.ParseReplyBody(body)
}

// Secret is x, with which the replies to this request open; for a client that keeps it over a restart.
func (o *ReplyOpener) Secret() [32]byte { return o.keys.x }

// NewReplyOpener is the opener of a kept request and its Secret.
func NewReplyOpener(q wire.Request, secret [32]byte) *ReplyOpener {
	return &ReplyOpener{newReplyKeys(secret[:], q)}
}

// Erase makes the opener useless.
func (o *ReplyOpener) Erase() { Erase(o.keys.x[:]) }

// SealNotice seals a notification to the HPKE key that an account has registered.
func SealNotice(suite wire.Suite, public []byte, ledger wire.Hash, account [32]byte, n wire.Notice) (wire.SealedNotice, error) {
	b := n.Encode()
	padded := wire.Pad(b, wire.Bucket(len(b), wire.MaxBucket))
	if padded == nil {
		return wire.SealedNotice{}, fmt.Errorf("notification of %d bytes: %w", len(b), ErrTooLarge)
	}
	enc, ct, err := sealTo(suite, public, noticeInfo(ledger, account), nil, padded)
	return wire.SealedNotice{Enc: enc, CT: ct}, err
}

// OpenNotice opens a notification with the registered key. Errors are ErrOpen and wire.ErrMalformed.
func OpenNotice(k *HPKEKey, ledger wire.Hash, account [32]byte, n wire.SealedNotice) (wire.Notice, error) {
	padded, _, err := openWith(k, n.Enc, noticeInfo(ledger, account), nil, n.CT)
	if err != nil {
		return wire.Notice{}, fmt.Errorf("notification: %w", err)
	}
	b, err := wire.Unpad(padded, wire.MaxBucket)
	if err != nil {
		return wire.Notice{}, errors.Join(ErrOpen, err)
	}
	return wire.ParseNotice(b)
}

func noticeInfo(ledger wire.Hash, account [32]byte) []byte {
	return wire.Name("NOTIFY", ledger[:], account[:])
}
