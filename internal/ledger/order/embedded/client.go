package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/order"
)

const (
	// maxIdle is how many connections are kept for later calls.
	maxIdle = 8
	// answerWithin bounds a call on the socket; a wait may take longestWait more.
	answerWithin = 60 * time.Second
	// pause is how long a wait rests before it connects again.
	pause = 200 * time.Millisecond
)

// Dialer makes connections; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Client is a log in another process, reached through its socket; it implements order.Log.
// It connects when it is used, and again after a connection broke: reading is repeated once, waiting
// as long as the context lasts, a submission never, since it may have been taken. A log that
// was exchanged for another, or that has lost positions, gives order.ErrReorganised.
type Client struct {
	dialer           Dialer
	network, address string
	stop             context.Context
	cancel           context.CancelFunc
	maxRecord        int

	mu   sync.Mutex
	idle []net.Conn
	id   *fileID // of the log, from the first greeting
	head uint64  // the highest position seen
	time uint64  // at head
}

// Dial returns a client for a socket: network "unix" and a path, or "tcp" and host:port. It connects
// once, to learn the log's id and its longest record.
func Dial(ctx context.Context, d Dialer, network, address string) (*Client, error) {
	c := &Client{dialer: d, network: network, address: address}
	c.stop, c.cancel = context.WithCancel(context.Background())
	conn, err := c.connect(ctx)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.put(conn)
	return c, nil
}

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	conn, err := c.dialer.DialContext(ctx, c.network, c.address)
	if err != nil {
		return nil, fmt.Errorf("embedded: reach the log at %s: %w; is its process running?", c.address, err)
	}
	b, err := c.roundTrip(ctx, conn, request{kind: 'h', version: protoVersion}, 'h')
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	id, maxRecord, err := parseHello(b)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == nil {
		c.id, c.maxRecord = &id, maxRecord
	}
	if *c.id != id || c.maxRecord != maxRecord {
		return nil, errors.Join(fmt.Errorf("%w: at %s is log %x now, it was %x", order.ErrReorganised, c.address, id, *c.id), conn.Close())
	}
	return conn, nil
}

// roundTrip sends one request and reads its reply; the context ends it. After an error that is
// no refusal the connection is of no more use.
func (c *Client) roundTrip(ctx context.Context, conn net.Conn, q request, kind byte) ([]byte, error) {
	deadline := time.Now().Add(answerWithin)
	if q.kind == 'w' {
		deadline = deadline.Add(longestWait)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	past := func() { _ = conn.SetDeadline(time.Unix(1, 0)) }
	stop, stopClose := context.AfterFunc(ctx, past), context.AfterFunc(c.stop, past)
	defer stop()
	defer stopClose()
	err := writeMessage(conn, q.bytes())
	var b []byte
	if err == nil {
		b, err = readMessage(conn, maxReply)
	}
	if err != nil {
		switch {
		case c.stop.Err() != nil:
			return nil, order.ErrClosed
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("embedded: the log at %s: %w", c.address, err)
	}
	return parseReply(b, kind)
}

func (c *Client) get() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return conn
	}
	return nil
}

func (c *Client) put(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop.Err() == nil && len(c.idle) < maxIdle {
		c.idle = append(c.idle, conn)
		return
	}
	_ = conn.Close()
}

// drop closes all connections that wait: when one broke, the others did too.
func (c *Client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.idle {
		_ = conn.Close()
	}
	c.idle = nil
}

// call sends a request on a connection that is there or on a new one; again says whether the request
// may be repeated on a new connection.
func (c *Client) call(ctx context.Context, q request, kind byte, again bool) ([]byte, error) {
	for {
		if c.stop.Err() != nil {
			return nil, order.ErrClosed
		}
		conn := c.get()
		fresh := conn == nil
		if fresh {
			var err error
			if conn, err = c.connect(ctx); err != nil {
				return nil, err
			}
		}
		b, err := c.roundTrip(ctx, conn, q, kind)
		var no refusal
		if err == nil || errors.As(err, &no) {
			c.put(conn)
			return b, err
		}
		_ = conn.Close()
		c.drop()
		if fresh || !again || ctx.Err() != nil || errors.Is(err, errReply) {
			return nil, err
		}
	}
}

// Submit returns nil when the record lies on the log's disk.
func (c *Client) Submit(ctx context.Context, s order.Submission) error {
	if c.stop.Err() != nil {
		return order.ErrClosed
	}
	if len(s.Record) == 0 {
		return errors.New("embedded: the record is empty")
	}
	if n := c.MaxRecord(); len(s.Record) > n {
		return fmt.Errorf("%w: %d bytes, at most %d are taken", order.ErrTooLarge, len(s.Record), n)
	}
	_, err := c.call(ctx, request{kind: 's', submission: s}, 'k', false)
	return err
}

// Read returns entries after a position, in pages of at most 4096.
func (c *Client) Read(ctx context.Context, after uint64, limit int) ([]order.Entry, error) {
	if c.stop.Err() != nil {
		return nil, order.ErrClosed
	}
	if limit <= 0 {
		return nil, nil
	}
	limit = min(limit, maxPage)
	b, err := c.call(ctx, request{kind: 'r', after: after, limit: uint32(limit)}, 'e', true)
	if err != nil {
		return nil, err
	}
	list, err := parseEntries(b, after, limit, c.MaxRecord())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(list) == 0 {
		if after < c.head {
			return nil, c.lost(after)
		}
		return nil, nil
	}
	if last := list[len(list)-1]; last.Position > c.head {
		c.head, c.time = last.Position, last.Time
	}
	return list, nil
}

func (c *Client) lost(now uint64) error {
	return fmt.Errorf("%w: the log at %s ends at position %d, it had %d", order.ErrReorganised, c.address, now, c.head)
}

// Wait returns nil when there may be an entry after a position; it outlives a log that is restarted.
func (c *Client) Wait(ctx context.Context, after uint64) error {
	for {
		_, err := c.call(ctx, request{kind: 'w', after: after}, 'k', true)
		var no refusal
		if err == nil || errors.Is(err, order.ErrReorganised) || errors.Is(err, order.ErrClosed) || errors.Is(err, errReply) || (errors.As(err, &no) && no.code != codeClosed) {
			return err
		}
		rest := time.NewTimer(pause)
		select {
		case <-rest.C:
		case <-c.stop.Done():
		case <-ctx.Done():
		}
		rest.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Head returns the last position and its time.
func (c *Client) Head(ctx context.Context) (position, time uint64, err error) {
	b, err := c.call(ctx, request{kind: 'q'}, 'q', true)
	if err != nil {
		return 0, 0, err
	}
	position, time, err = parseHead(b)
	if err != nil {
		return 0, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if position < c.head {
		// Another call may have seen a longer log since; then this is the older answer, no loss.
		return c.head, c.time, nil
	}
	c.head, c.time = position, time
	return position, time, nil
}

// Proof returns nil: an operator's word has no proof.
func (c *Client) Proof(context.Context) ([]byte, error) { return nil, nil }

// Assurance is "operator".
func (c *Client) Assurance() order.Assurance { return order.AssuranceOperator }

// MaxRecord is the longest record in bytes.
func (c *Client) MaxRecord() int { return c.maxRecord }

// Close ends the client and all its calls.
func (c *Client) Close() error {
	c.cancel()
	c.drop()
	return nil
}
