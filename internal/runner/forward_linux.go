package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"hitoku.dev/internal/runner/box"
	"hitoku.dev/internal/wire"
)

// forwarder carries connections over the border of a container: to its published
// ports, and from it to the node agent.
type forwarder struct {
	agent     *url.URL
	logf      func(string, ...any)
	published []published

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
	wg    sync.WaitGroup
}

type published struct {
	net.Listener
	port int // of the container
}

// newForwarder opens the published ports, so that a port in use is found before
// anything starts.
func newForwarder(o Options) (*forwarder, error) {
	f := &forwarder{logf: o.logf, conns: map[net.Conn]bool{}}
	text := o.Agent
	if text == "" {
		text = "http://127.0.0.1:9092"
	}
	var err error
	if f.agent, err = parseAgent(text); err != nil {
		return nil, err
	}
	for _, p := range o.Ports {
		m, err := parsePort(p)
		if err != nil {
			f.close()
			return nil, err
		}
		l, err := net.Listen("tcp", net.JoinHostPort(m.ip, strconv.Itoa(m.host)))
		if err != nil {
			f.close()
			if errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("run: port %d of this machine is in use; choose another: -p HOST:%d", m.host, m.container)
			}
			return nil, fmt.Errorf("run: port %s: %w", p, err)
		}
		f.published = append(f.published, published{l, m.container})
	}
	return f, nil
}

func (f *forwarder) addresses() map[int]string {
	out := map[int]string{}
	for _, p := range f.published {
		addr := p.Addr().(*net.TCPAddr)
		host := addr.IP.String()
		if addr.IP.IsUnspecified() {
			host = "127.0.0.1"
		}
		out[p.port] = net.JoinHostPort(host, strconv.Itoa(addr.Port))
	}
	return out
}

func (f *forwarder) serve(b *box.Box) {
	for _, p := range f.published {
		f.accept(p, func(ctx context.Context, c net.Conn) {
			inside, err := b.Dial(ctx, p.port)
			if err != nil {
				reset(c)
				return
			}
			f.join(c, inside)
		})
	}
	if l := b.Agent(); l != nil {
		f.accept(l, f.toAgent)
	}
}

func (f *forwarder) accept(l net.Listener, handle func(context.Context, net.Conn)) {
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EINVAL) {
				return
			}
			if err != nil {
				f.logf("published port %s: %v", l.Addr(), err)
				return
			}
			if !f.track(c) {
				c.Close()
				return
			}
			f.wg.Go(func() {
				defer f.untrack(c)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				handle(ctx, c)
			})
		}
	})
}

func (f *forwarder) track(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.conns[c] = true
	}
	return !f.ended
}

func (f *forwarder) untrack(c net.Conn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
	c.Close()
}

// close ends everything; listeners in the container end with it.
func (f *forwarder) close() {
	f.mu.Lock()
	f.ended = true
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	for _, p := range f.published {
		p.Close()
	}
	f.wg.Wait()
}

// reset refuses a connection as a closed port does.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// join copies both ways until both sides have ended.
func (f *forwarder) join(a, b net.Conn) {
	if !f.track(b) {
		b.Close()
		return
	}
	defer f.untrack(b)
	var wg sync.WaitGroup
	pipe := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if w, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			w.CloseWrite()
			return
		}
		a.Close()
		b.Close()
	}
	wg.Go(func() { pipe(a, b) })
	pipe(b, a)
	wg.Wait()
}

// toAgent carries a workload's connection to the node agent. Without one it
// answers in its place, so that the reason reaches the workload's log.
func (f *forwarder) toAgent(ctx context.Context, c net.Conn) {
	agent, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.agent.Host)
	if err == nil {
		f.join(c, agent)
		return
	}
	f.logf("a workload asks for the node agent: %v", err)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	req, readErr := http.ReadRequest(bufio.NewReader(c))
	if readErr != nil {
		return
	}
	io.Copy(io.Discard, io.LimitReader(req.Body, 1<<20))
	raw, _ := json.Marshal(wire.Error{ // of strings: cannot fail
		Message: fmt.Sprintf("no node agent answers at %s: %v; start one with `hitoku agent`", f.agent, err), Code: "AGENT_UNREACHABLE", Severity: "ERROR",
	})
	fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(raw), raw)
}
