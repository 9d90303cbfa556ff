package client

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/history"
	"hitoku.dev/internal/ledger/wire"
)

// Node is what was verified of a node before anything is sealed for it.
type Node struct {
	URL            string         `json:"url"`
	Slot           uint16         `json:"slot"`
	Incarnation    string         `json:"iid"`         // hex
	Key            string         `json:"key"`         // hex, Ed25519; the TLS connection ends in it
	RequestKey     string         `json:"request_key"` // hex, id of the key that is sealed to
	NotAfter       time.Time      `json:"not_after"`   // of the request key
	Position       uint64         `json:"position"`    // committed
	Epoch          uint64         `json:"epoch"`
	OrderAssurance string         `json:"order_assurance"`
	Evidence       attest.Verdict `json:"evidence"`
}

// Verify verifies one node anew. Errors wrap ErrUnverified, ErrFork or ErrStale where it was reached.
func (c *Client) Verify(ctx context.Context, url string) (Node, error) {
	c.forget(url)
	s, _, err := c.session(ctx, url)
	if err != nil {
		return Node{}, fmt.Errorf("%s: %w", url, err)
	}
	id := wire.RequestKeyID(s.info.RequestKey)
	return Node{
		URL: url, Slot: s.info.Slot, Incarnation: hex.EncodeToString(s.info.Incarnation[:]), Key: hex.EncodeToString(s.info.Key[:]),
		RequestKey: hex.EncodeToString(id[:]), NotAfter: day(s.info.NotAfter), Position: s.info.Position, Epoch: s.history.Newest().Number,
		OrderAssurance: s.assurance, Evidence: s.verdict,
	}, nil
}

// URLs lists the nodes as the client calls them.
func (c *Client) URLs() []string { return append([]string(nil), c.o.URLs...) }

// Member is an incarnation in a slot.
type Member struct {
	Slot         uint16    `json:"slot"`
	Kind         string    `json:"kind"` // executor or vault
	Incarnation  string    `json:"iid"`  // hex
	Measurement  string    `json:"measurement"`
	JoinPosition uint64    `json:"join_position"`
	JoinTime     time.Time `json:"join_time"` // as the log says
	// Refused says why its evidence is not accepted today; empty when it is.
	Refused string `json:"refused,omitempty"`
}

// Members are those of the newest epoch that control records show.
type Members struct {
	Epoch    uint64    `json:"epoch"` // 0 before the administrators have approved the first members
	T        string    `json:"t"`     // hex
	Position uint64    `json:"position"`
	Since    time.Time `json:"since"` // as the log says
	Policy   uint64    `json:"policy"`
	Members  []Member  `json:"members"`
	Pending  []Member  `json:"pending"` // have joined, and wait to be let in
}

// Members verifies the control records of the first node that answers, and judges everybody's evidence with
// the own clock. It works before the first epoch too. The records prove themselves, but may be old.
func (c *Client) Members(ctx context.Context) (Members, error) {
	var out Members
	var failed error
	for _, url := range c.nodes() {
		raw, err := c.control(ctx, url)
		var h *history.History
		if err == nil {
			h, err = c.follow(raw)
		}
		if err == nil {
			return c.members(h), nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", url, err))
	}
	return out, failed
}

func (c *Client) control(ctx context.Context, url string) (raw json.RawMessage, err error) {
	hc := c.transport(anyKey)
	defer hc.CloseIdleConnections()
	_, err = c.call(ctx, hc, http.MethodGet, url, "/api/v1/control", nil, &raw, maxControl)
	return raw, err
}

func (c *Client) members(h *history.History) Members {
	e := h.Newest()
	last := h.Position()
	out := Members{
		Epoch: e.Number, T: hex.EncodeToString(e.T[:]), Position: e.Position, Since: day(e.Time), Policy: h.Policy(last + 1).Version,
		Members: []Member{}, Pending: []Member{},
	}
	for _, m := range e.Members {
		out.Members = append(out.Members, c.member(h, m.Incarnation, last))
	}
	for _, id := range h.Pending() {
		out.Pending = append(out.Pending, c.member(h, id, last))
	}
	return out
}

func (c *Client) member(h *history.History, id wire.Hash, position uint64) Member {
	j := h.Join(id)
	m := Member{Slot: j.Body.Slot, Kind: "executor", Incarnation: hex.EncodeToString(id[:]), JoinPosition: j.Position, JoinTime: day(j.Time)}
	if j.Kind == wire.KindVault {
		m.Kind = "vault"
	}
	v, err := h.JudgeNow(id, position+1, c.o.Now())
	if err != nil {
		m.Refused = err.Error()
	}
	for _, r := range v.Rules {
		if r.Name == "measurement" {
			m.Measurement = r.Seen
		}
	}
	return m
}
