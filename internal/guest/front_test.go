package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hitoku.dev/measure/workload"
)

// frontRig is a front before a program that runs in this process.
type frontRig struct {
	*office
	address string
	owner   atomic.Pointer[func(int) (portOwner, error)]
	cert    atomic.Pointer[tls.Certificate]
	roots   *x509.CertPool
	stop    context.CancelFunc
	done    chan struct{}
}

func newFrontRig(t *testing.T, program func(net.Conn)) *frontRig {
	t.Helper()
	return newSmallFrontRig(t, maxConnections, program)
}

// newSmallFrontRig admits so many connections at one time.
func newSmallFrontRig(t *testing.T, most int, program func(net.Conn)) *frontRig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); program(conn) }()
		}
	}()
	r := &frontRig{office: newOffice(t), roots: x509.NewCertPool(), done: make(chan struct{})}
	r.roots.AddCert(r.agent.ca.root)
	r.renew(t)
	r.own(nil)
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	f, err := openFront(ctx, workload.Front{Listen: 0, Forward: l.Addr().(*net.TCPAddr).Port}, r.cert.Load,
		func(port int) (portOwner, error) { return (*r.owner.Load())(port) }, r.log)
	must(t, err)
	f.most = most
	_, port, err := net.SplitHostPort(f.listen.Addr().String())
	must(t, err)
	r.address = net.JoinHostPort("127.0.0.1", port)
	go func() { f.serve(ctx); close(r.done) }()
	t.Cleanup(func() { stop(); <-r.done; l.Close() })
	return r
}

func (r *frontRig) renew(t *testing.T) {
	t.Helper()
	got, err := r.obtain(t.Context(), ecCertificate())
	must(t, err)
	r.cert.Store(got.tls())
}

func (r *frontRig) own(err error) {
	f := func(int) (portOwner, error) { return portOwner{inodes: []uint64{1}}, err }
	r.owner.Store(&f)
}

func (r *frontRig) dial(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.roots, ServerName: "www.example", Time: r.clock.Now, NextProtos: []string{"h2", "http/1.1"}})
	must(t, err)
	return conn
}

func echo(c net.Conn) { io.Copy(c, c) }

func TestFrontForwards(t *testing.T) {
	t.Parallel()
	r := newFrontRig(t, echo)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			conn := r.dial(t)
			defer conn.Close()
			sent := make([]byte, 1<<20)
			rand.Read(sent)
			go func() {
				conn.Write(sent)
				conn.CloseWrite() // the program sees the end and answers it
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes back, %v", len(got), err)
			}
		})
	}
	group.Wait()
}

func TestFrontShowsTheRenewedCertificate(t *testing.T) {
	t.Parallel()
	r := newFrontRig(t, echo)
	open := r.dial(t)
	defer open.Close()
	r.renew(t)
	next := r.dial(t)
	defer next.Close()
	if next.ConnectionState().PeerCertificates[0].Equal(open.ConnectionState().PeerCertificates[0]) {
		t.Error("the old certificate is shown")
	}
	if s := next.ConnectionState(); s.Version != tls.VersionTLS13 || s.DidResume || s.NegotiatedProtocol != "" {
		t.Errorf("state %+v", s)
	}
	if _, err := open.Write([]byte("x")); err != nil {
		t.Errorf("an open connection ends at a renewal: %v", err)
	}
}

func TestFrontProgramSpeaksFirstAndEnds(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 1)
	r := newFrontRig(t, func(c net.Conn) {
		io.WriteString(c, "hello")
		c.(*net.TCPConn).CloseWrite()
		text, _ := io.ReadAll(c)
		heard <- string(text)
	})
	conn := r.dial(t)
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	io.WriteString(conn, "still open this way")
	conn.CloseWrite()
	if got := <-heard; got != "still open this way" {
		t.Errorf("the program heard %q", got)
	}
}

func TestFrontRefuses(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{}, 16)
	secret := func(c net.Conn) {
		if n, _ := io.ReadFull(c, make([]byte, 1)); n > 0 {
			reached <- struct{}{}
		}
	}
	t.Run("a squatted port", func(t *testing.T) {
		t.Parallel()
		r := newFrontRig(t, secret)
		r.own(errors.New("the listening socket belongs to user 7"))
		for range 3 {
			conn := r.dial(t)
			conn.Write([]byte("secret"))
			if got, _ := io.ReadAll(conn); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		}
		if log := r.lines.String(); strings.Count(log, "belongs to user 7") != 1 {
			t.Errorf("log %q", log)
		}
	})
	t.Run("a port squatted in between", func(t *testing.T) {
		t.Parallel()
		r := newFrontRig(t, secret)
		inode := uint64(0)
		f := func(int) (portOwner, error) { inode++; return portOwner{inodes: []uint64{inode}}, nil }
		r.owner.Store(&f)
		conn := r.dial(t)
		conn.Write([]byte("secret"))
		io.ReadAll(conn)
		if log := r.lines.String(); !strings.Contains(log, "changed meanwhile") {
			t.Errorf("log %q", log)
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		t.Parallel()
		r := newFrontRig(t, secret)
		if _, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.roots, ServerName: "www.example", Time: r.clock.Now, MaxVersion: tls.VersionTLS12}); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("plain text", func(t *testing.T) {
		t.Parallel()
		r := newFrontRig(t, secret)
		conn, err := net.Dial("tcp", r.address)
		must(t, err)
		io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
		got, _ := io.ReadAll(conn)
		if bytes.Contains(got, []byte("HTTP")) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("the host's network", func(t *testing.T) {
		t.Parallel()
		proc := t.TempDir()
		fronts := []workload.Front{{Listen: 8443, Forward: 5000}}
		must(t, refuseHostNetwork(proc, fronts))
		write(t, proc+"/sys/net/core/netdev_max_backlog", "1000", 0o644)
		must(t, refuseHostNetwork(proc, nil))
		if got := refusedAs(t, refuseHostNetwork(proc, fronts)); len(got) != 1 {
			t.Errorf("refused %q", got)
		}
	})
	t.Cleanup(func() {
		select {
		case <-reached:
			t.Error("a squatter received a byte")
		default:
		}
	})
}

func TestFrontStops(t *testing.T) {
	t.Parallel()
	r := newFrontRig(t, echo)
	conn := r.dial(t)
	r.stop()
	<-r.done // waits for every connection's goroutines
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the connection is left open")
	}
}

func BenchmarkFront(b *testing.B) {
	pipe := func() (stream, stream) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		must(b, err)
		s, err := l.Accept()
		must(b, err)
		return c.(*net.TCPConn), s.(*net.TCPConn)
	}
	client, front := pipe()
	program, sink := pipe()
	go forward(front, program)
	go io.Copy(io.Discard, sink)
	data := make([]byte, 64<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := client.Write(data); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFrontIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	r := newSmallFrontRig(t, 2, echo)
	talk := func(c net.Conn) error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	busy := r.dial(t)
	defer busy.Close()
	must(t, talk(busy))
	for range 3 { // those that do nothing keep nobody out
		idle := r.dial(t)
		defer idle.Close()
		must(t, talk(idle))
		must(t, talk(busy))
	}
	last := r.dial(t)
	defer last.Close()
	must(t, talk(last))
	must(t, talk(busy))
	next := r.dial(t)
	defer next.Close()
	must(t, talk(next))
	if err := talk(last); err == nil {
		t.Error("the connection that was idle longest was kept")
	}
}
