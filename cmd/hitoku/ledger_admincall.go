package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

const (
	maxAdminReply = 8 << 20
	adminValidity = 60 * time.Second
)

// adminCaller makes signed calls to one node. It does not know whether it speaks to a
// node: a signature counts at the incarnation whose key the TLS connection ends at, and
// nowhere else, and nothing secret is said.
type adminCaller struct {
	ledger wire.Hash
	node   string // https://host:port
	key    ed25519.PrivateKey
	http   *http.Client
	now    func() time.Time

	peer [32]byte // the key at the other end, of the newest connection
}

func newAdminCaller(ledger wire.Hash, node string, key ed25519.PrivateKey) *adminCaller {
	c := &adminCaller{ledger: ledger, node: strings.TrimSuffix(node, "/"), key: key, now: time.Now}
	config := member.ClientConfig(nil, func(pk [32]byte) error {
		c.peer = pk
		return nil
	})
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: config, MaxConnsPerHost: 1}, Timeout: 2 * time.Minute}
	return c
}

func (c *adminCaller) close() { c.http.CloseIdleConnections() }

// connect finds out which incarnation answers.
func (c *adminCaller) connect(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.node+"/api/v1/health", nil)
	if err != nil {
		return usageError{err}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxAdminReply))
	return errors.Join(err, res.Body.Close())
}

// call sends a signed request and decodes the answer into out, where that is not nil.
func (c *adminCaller) call(ctx context.Context, method, path string, in, out any) error {
	if err := c.connect(ctx); err != nil {
		return err
	}
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.node+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.sign(req.Header, method, path, body)
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAdminReply+1))
	if err != nil {
		return err
	}
	if len(raw) > maxAdminReply {
		return fmt.Errorf("%s %s: more than %d bytes in answer", method, path, maxAdminReply)
	}
	if res.StatusCode/100 != 2 {
		return refusedBy(c.node, res.StatusCode, raw)
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not understood: %w", method, path, err)
	}
	return nil
}

// sign adds the headers by which the node knows who asks, for what, and for how long.
func (c *adminCaller) sign(h http.Header, method, path string, body []byte) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	until := uint64(c.now().Add(adminValidity).Unix())
	iid, sum := wire.IncarnationID(c.peer), sha256.Sum256(body)
	message := wire.Name("ADMIN", c.ledger[:], iid[:], []byte(method), []byte(path), sum[:], wire.U64(until), nonce[:])
	h.Set("Hitoku-Key", hex.EncodeToString(c.key.Public().(ed25519.PublicKey)))
	h.Set("Hitoku-Not-After", strconv.FormatUint(until, 10))
	h.Set("Hitoku-Nonce", hex.EncodeToString(nonce[:]))
	h.Set("Hitoku-Signature", base64.StdEncoding.EncodeToString(ed25519.Sign(c.key, message)))
}

// refusedBy says why a node refused, in its words.
func refusedBy(node string, status int, raw []byte) error {
	var e struct {
		Message string `json:"message"`
		Detail  string `json:"detail"`
		Status  string `json:"status"`
	}
	_ = json.Unmarshal(raw, &e)
	for _, text := range []string{e.Message, e.Detail, e.Status, string(bytes.TrimSpace(raw))} {
		if text != "" {
			return fmt.Errorf("%s refuses (%d): %.500s", node, status, text)
		}
	}
	return fmt.Errorf("%s refuses: status %d", node, status)
}
