package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// Answer is an application's to a question.
type Answer struct {
	Result   json.RawMessage
	Position uint64 // committed state that was asked
	Time     time.Time
}

// Query asks an application; only the account's own eyes see the answer. With fresh, more than half of the
// executors have to vouch that the state is the newest. A refusal is a [*RefusedError].
func (c *Client) Query(ctx context.Context, account Signer, call Call, fresh bool) (Answer, error) {
	mode := wire.ModeLocal
	if fresh {
		mode = wire.ModeFresh
	}
	q := wire.Query{Kind: wire.KindQuery, Application: call.Application, Name: call.Name, Arguments: call.Arguments}
	body, err := c.ask(ctx, account, "/api/v1/state/query", q, mode)
	if err != nil {
		return Answer{}, err
	}
	return Answer{notEmpty(body.Results[0].Outcome.Result), body.Position, time.Unix(int64(body.Time), 0)}, nil
}

// Counter is the highest number that the account has used in an application.
func (c *Client) Counter(ctx context.Context, account Signer, application string) (uint64, error) {
	body, err := c.ask(ctx, account, "/api/v1/user_counter", wire.Query{Kind: wire.KindCounter, Application: application}, wire.ModeLocal)
	if err != nil {
		return 0, err
	}
	var v struct {
		Counter *uint64 `json:"user_counter"`
	}
	if err := json.Unmarshal(body.Results[0].Outcome.Result, &v); err != nil || v.Counter == nil {
		return 0, fmt.Errorf("%w: no counter in %.80q", ErrAnswer, body.Results[0].Outcome.Result)
	}
	return *v.Counter, nil
}

// Lookup asks what became of a command of the account; known is false when no node that was asked knows it.
func (c *Client) Lookup(ctx context.Context, account Signer, application string, command [32]byte) (o Outcome, known bool, err error) {
	body, err := c.ask(ctx, account, "/api/v1/state/query", wire.Query{Kind: wire.KindOutcome, Application: application, Arguments: command[:]}, wire.ModeLocal)
	if err != nil {
		return Outcome{}, false, err
	}
	x := body.Results[0]
	return outcomeOf(x), x.Status == wire.StatusCommitted, nil
}

// ask asks one sealed and signed question, again with more room where the answer did not fit.
func (c *Client) ask(ctx context.Context, account Signer, path string, q wire.Query, mode uint8) (body wire.ReplyBody, err error) {
	for _, bucket := range []int{8 << 10, largeReply} {
		if body, err = c.askOnce(ctx, account, path, q, mode, bucket); err != nil {
			return body, err
		}
		if body.Results[0].Outcome.Code != ledger.CodeTooLarge || body.Results[0].Count > 0 {
			break
		}
	}
	switch x := body.Results[0]; {
	case x.Status == wire.StatusRefused:
		return body, &RefusedError{Code: x.Outcome.Code, Message: x.Outcome.Message}
	case q.Kind == wire.KindOutcome && (x.Status == wire.StatusPending || x.Status == wire.StatusCommitted && x.Position <= body.Position):
		return body, nil
	case q.Kind == wire.KindOutcome || x.Status != wire.StatusAnswer || x.Outcome.Code != 0:
		return body, fmt.Errorf("%w: status %d, code %d for a question of kind %d", ErrAnswer, x.Status, x.Outcome.Code, q.Kind)
	}
	return body, nil
}

func (c *Client) askOnce(ctx context.Context, account Signer, path string, q wire.Query, mode uint8, bucket int) (body wire.ReplyBody, err error) {
	err = c.each(ctx, func(ctx context.Context, s *session) error {
		body, err = c.askNode(ctx, s, account, path, q, mode, bucket)
		return err
	})
	return body, err
}

// askNode asks one node. The question has an id of its own, which a node takes once.
func (c *Client) askNode(ctx context.Context, s *session, account Signer, path string, q wire.Query, mode uint8, bucket int) (wire.ReplyBody, error) {
	q.Ledger, q.Scheme, q.Key, q.NotAfter = c.o.Ledger, account.Scheme(), account.PublicKey(), uint64(c.o.Now().Add(queryLife).Unix())
	if _, err := io.ReadFull(c.o.Random, q.ID[:]); err != nil {
		return wire.ReplyBody{}, fmt.Errorf("query: randomness: %w", err)
	}
	signature, err := account.Sign(q.Message())
	if err != nil {
		return wire.ReplyBody{}, fmt.Errorf("sign the question: %w", err)
	}
	sealed, err := c.seal(s, wire.RequestQuery, mode, bucket, wire.Signed{Body: q.Encode(), Signature: signature}.Encode())
	if err != nil {
		return wire.ReplyBody{}, err
	}
	var reply queryReply
	if _, err := c.call(ctx, s.http, http.MethodPost, s.url, path, stateRequest{sealed.raw}, &reply, maxAnswer); err != nil {
		return wire.ReplyBody{}, err
	}
	return c.open(sealed, reply.Reply)
}
