package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

// Longest answers in bytes.
const (
	maxAnswer  = 4 << 20
	maxControl = wire.MaxControlJSON + 1<<20
)

// transport makes connections that end in a key which is welcome.
func (c *Client) transport(accept member.Accept) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: c.o.Dial, TLSClientConfig: member.ClientConfig(nil, accept), MaxIdleConnsPerHost: 16,
			TLSHandshakeTimeout: c.o.Patience, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// anyKey welcomes every Ed25519 key; what comes over such a connection must prove itself.
func anyKey([32]byte) error { return nil }

// call makes one call and decodes the answer. It returns the key in which the connection ended.
func (c *Client) call(ctx context.Context, hc *http.Client, method, url, path string, in, out any, limit int64) (peer [32]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Patience)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return peer, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url+path, body)
	if err != nil {
		return peer, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := hc.Do(req)
	if err != nil {
		return peer, err
	}
	defer res.Body.Close()
	if peer, err = member.PeerKey(res.TLS); err != nil {
		return peer, err
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return peer, err
	}
	if int64(len(raw)) > limit {
		return peer, fmt.Errorf("%w: more than %d bytes", ErrAnswer, limit)
	}
	if res.StatusCode/100 != 2 {
		return peer, nodeError(url, res.StatusCode, raw)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return peer, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return peer, nil
}

// nodeError reads a refusal.
func nodeError(url string, status int, raw []byte) error {
	e := &NodeError{URL: url, Status: status}
	var v struct{ Code, Message, Status string }
	if json.Unmarshal(raw, &v) == nil {
		e.Code, e.Message = v.Code, v.Message
		if e.Message == "" {
			e.Message = v.Status
		}
	}
	return e
}

// outdated says whether an error may come from a node that has restarted or changed its key.
func outdated(err error) bool {
	var e *NodeError
	return errors.Is(err, member.ErrPeer) || errors.As(err, &e) && e.Code == "request_key"
}
