package agent

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/wire"
)

const (
	// nonceAge is how long a nonce is kept for the next workload; it is good for ten
	// minutes from the moment it was made.
	nonceAge = time.Minute
	// nonceSoon is the pause between two calls for nonces below which the next one asks for more.
	nonceSoon = time.Second
	maxNonces = 32
)

// nonces are those that the manager gave beside the one that was needed. While workloads ask
// often, each call to the manager brings twice as many as the last; else it brings one.
type nonces struct {
	mu    sync.Mutex
	kept  [][]byte
	count int       // asked for last
	at    time.Time // when that was
}

// take returns a kept nonce, or how many to ask for.
func (n *nonces) take(now time.Time) (value []byte, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	age := now.Sub(n.at)
	if age < 0 || age >= nonceAge {
		n.kept = nil
	}
	if last := len(n.kept) - 1; last >= 0 {
		value, n.kept = n.kept[last], n.kept[:last]
		return value, 0
	}
	if age < 0 || age >= nonceSoon {
		n.count = 0
	}
	n.count, n.at = max(1, min(2*n.count, maxNonces)), now
	return nil, n.count
}

func (n *nonces) keep(more [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kept = more // those of another call at the same time are not missed
}

// workloadNonce returns a nonce for a workload, which nobody else gets.
func (a *Agent) workloadNonce(ctx context.Context, c *managerClient, nodeID string) ([]byte, error) {
	value, count := c.nonces.take(a.o.Now())
	if value != nil {
		return value, nil
	}
	value, more, err := c.askNonces(ctx, nodeID, attest.PurposeAppTLS, count)
	if err == nil {
		c.nonces.keep(more)
	}
	return value, err
}

// nonce asks the manager for a single-use nonce.
func (c *managerClient) nonce(ctx context.Context, nodeID string, p attest.Purpose) ([]byte, error) {
	value, _, err := c.askNonces(ctx, nodeID, p, 1)
	return value, err
}

func (c *managerClient) askNonces(ctx context.Context, nodeID string, p attest.Purpose, count int) (first []byte, more [][]byte, err error) {
	request := wire.NonceRequest{Purpose: string(p)}
	if count > 1 {
		request.Count = count
	}
	var reply wire.NonceReply
	if err := c.call(ctx, http.MethodPost, "/v1/nodes/"+nodeID+"/nonces", request, &reply); err != nil {
		return nil, nil, err
	}
	if len(reply.More) >= max(1, count) {
		return nil, nil, fmt.Errorf("manager: %d nonces came, wanted at most %d", len(reply.More)+1, count)
	}
	for _, n := range append(reply.More, reply.Nonce) {
		if len(n) != attest.NonceSize {
			return nil, nil, fmt.Errorf("manager: the nonce has %d bytes, wanted %d", len(n), attest.NonceSize)
		}
	}
	return reply.Nonce, reply.More, nil
}
