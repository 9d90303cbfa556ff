// Package client is the program's side of the simulated TEE: what a guest
// imports. It opens the socket that the node agent serves, has the workload
// manifest measured, and then asks for evidence and sealing keys. It implements
// enclave.TEE.
//
// The connection is close-on-exec and must stay with the process that dialled:
// the simulated TEE answers only the very process whose program it has
// measured, once for each process. Dial makes that process undumpable
// (PR_SET_DUMPABLE 0), since a program that others may trace keeps no secret.
//
// It trusts nothing: an evil server can refuse, or hand out evidence and keys
// that are worth nothing, which the judge of the evidence will notice. It reads
// no environment variable and no file.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/simtee/internal/proto"
)

const (
	// SocketName is the socket's name in the folder that the node agent serves.
	SocketName = "simtee.sock"
	// ContainerDir is where containers get that folder mounted.
	ContainerDir = "/run/hitoku/tee"
	// ContainerSocket is the socket as a program in a container sees it.
	ContainerSocket = ContainerDir + "/" + SocketName
)

// RefusedError is a refusal by the simulated TEE: rule, wanted, seen, advice.
type RefusedError = proto.RefusedError

// Client is a connection to the simulated TEE. Its methods may be called from
// several goroutines; they take turns.
type Client struct {
	turn chan struct{} // holds one token while nobody uses what follows

	conn      *net.UnixConn
	challenge []byte
	owed      bool // a reply is still to come to a request that was given up

	closing sync.Once
	closed  chan struct{}
}

var (
	_ enclave.TEE           = (*Client)(nil)
	_ enclave.LocalReporter = (*Client)(nil)
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("simulated TEE: connection is closed")

// Dial connects to the simulated TEE at a socket path, usually ContainerSocket.
func Dial(ctx context.Context, socket string) (*Client, error) {
	if err := Undumpable(); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", socket)
	if err != nil {
		return nil, fmt.Errorf("simulated TEE at %s: %w; is the node agent running, and its folder mounted at %s?", socket, err, ContainerDir)
	}
	c := &Client{turn: make(chan struct{}, 1), conn: conn.(*net.UnixConn), closed: make(chan struct{})}
	defer c.interrupt(ctx)()
	if _, err := c.receive(); err != nil {
		conn.Close()
		return nil, c.explain(ctx, err)
	}
	c.turn <- struct{}{}
	return c, nil
}

// Measure extends the measurement of this process by the workload manifest that
// it obeys, and claims the SIGSTRUCT (1808 bytes) that signs it. It must be the
// first call, and works once for a process.
func (c *Client) Measure(ctx context.Context, manifest, sigstruct []byte) error {
	file, err := sealedFile(manifest)
	if err != nil {
		return fmt.Errorf("simulated TEE: %w", err)
	}
	defer file.Close()
	_, err = c.do(ctx, &proto.Request{Op: proto.OpMeasure, Sigstruct: sigstruct}, file)
	return err
}

// Evidence implements [enclave.TEE]: it returns an SGX ECDSA quote v3. A
// purpose that is not for programs (attest.PurposeNode) is refused.
func (c *Client) Evidence(ctx context.Context, b *attest.Binding) ([]byte, error) {
	der, err := b.MarshalDER()
	if err != nil {
		return nil, err
	}
	r, err := c.do(ctx, &proto.Request{Op: proto.OpEvidence, Binding: der}, nil)
	if err != nil {
		return nil, err
	}
	return r.Evidence, nil
}

// SealKey implements [enclave.TEE].
func (c *Client) SealKey(ctx context.Context, s enclave.SealRequest) ([]byte, error) {
	r, err := c.do(ctx, &proto.Request{
		Op:   proto.OpSealKey,
		Seal: &proto.Seal{BySigner: s.BySigner, SVN: s.SVN, KeyID: s.KeyID[:]},
	}, nil)
	if err != nil {
		return nil, err
	}
	if len(r.Key) != 32 {
		return nil, fmt.Errorf("simulated TEE: sealing key has %d bytes, wanted 32", len(r.Key))
	}
	return r.Key, nil
}

// Report implements [enclave.LocalReporter]: it returns a REPORT of 432 bytes over
// b for the program that target, a TARGETINFO of 512 bytes, names.
func (c *Client) Report(ctx context.Context, target []byte, b *attest.Binding) ([]byte, error) {
	der, err := b.MarshalDER()
	if err != nil {
		return nil, err
	}
	r, err := c.do(ctx, &proto.Request{Op: proto.OpReport, Binding: der, Target: target}, nil)
	if err != nil {
		return nil, err
	}
	if len(r.Report) != proto.ReportSize {
		return nil, fmt.Errorf("simulated TEE: report has %d bytes, wanted %d", len(r.Report), proto.ReportSize)
	}
	return r.Report, nil
}

// VerifyReport implements [enclave.LocalReporter].
func (c *Client) VerifyReport(ctx context.Context, report []byte) error {
	_, err := c.do(ctx, &proto.Request{Op: proto.OpVerify, Report: report}, nil)
	return err
}

// Close ends the connection. The process cannot be measured again by the same
// server.
func (c *Client) Close() error {
	err := ErrClosed
	c.closing.Do(func() {
		close(c.closed)
		err = c.conn.Close()
	})
	return err
}

func (c *Client) do(ctx context.Context, request *proto.Request, file *os.File) (*proto.Reply, error) {
	select {
	case <-c.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.turn:
	}
	defer func() { c.turn <- struct{}{} }()
	defer c.interrupt(ctx)()
	r, err := c.exchange(request, file)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return r, nil
}

func (c *Client) exchange(request *proto.Request, file *os.File) (*proto.Reply, error) {
	if c.owed { // its challenge is needed
		if _, err := c.receive(); err != nil && !errors.As(err, new(*RefusedError)) {
			return nil, err
		}
	}
	if len(c.challenge) == 0 {
		return nil, errors.New("the server has ended the conversation")
	}
	request.Challenge = c.challenge
	data, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if len(data) > proto.MaxRequest {
		return nil, fmt.Errorf("request has %d bytes, at most %d allowed", len(data), proto.MaxRequest)
	}
	if err := proto.Send(c.conn, data, file); err != nil {
		// A server that has hung up may have left its reason.
		if _, reason := c.receive(); errors.As(reason, new(*RefusedError)) {
			return nil, reason
		}
		return nil, err
	}
	c.owed = true
	return c.receive()
}

// receive reads the reply that is due and keeps its challenge.
func (c *Client) receive() (*proto.Reply, error) {
	p, err := proto.Receive(c.conn, proto.MaxReply)
	if err != nil {
		return nil, err
	}
	c.owed = false
	p.Close()
	r, err := proto.DecodeReply(p.Data)
	if err != nil {
		c.challenge = nil
		return nil, err
	}
	c.challenge = r.Challenge
	if r.Refused != nil {
		return nil, r.Refused
	}
	return r, nil
}

// interrupt lets ctx end reads and writes; call what it returns when done.
func (c *Client) interrupt(ctx context.Context) (stop func()) {
	c.conn.SetDeadline(time.Time{})
	done := make(chan struct{})
	cancelled := context.AfterFunc(ctx, func() {
		c.conn.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !cancelled() {
			<-done // so that it cannot strike the next call
		}
	}
}

// explain says why the connection failed: the caller's context, Close, or the network.
func (c *Client) explain(ctx context.Context, err error) error {
	if errors.As(err, new(*RefusedError)) {
		return err
	}
	select {
	case <-c.closed:
		return ErrClosed
	default:
	}
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("simulated TEE: %w", context.Cause(ctx))
	}
	return fmt.Errorf("simulated TEE: %w", err)
}
