// Package app is how a converted program asks for evidence about itself, so that
// somebody else can judge what it runs: attestation without TLS, or of a key
// that is no certificate's.
//
// The guest serves the socket and decides the purpose, which is always
// attest.PurposeApp: evidence obtained here is worth nothing where evidence for
// a certificate or a ledger is asked for (security decision S9).
//
// The caller trusts the guest, with which it was measured. Nothing is promised
// about the evidence itself: its judge is the party that gave the nonce.
package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"hitoku.dev/attest"
)

// Socket is where the guest answers inside a container.
const Socket = "/run/hitoku/enclave.sock"

const maxReply = 256 << 10

// Evidence is a quote and the statement that it was made over. The judge parses
// Binding with attest.ParseBinding, compares user field and nonce, and recomputes
// the report data.
type Evidence struct {
	Quote   []byte `json:"evidence"`
	Binding []byte `json:"binding"` // DER
}

// Request is what the guest reads, one JSON object a line.
type Request struct {
	Op    string `json:"op"`    // "evidence"
	User  []byte `json:"user"`  // 32 bytes of the program's choosing, usually a SHA-256
	Nonce []byte `json:"nonce"` // attest.NonceSize bytes from the judge
}

// ErrRefused is wrapped by the errors that the guest answers with.
var ErrRefused = errors.New("the guest refuses")

// Get asks the guest at socket, usually Socket, for evidence over a user field
// and the judge's nonce.
func Get(ctx context.Context, socket string, user [32]byte, nonce []byte) (*Evidence, error) {
	if len(nonce) != attest.NonceSize {
		return nil, fmt.Errorf("evidence: nonce has %d bytes, wanted %d", len(nonce), attest.NonceSize)
	}
	line, err := json.Marshal(Request{Op: "evidence", User: user[:], Nonce: nonce})
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w; only programs started by the guest of a converted image find the socket", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("evidence: %w", errors.Join(ctx.Err(), err))
	}
	reply := bufio.NewScanner(conn)
	reply.Buffer(nil, maxReply)
	if !reply.Scan() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("evidence: no reply: %w", errors.Join(reply.Err(), net.ErrClosed))
	}
	return decode(reply.Bytes())
}

func decode(line []byte) (*Evidence, error) {
	var r struct {
		Evidence
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("evidence: reply: %w", err)
	}
	switch {
	case r.Error != "":
		return nil, fmt.Errorf("evidence: %w: %s", ErrRefused, r.Error)
	case len(r.Quote) == 0 || len(r.Binding) == 0:
		return nil, errors.New("evidence: reply without evidence")
	}
	return &r.Evidence, nil
}
