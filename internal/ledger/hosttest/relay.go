// Package hosttest is what a host can do to a ledger, for tests: stand between any two parties,
// write down what they say and cut them off ([Relay]), and look through all that it has for what
// it must not learn ([Secrets]). Nothing outside tests imports it.
//
// A relay hands bytes on as they are; it cannot change what it does not understand. A search
// finds a secret in the forms that its documentation lists, and in no other.
package hosttest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Relay hands TCP connections on to a target.
type Relay struct {
	listener net.Listener
	target   string
	tape     *Tape // nil: nothing is written down
	name     string
	group    sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool // nil after the end
}

// NewRelay listens on a free port of loopback until the test ends. A tape, if there is one, gets
// each side of each connection as a piece of its own.
func NewRelay(tb testing.TB, name, target string, tape *Tape) *Relay {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &Relay{listener: l, target: target, tape: tape, name: name, conns: map[net.Conn]bool{}}
	r.group.Go(r.accept)
	tb.Cleanup(r.close)
	return r
}

// Address is where others connect to instead of the target.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Cut ends all connections and, until it is undone, those that begin.
func (r *Relay) Cut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	if cut {
		r.endAll()
	}
}

// Break ends all connections; new ones are handed on.
func (r *Relay) Break() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endAll()
}

func (r *Relay) endAll() {
	for c := range r.conns {
		_ = c.Close() // that is the aim
	}
}

func (r *Relay) close() {
	_ = r.listener.Close() // ends accept
	r.mu.Lock()
	r.endAll()
	r.conns = nil
	r.mu.Unlock()
	r.group.Wait()
}

func (r *Relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.group.Go(func() { r.hand(in) })
	}
}

func (r *Relay) hand(in net.Conn) {
	defer in.Close()
	if !r.hold(in) {
		return
	}
	defer r.forget(in)
	out, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer out.Close()
	if !r.hold(out) {
		return
	}
	defer r.forget(out)
	var both sync.WaitGroup
	both.Go(func() { r.pipe(out, in, r.name+": said") })
	both.Go(func() { r.pipe(in, out, r.name+": answered") })
	both.Wait()
}

func (r *Relay) pipe(to, from net.Conn, name string) {
	var source io.Reader = from
	if r.tape != nil {
		source = io.TeeReader(from, r.tape.Piece(name))
	}
	_, _ = io.Copy(to, source) // the connection's end, however it comes
	if t, ok := to.(*net.TCPConn); ok {
		_ = t.CloseWrite() // it may be closed already
	}
}

func (r *Relay) hold(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil || r.cut {
		return false
	}
	r.conns[c] = true
	return true
}

func (r *Relay) forget(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}
