package ledgerdemo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

// wiretap is what a host can do with every connection: it stands between two parties,
// hands on what they say, and writes it down: one file for each side of each connection,
// so that nothing is torn apart.
type wiretap struct {
	listener net.Listener
	target   string
	file     string // what the files' names begin with

	captured atomic.Int64 // bytes
	wg       sync.WaitGroup
	mu       sync.Mutex
	number   int
	conns    map[net.Conn]bool // nil after close
}

// tap listens on a free port of loopback for connections to a target, host:port.
func tap(target, file string) (*wiretap, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wiretap{listener: ln, target: target, file: file, conns: map[net.Conn]bool{}}
	w.wg.Go(w.accept)
	return w, nil
}

// address is where the parties connect to instead of the target.
func (w *wiretap) address() string { return w.listener.Addr().String() }

func (w *wiretap) accept() {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.wg.Go(func() { w.relay(in) })
	}
}

func (w *wiretap) relay(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer out.Close()
	number, ok := w.hold(in, out)
	if !ok {
		return
	}
	defer w.forget(in, out)
	var both sync.WaitGroup
	for side, pair := range map[string][2]net.Conn{"said": {out, in}, "answered": {in, out}} {
		f, err := os.OpenFile(fmt.Sprintf("%s-%d-%s", w.file, number, side), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil { // what cannot be written down is not handed on either
			_, _ = in.Close(), out.Close()
			break
		}
		both.Go(func() {
			_, _ = io.Copy(pair[0], io.TeeReader(pair[1], &counted{f, &w.captured}))
			halfClose(pair[0])
			_ = f.Close()
		})
	}
	both.Wait()
}

// counted is a file whose bytes are counted.
type counted struct {
	file  *os.File
	bytes *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.file.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

func halfClose(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

// hold remembers connections until they end, and gives them a number.
func (w *wiretap) hold(conns ...net.Conn) (number int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		return 0, false
	}
	for _, c := range conns {
		w.conns[c] = true
	}
	w.number++
	return w.number, true
}

func (w *wiretap) forget(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.conns, c)
	}
}

// close ends all connections.
func (w *wiretap) close() {
	_ = w.listener.Close()
	w.mu.Lock()
	for c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
	w.mu.Unlock()
	w.wg.Wait()
}

// find returns the names of those patterns that a reader contains.
func find(ctx context.Context, r io.Reader, patterns map[string][]byte) (map[string]bool, error) {
	longest := 0
	for _, p := range patterns {
		longest = max(longest, len(p))
	}
	found := map[string]bool{}
	buf := make([]byte, longest, 1<<20)
	buf = buf[:0]
	for ctx.Err() == nil {
		keep := min(len(buf), max(longest-1, 0))
		copy(buf, buf[len(buf)-keep:])
		n, err := r.Read(buf[keep:cap(buf)])
		buf = buf[:keep+n]
		for name, p := range patterns {
			if !found[name] && bytes.Contains(buf, p) {
				found[name] = true
			}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
	}
	return found, ctx.Err()
}
