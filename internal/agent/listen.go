package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	maxConns    = 512
	bridgeWatch = 10 * time.Second
)

// DefaultBridges are the interfaces on which container engines put their host side.
func DefaultBridges() []string { return []string{"docker0", "podman0", "cni-podman0"} }

// listen opens the sockets that were asked for, and those bridges that exist.
func (a *Agent) listen(ctx context.Context) ([]net.Listener, error) {
	var ls []net.Listener
	for _, addr := range a.o.Listen {
		l, err := a.listenOn(ctx, addr)
		if err != nil {
			closeAll(ls)
			return nil, err
		}
		ls = append(ls, l)
	}
	if len(ls) == 0 && len(a.o.Bridges) == 0 {
		return nil, errors.New("agent: no address to listen on; pass --listen 127.0.0.1:9092")
	}
	return ls, nil
}

func (a *Agent) listenOn(ctx context.Context, addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("agent: address to listen on %q: wanted HOST:PORT", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		a.warn(fmt.Sprintf("listening on every interface (%s): the interface is plain HTTP and meant for this machine's workloads; use loopback and the container bridge", net.JoinHostPort(host, port)))
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("agent: %s is in use, perhaps by another node agent (see `hitoku agent status`); stop it or pass another --listen", addr)
	case err != nil:
		return nil, fmt.Errorf("agent: %w", err)
	}
	a.status.listening(l.Addr().String())
	a.o.Log.Info("listening", "address", l.Addr().String())
	return l, nil
}

func (a *Agent) warn(text string) {
	a.status.warn(text)
	a.o.Log.Warn(text)
}

// serveHTTP serves on ls, and on the bridges as they appear, until ctx ends.
func (a *Agent) serveHTTP(ctx context.Context, ls []net.Listener) error {
	srv := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      issueTimeout + 20*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	slots := make(chan struct{}, maxConns)
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	serve := func(l net.Listener) {
		wg.Go(func() {
			if err := srv.Serve(&limitListener{Listener: l, slots: slots}); !errors.Is(err, http.ErrServerClosed) {
				select {
				case errs <- fmt.Errorf("agent: %s: %w", l.Addr(), err):
				default:
				}
			}
		})
	}
	for _, l := range ls {
		serve(l)
	}
	wg.Go(func() { a.watchBridges(ctx, serve) })
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-errs:
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		srv.Close()
	}
	if ctx.Err() != nil {
		wg.Wait()
	}
	return err
}

// watchBridges listens on each bridge once it has an address. An address that is
// taken away and given back keeps its socket.
func (a *Agent) watchBridges(ctx context.Context, serve func(net.Listener)) {
	done := map[string]bool{}
	for {
		for _, name := range a.o.Bridges {
			ip := interfaceAddress(name)
			if ip == "" || done[ip] {
				continue
			}
			done[ip] = true
			l, err := a.listenOn(ctx, net.JoinHostPort(ip, fmt.Sprint(DefaultPort)))
			if err != nil {
				a.warn(fmt.Sprintf("bridge %s is not served: %v", name, err))
				continue
			}
			serve(l)
		}
		if len(a.o.Bridges) == 0 || sleep(ctx, bridgeWatch) != nil {
			return
		}
	}
}

// interfaceAddress is the first IPv4 address of an interface, empty for none.
func interfaceAddress(name string) string {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return ""
	}
	addrs, err := ifc.Addrs()
	if err != nil {
		return ""
	}
	for _, addr := range addrs {
		if n, ok := addr.(*net.IPNet); ok && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return ""
}

// limitListener closes new connections while all slots are taken.
type limitListener struct {
	net.Listener
	slots chan struct{}
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &limitConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			// Turned away at once rather than queued, so that slow clients cannot hold up the rest.
			c.Close()
		}
	}
}

type limitConn struct {
	net.Conn
	free func()
}

func (c *limitConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
