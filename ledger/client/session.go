package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/history"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

const (
	keyMargin  = time.Minute     // before its end a key is not used any more
	maxKeyLife = 2 * time.Hour   // a key that claims to live longer is refused
	sealedLife = 2 * time.Minute // for which a sealed request may be opened
	queryLife  = 45 * time.Second
)

// session is a node that was verified.
type session struct {
	url       string
	http      *http.Client
	info      wire.KeyInfo
	history   *history.History
	verdict   attest.Verdict
	assurance string
}

// keyReply is the answer with a node's key.
type keyReply struct {
	KeyInfo        []byte          `json:"key_info"`
	Signature      []byte          `json:"signature"`
	Control        json.RawMessage `json:"control"`
	OrderAssurance string          `json:"order_assurance"`
}

// session returns a verified node, from before where its key is still good.
func (c *Client) session(ctx context.Context, url string) (s *session, cached bool, err error) {
	c.mu.Lock()
	s = c.sessions[url]
	c.mu.Unlock()
	if s != nil && c.o.Now().Add(keyMargin).Unix() < int64(s.info.NotAfter) {
		return s, true, nil
	}
	if s, err = c.connect(ctx, url); err != nil {
		return nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.sessions[url]; old != nil {
		old.http.CloseIdleConnections()
	}
	c.sessions[url] = s
	return s, false, nil
}

// connect fetches a node's key and verifies it.
func (c *Client) connect(ctx context.Context, url string) (*session, error) {
	first := c.transport(anyKey)
	defer first.CloseIdleConnections()
	var reply keyReply
	peer, err := c.call(ctx, first, http.MethodGet, url, "/api/v1/enclave_encryption_key", nil, &reply, maxControl)
	if err != nil {
		return nil, err
	}
	s, err := c.verify(reply, peer)
	if err != nil {
		return nil, err
	}
	s.url, s.http = url, c.transport(member.Only(s.info.Key))
	return s, nil
}

// verify verifies all that section 7 asks for before anything is sealed, and raises the floor.
func (c *Client) verify(reply keyReply, peer [32]byte) (*session, error) {
	info, err := wire.ParseKeyInfo(reply.KeyInfo)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	if err := c.checkInfo(info, reply.Signature, peer); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	h, err := c.follow(reply.Control)
	if err != nil {
		return nil, err
	}
	m, ok := h.Newest().Member(info.Incarnation)
	if !ok || m.Slot != info.Slot || m.Key != info.Key || m.Kind != wire.KindExecutor {
		return nil, fmt.Errorf("%w: incarnation %x of slot %d is no executor of epoch %d", ErrUnverified, info.Incarnation, info.Slot, h.Newest().Number)
	}
	if err := h.Genesis().Suite.CheckPublic(info.RequestKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	verdict, err := h.JudgeNow(info.Incarnation, info.Position, c.o.Now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	floor := c.Floor()
	if err := checkFloor(floor, info.Position, info.Chain); err != nil {
		return nil, err
	}
	newest := h.Newest()
	if err := c.raise(Floor{info.Position, info.Chain, newest.Number, newest.T}); err != nil {
		return nil, err
	}
	return &session{info: info, history: h, verdict: verdict, assurance: reply.OrderAssurance}, nil
}

// checkInfo checks what needs no history.
func (c *Client) checkInfo(info wire.KeyInfo, signature []byte, peer [32]byte) error {
	now := c.o.Now()
	switch end := time.Unix(int64(min(info.NotAfter, 1<<40)), 0); {
	case info.Ledger != c.o.Ledger:
		return fmt.Errorf("it is of ledger %x, wanted %x", info.Ledger, c.o.Ledger)
	case info.Key != peer:
		return fmt.Errorf("the connection ends in key %x, and the node's is %x: somebody stands between", peer, info.Key)
	case info.Incarnation != wire.IncarnationID(info.Key):
		return fmt.Errorf("incarnation %x is not that of its key", info.Incarnation)
	case len(signature) != 64 || !wire.VerifyEd25519(info.Key, info.Message(), [64]byte(signature)):
		return fmt.Errorf("its key: %w", wire.ErrSignature)
	case !end.After(now.Add(keyMargin)):
		return fmt.Errorf("its key was good until %s, and it is %s; set the clock, or ask another node", end.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case end.After(now.Add(maxKeyLife)):
		return fmt.Errorf("its key is good until %s, longer than %s from now", end.UTC().Format(time.RFC3339), maxKeyLife)
	}
	return nil
}

// follow verifies control records and compares their epochs with the floor's.
func (c *Client) follow(raw json.RawMessage) (*history.History, error) {
	records, err := wire.ParseControl(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	h, err := history.Follow(c.o.Ledger, records, c.trust)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	floor := c.Floor()
	switch e := h.Number(floor.Epoch); {
	case e == nil:
		return nil, fmt.Errorf("%w: it is in epoch %d, and epoch %d was seen", ErrStale, h.Newest().Number, floor.Epoch)
	case floor.Epoch > 0 && e.T != floor.T:
		return nil, fmt.Errorf("%w: epoch %d is %x, and was %x", ErrFork, floor.Epoch, e.T, floor.T)
	}
	return h, nil
}

// checkFloor compares a committed position that a node shows with the floor.
func checkFloor(floor Floor, position uint64, chain wire.Hash) error {
	switch {
	case position < floor.Position:
		return fmt.Errorf("%w: it is at position %d, and position %d was seen", ErrStale, position, floor.Position)
	case position == floor.Position && position > 0 && chain != floor.Chain:
		return fmt.Errorf("%w: position %d has chain value %x, and had %x", ErrFork, position, chain, floor.Chain)
	}
	return nil
}

// sealed is a request on its way.
type sealed struct {
	raw    []byte
	opener *keys.ReplyOpener
	floor  Floor
	items  int
}

// seal seals items for the node.
func (c *Client) seal(s *session, kind, mode uint8, bucket int, items ...[]byte) (*sealed, error) {
	floor := c.Floor()
	q, opener, err := keys.SealRequest(keys.RequestOptions{
		Suite: s.history.Genesis().Suite, Info: s.info, Kind: kind, NotAfter: uint64(c.o.Now().Add(sealedLife).Unix()),
		Payload: wire.Payload{FloorPosition: floor.Position, FloorChain: floor.Chain, Mode: mode, ReplyBucket: uint32(bucket), Items: items},
	})
	if err != nil {
		return nil, err
	}
	return &sealed{q.Encode(), opener, floor, len(items)}, nil
}

// open opens the reply to a request, checks it against the floor, and raises that.
func (c *Client) open(q *sealed, raw []byte) (wire.ReplyBody, error) {
	r, err := wire.ParseReply(raw)
	if err != nil {
		return wire.ReplyBody{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	body, err := q.opener.Open(r)
	if err != nil {
		return wire.ReplyBody{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if len(body.Results) != q.items {
		return wire.ReplyBody{}, fmt.Errorf("%w: %d results for %d questions", ErrAnswer, len(body.Results), q.items)
	}
	for _, x := range body.Results {
		if err := nodeCode(x); err != nil {
			return wire.ReplyBody{}, err
		}
	}
	if err := checkFloor(q.floor, body.Position, body.Chain); err != nil {
		return wire.ReplyBody{}, err
	}
	return body, c.raise(Floor{Position: body.Position, Chain: body.Chain})
}
