package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// largeReply is the padded size that every result of one command fits into.
const largeReply = 128 << 10

var errNoRoom = errors.New("the outcomes do not fit into the reply")

// maxPoll is how long a node is asked to wait at once.
const maxPoll = 20 * time.Second

// replyBucket is the padded size for the outcomes of some commands, most of which are short.
func replyBucket(commands int) int {
	return max(wire.Bucket(commands<<10, wire.MaxReply/4), 4<<10)
}

// Ticket stands for commands that a node has taken.
type Ticket struct {
	c        *Client
	commands []Command
	bucket   int // padded size of the reply
	s        *session
	q        *sealed
	id       string
}

type stateRequest struct {
	Request []byte `json:"request"`
}

type ticketReply struct {
	Ticket string `json:"ticket"`
	Ready  bool   `json:"ready"`
	Reply  []byte `json:"reply"`
}

type queryReply struct {
	Reply []byte `json:"reply"`
}

// Submit hands commands over to the first node that takes them, as one batch. It does not wait.
func (c *Client) Submit(ctx context.Context, commands ...Command) (*Ticket, error) {
	if len(commands) == 0 || len(commands) > wire.MaxBatch {
		return nil, fmt.Errorf("%w: %d commands, wanted 1 to %d", ErrTooLarge, len(commands), wire.MaxBatch)
	}
	t := &Ticket{c: c, commands: slices.Clone(commands), bucket: replyBucket(len(commands))}
	if err := t.submit(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Ticket) submit(ctx context.Context) error {
	items := make([][]byte, 0, len(t.commands))
	for _, x := range t.commands {
		items = append(items, x.Signed)
	}
	return t.c.each(ctx, func(ctx context.Context, s *session) error {
		q, err := t.c.seal(s, wire.RequestCommands, wire.ModeLocal, t.bucket, items...)
		if errors.Is(err, keys.ErrTooLarge) {
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		if err != nil {
			return err
		}
		var reply ticketReply
		if _, err := t.c.call(ctx, s.http, http.MethodPost, s.url, "/api/v1/state", stateRequest{q.raw}, &reply, maxAnswer); err != nil {
			return err
		}
		if id, err := hex.DecodeString(reply.Ticket); err != nil || len(id) != 32 {
			return fmt.Errorf("%w: ticket %.80q", ErrAnswer, reply.Ticket)
		}
		t.s, t.q, t.id = s, q, reply.Ticket
		return nil
	})
}

// Wait waits until all commands are committed or refused, and returns what became of each. When the node
// fails, it hands the same commands over to another one. When ctx ends, the error is ErrPending.
func (t *Ticket) Wait(ctx context.Context) ([]Outcome, error) {
	for {
		out, err := t.poll(ctx)
		if err == nil && out != nil {
			return out, nil
		}
		for err != nil && ctx.Err() == nil {
			// The node does not answer, or not as it should: hand over again, to whoever takes it.
			again := t.submit(ctx)
			if again == nil {
				break
			}
			if hopeless(again) {
				return nil, fmt.Errorf("%w: %w", ErrPending, errors.Join(err, again))
			}
			err = again
			pause(ctx, t.c.o.Retry)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrPending, errors.Join(ctx.Err(), err))
		}
		if err != nil {
			pause(ctx, t.c.o.Retry)
		}
	}
}

// poll asks for the reply, and waits a while; nil without an error means not yet.
func (t *Ticket) poll(ctx context.Context) ([]Outcome, error) {
	wait := min(maxPoll, t.c.o.Patience/2)
	var reply ticketReply
	path := fmt.Sprintf("/api/v1/tickets/%s?wait=%d", t.id, int(wait/time.Second))
	if _, err := t.c.call(ctx, t.s.http, http.MethodGet, t.s.url, path, nil, &reply, maxAnswer); err != nil {
		return nil, err
	}
	if reply.Reply == nil {
		return nil, nil
	}
	body, err := t.c.open(t.q, reply.Reply)
	if err != nil {
		return nil, err
	}
	out := make([]Outcome, len(body.Results))
	for i, x := range body.Results {
		switch {
		case x.Status == wire.StatusPending:
			return nil, nil
		case x.Status != wire.StatusCommitted && x.Status != wire.StatusRejected, x.Status == wire.StatusCommitted && x.Position > body.Position:
			return nil, fmt.Errorf("%w: result %d has status %d and position %d of %d", ErrAnswer, i, x.Status, x.Position, body.Position)
		}
		if cut := x.Status == wire.StatusCommitted && x.Outcome.Code == ledger.CodeTooLarge && x.Count == 0; cut && t.bucket < wire.MaxReply {
			// The outcomes are known and did not fit: the same commands again, with more room for the reply.
			t.bucket = wire.MaxReply
			return nil, errNoRoom
		}
		out[i] = outcomeOf(x)
	}
	return out, nil
}

// Send hands commands over and waits for what becomes of them. It may be called again with the same ones.
func (c *Client) Send(ctx context.Context, commands ...Command) ([]Outcome, error) {
	t, err := c.Submit(ctx, commands...)
	if err != nil {
		return nil, err
	}
	return t.Wait(ctx)
}

// hopeless says whether no node will ever take a request: each failed in a way that lasts.
func hopeless(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return false
	}
	for _, e := range joined.Unwrap() {
		var n *NodeError
		lasting := errors.Is(e, ErrUnverified) || errors.Is(e, ErrFork) || errors.Is(e, ErrAnswer) || errors.Is(e, ErrTooLarge) || errors.As(e, &n) && n.lasting()
		if !lasting {
			return false
		}
	}
	return true
}

// pause waits.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
