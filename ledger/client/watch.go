package client

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// maxEvent is the longest line of a stream, in bytes.
const maxEvent = 256 << 10

// Notice is what an application tells an account once a command is committed.
type Notice struct {
	Position uint64
	Index    uint32 // of the command in its position
	Payload  json.RawMessage
}

// Stream is an account's notifications at one node. It may not be used by several goroutines at once.
type Stream struct {
	c       *Client
	s       *session
	app     string
	account [32]byte
	key     *keys.HPKEKey
	id      string
	last    string // id of the last event
	body    io.ReadCloser
	lines   *bufio.Scanner
	stop    context.CancelFunc
}

// Watch registers for an account's notifications of an application. Each is sealed to a key that only this
// stream has. The node keeps the newest of them for a while; a node that restarts forgets the stream.
func (c *Client) Watch(ctx context.Context, account Signer, application string) (*Stream, error) {
	var out *Stream
	err := c.each(ctx, func(ctx context.Context, s *session) error {
		key, err := keys.NewHPKE(s.history.Genesis().Suite, c.o.Random)
		if err != nil {
			return err
		}
		q := wire.Query{Kind: wire.KindRegister, Application: application, Arguments: key.Public()}
		body, err := c.askNode(ctx, s, account, "/api/v1/register_notification", q, wire.ModeLocal, 8<<10)
		if err != nil {
			return err
		}
		x := body.Results[0]
		if x.Status != wire.StatusAnswer {
			return &RefusedError{Code: x.Outcome.Code, Message: x.Outcome.Message}
		}
		var v struct {
			Stream string `json:"stream"`
		}
		if err := json.Unmarshal(x.Outcome.Result, &v); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		if id, err := hex.DecodeString(v.Stream); err != nil || len(id) != 16 {
			return fmt.Errorf("%w: stream %.80q", ErrAnswer, v.Stream)
		}
		out = &Stream{c: c, s: s, app: application, account: wire.AccountID(account.Scheme(), account.PublicKey()), key: key, id: v.Stream}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Next waits for the next notification. A connection that breaks is made again, without losing any. The error
// is ErrStream when the node has forgotten the stream, and ErrAnswer for what does not open.
func (w *Stream) Next(ctx context.Context) (Notice, error) {
	for {
		if w.body == nil {
			if err := w.connect(ctx); err != nil {
				return Notice{}, err
			}
		}
		data, err := w.event(ctx)
		if err == nil {
			return w.open(data)
		}
		w.Close()
		if ctx.Err() != nil {
			return Notice{}, ctx.Err()
		}
		if !errors.Is(err, io.EOF) {
			pause(ctx, w.c.o.Retry)
		}
	}
}

// Close ends the connection; Next makes it again.
func (w *Stream) Close() {
	if w.body != nil {
		w.stop()
		_ = w.body.Close() // what was not read is asked for again
		w.body = nil
	}
}

// connect makes the connection, which outlives the call.
func (w *Stream) connect(caller context.Context) error {
	ctx, stop := context.WithCancel(context.WithoutCancel(caller))
	defer context.AfterFunc(caller, stop)()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.s.url+"/api/v1/notifications/"+w.id, nil)
	if err != nil {
		stop()
		return err
	}
	if w.last != "" {
		req.Header.Set("Last-Event-ID", w.last)
	}
	res, err := w.s.http.Do(req)
	if err != nil {
		stop()
		return fmt.Errorf("%w: %w", ErrStream, err)
	}
	if res.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer)) // what there is of a reason
		_ = res.Body.Close()                                      // it was refused anyway
		stop()
		return fmt.Errorf("%w: %w", ErrStream, nodeError(w.s.url, res.StatusCode, raw))
	}
	w.body, w.stop, w.lines = res.Body, stop, bufio.NewScanner(res.Body)
	w.lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	return nil
}

// event reads one event's data.
func (w *Stream) event(ctx context.Context) (string, error) {
	defer context.AfterFunc(ctx, w.stop)()
	var id, data string
	for w.lines.Scan() {
		switch name, value, _ := strings.Cut(w.lines.Text(), ":"); {
		case name == "id":
			id = strings.TrimPrefix(value, " ")
		case name == "data":
			data = strings.TrimPrefix(value, " ")
		case w.lines.Text() == "" && data != "":
			w.last = id
			return data, nil
		}
	}
	if err := w.lines.Err(); err != nil {
		return "", err
	}
	return "", io.EOF
}

func (w *Stream) open(data string) (Notice, error) {
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return Notice{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	sealed, err := wire.ParseSealedNotice(raw)
	if err != nil {
		return Notice{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	n, err := keys.OpenNotice(w.key, w.c.o.Ledger, w.account, sealed)
	if err != nil {
		return Notice{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if n.Application != w.app {
		return Notice{}, fmt.Errorf("%w: a notification of %q", ErrAnswer, n.Application)
	}
	return Notice{n.Position, n.Index, n.Payload}, nil
}
