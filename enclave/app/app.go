// Package app is how a converted program asks for evidence about itself, so that
// somebody else can judge what it runs: attestation without TLS, or of a key
// that is no certificate's.
//
// The guest serves the socket and decides the purpose, which is always
// attest.PurposeApp: evidence obtained here is worth nothing where evidence for
// a certificate or a ledger is asked for (security decision S9). A program may
// also prove itself to another program of the same machine by a local REPORT, for
// instance to the quoting enclave behind the node agent's /v1/enclave/attest.
//
// It may also ask for keys that it can seal files with, bound to the measurement
// (security decision S15).
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

// Report is an SGX REPORT and the statement that it was made over.
type Report struct {
	Report  []byte `json:"report"`  // 432 bytes
	Binding []byte `json:"binding"` // DER
}

// Request is what the guest reads, one JSON object a line.
type Request struct {
	Op     string `json:"op"`                    // "evidence", "report", "verify_report" or "seal_key"
	User   []byte `json:"user,omitempty"`        // 32 bytes of the program's choosing, usually a SHA-256
	Nonce  []byte `json:"nonce,omitempty"`       // attest.NonceSize bytes from the judge
	Target []byte `json:"target_info,omitempty"` // report: TARGETINFO of 512 bytes
	Report []byte `json:"report,omitempty"`      // verify_report: 432 bytes
	Label  []byte `json:"label,omitempty"`       // seal_key: 32 bytes of the program's choosing
}

// ErrRefused is wrapped by the errors that the guest answers with.
var ErrRefused = errors.New("the guest refuses")

// Get asks the guest at socket, usually Socket, for evidence over a user field
// and the judge's nonce.
func Get(ctx context.Context, socket string, user [32]byte, nonce []byte) (*Evidence, error) {
	if len(nonce) != attest.NonceSize {
		return nil, fmt.Errorf("evidence: nonce has %d bytes, wanted %d", len(nonce), attest.NonceSize)
	}
	r, err := call(ctx, socket, Request{Op: "evidence", User: user[:], Nonce: nonce})
	switch {
	case err != nil:
		return nil, fmt.Errorf("evidence: %w", err)
	case len(r.Quote) == 0 || len(r.Binding) == 0:
		return nil, errors.New("evidence: reply without evidence")
	}
	return &Evidence{Quote: r.Quote, Binding: r.Binding}, nil
}

// GetReport asks for a local REPORT over a user field and a nonce, for the program
// that target, a TARGETINFO of 512 bytes, names.
func GetReport(ctx context.Context, socket string, target []byte, user [32]byte, nonce []byte) (*Report, error) {
	r, err := call(ctx, socket, Request{Op: "report", User: user[:], Nonce: nonce, Target: target})
	switch {
	case err != nil:
		return nil, fmt.Errorf("report: %w", err)
	case len(r.Report) != 432 || len(r.Binding) == 0:
		return nil, errors.New("report: reply without a report of 432 bytes")
	}
	return &Report{Report: r.Report, Binding: r.Binding}, nil
}

// VerifyReport returns nil when report was made for this program on this machine;
// whose it is and what it says stands in it.
func VerifyReport(ctx context.Context, socket string, report []byte) error {
	r, err := call(ctx, socket, Request{Op: "verify_report", Report: report})
	if err == nil && !r.Verified {
		err = errors.New("reply without a verdict")
	}
	if err != nil {
		return fmt.Errorf("verify report: %w", err)
	}
	return nil
}

// SealKey asks for the 32-byte key of a label: the same image, started with the same
// arguments and environment on the same platform, gets the same key again, and nothing
// else does. A newer build gets other keys.
func SealKey(ctx context.Context, socket string, label [32]byte) ([]byte, error) {
	r, err := call(ctx, socket, Request{Op: "seal_key", Label: label[:]})
	if err == nil && len(r.Key) != 32 {
		err = fmt.Errorf("reply with a key of %d bytes, wanted 32", len(r.Key))
	}
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return r.Key, nil
}

// reply is what the guest answers, one JSON object.
type reply struct {
	Evidence
	Report   []byte `json:"report"`
	Verified bool   `json:"verified"`
	Key      []byte `json:"key"`
	Error    string `json:"error"`
}

func call(ctx context.Context, socket string, request Request) (*reply, error) {
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("%w; only programs started by the guest of a converted image find the socket", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxReply)
	if !lines.Scan() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no reply: %w", errors.Join(lines.Err(), net.ErrClosed))
	}
	return decode(lines.Bytes())
}

func decode(line []byte) (*reply, error) {
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	if r.Error != "" {
		return nil, fmt.Errorf("%w: %s", ErrRefused, r.Error)
	}
	return &r, nil
}
