package guest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"hitoku.dev/measure/workload"
)

// front terminates TLS with the attested certificate and hands the plain stream
// to the program's port on loopback.
type front struct {
	listen  net.Listener
	forward int
	config  *tls.Config
	owner   func(port int) (portOwner, error)
	log     *Log
	most    int // connections at one time

	mu     sync.Mutex
	last   string // last trouble that was logged, so that a flood is one line
	warned bool   // that the plain port can be reached
}

const (
	maxConnections   = 4096
	acceptPause      = 100 * time.Millisecond // after an error
	handshakeTimeout = 10 * time.Second
	dialTimeout      = 5 * time.Second
)

// refuseHostNetwork returns the refusal for a front in a network that is not the container's own.
func refuseHostNetwork(proc string, fronts []workload.Front) error {
	if len(fronts) == 0 || !hostNetwork(proc) {
		return nil
	}
	return &RefusedError{Refusals: []Refusal{{
		Rule: "front_network", Path: fmt.Sprintf("TLS front on port %d", fronts[0].Listen), Wanted: "a network namespace of the container's own", Seen: "the host's network",
		Advice: "start without --network host: there any program of the machine could take the plain port",
	}}}
}

// openFront listens; certificate is asked at every handshake, so that a renewal
// needs no restart. Tickets are off: every session shows the certificate.
func openFront(ctx context.Context, f workload.Front, certificate func() *tls.Certificate, owner func(int) (portOwner, error), log *Log) (*front, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(f.Listen)))
	if err != nil {
		return nil, fmt.Errorf("TLS front on port %d: %w", f.Listen, err)
	}
	return &front{
		listen: l, forward: f.Forward, owner: owner, log: log, most: maxConnections,
		config: &tls.Config{
			MinVersion:             tls.VersionTLS13,
			SessionTicketsDisabled: true,
			GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(), nil },
		},
	}, nil
}

// serve forwards connections until ctx ends.
func (f *front) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { f.listen.Close() })
	defer stop()
	live := newSessions(f.most)
	var group sync.WaitGroup
	defer group.Wait()
	for {
		conn, err := f.listen.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			f.trouble("accept: " + err.Error()) // no descriptors left, or the peer has gone
			if (SystemClock{}).Wait(ctx, acceptPause) != nil {
				return
			}
			continue
		}
		one, ctx := live.admit(ctx, conn)
		group.Go(func() {
			defer live.leave(one)
			f.handle(ctx, one)
		})
	}
}

// handle serves one connection until it or ctx ends.
func (f *front) handle(ctx context.Context, raw *session) {
	client := tls.Server(raw, f.config)
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	handshake, done := context.WithTimeout(ctx, handshakeTimeout)
	err := client.HandshakeContext(handshake)
	done()
	if err != nil {
		return // scanners and broken clients: nothing of ours
	}
	raw.open.Store(true)
	program, err := f.dial(ctx)
	if err != nil {
		f.trouble(err.Error())
		client.Close()
		return
	}
	defer program.Close()
	defer context.AfterFunc(ctx, func() { program.Close() })()
	f.clear()
	forward(client, program)
}

// dial connects to the program's port and makes sure before and after that the
// same sockets, all of them the program's, listen there.
func (f *front) dial(ctx context.Context) (*net.TCPConn, error) {
	before, err := f.listening(ctx)
	if err != nil {
		return nil, fmt.Errorf("TLS front: nothing is forwarded to port %d: %w", f.forward, err)
	}
	conn, err := dialLoopback(ctx, f.forward)
	if err != nil {
		return nil, fmt.Errorf("TLS front: %w", err)
	}
	after, err := f.owner(f.forward)
	if err == nil && !slices.Equal(before.inodes, after.inodes) {
		err = errors.New("the listening socket has changed meanwhile")
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS front: nothing is forwarded to port %d: %w", f.forward, err)
	}
	f.expose(after)
	return conn, nil
}

// listening waits a little for a program that has not opened its port yet.
func (f *front) listening(ctx context.Context) (portOwner, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		owner, err := f.owner(f.forward)
		if !errors.Is(err, errNotListening) {
			return owner, err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return owner, err
		}
	}
}

// expose says once that there is a way around TLS.
func (f *front) expose(owner portOwner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if owner.exposed && !f.warned {
		f.warned = true
		f.log.Printf("the program's port %d listens on more than loopback: whoever reaches this container's network reaches it without TLS; do not publish it", f.forward)
	}
}

func dialLoopback(ctx context.Context, port int) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	var failed error
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// stream is one side of a forwarded connection.
type stream interface {
	io.ReadWriter
	CloseWrite() error
	SetDeadline(time.Time) error
}

// forward copies both ways. The end of one direction is passed on, the other
// goes on; an error ends both.
func forward(client, program stream) {
	var group sync.WaitGroup
	copyOne := func(to, from stream) {
		if _, err := io.Copy(to, from); err == nil {
			err = to.CloseWrite()
			if err == nil {
				return
			}
		}
		past := time.Unix(1, 0)
		to.SetDeadline(past)
		from.SetDeadline(past)
	}
	group.Go(func() { copyOne(program, client) })
	group.Go(func() { copyOne(client, program) })
	group.Wait()
}

func (f *front) trouble(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text != f.last {
		f.last = text
		f.log.Printf("%s", text)
	}
}

func (f *front) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = ""
}
