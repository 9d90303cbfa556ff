package guest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// sessions bounds the connections that a front holds. There is no limit to how
// long a connection may be silent, since programs keep connections to databases
// and wait on web sockets for hours. But when there are as many as allowed, the
// one that has moved no byte for longest makes room for the next, so that
// nobody keeps others out with connections that do nothing. Where more than a
// quarter are in their handshakes, one of these makes room: a flood of
// connections that never finish them ends no other.
type sessions struct {
	most  int
	moves atomic.Uint64 // counts reads and writes of all connections

	mu   sync.Mutex
	live map[*session]struct{}
}

// session is a connection that remembers when it last moved a byte.
type session struct {
	net.Conn
	moves *atomic.Uint64
	last  atomic.Uint64 // value of moves then
	open  atomic.Bool   // the handshake is over
	end   context.CancelFunc
}

func newSessions(most int) *sessions {
	return &sessions{most: most, live: map[*session]struct{}{}}
}

// admit takes a connection in, whose context ends when it must make room, or on leave.
func (s *sessions) admit(ctx context.Context, conn net.Conn) (*session, context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	one := &session{Conn: conn, moves: &s.moves, end: cancel}
	one.moved()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) >= s.most {
		s.leaveLocked(s.idlest())
	}
	s.live[one] = struct{}{}
	return one, ctx
}

// idlest is the connection that makes room.
func (s *sessions) idlest() *session {
	var open, shaking *session
	handshakes := 0
	for one := range s.live {
		of := &open
		if !one.open.Load() {
			of, handshakes = &shaking, handshakes+1
		}
		if *of == nil || one.last.Load() < (*of).last.Load() {
			*of = one
		}
	}
	if open == nil || handshakes > s.most/4 {
		return shaking
	}
	return open
}

// leave forgets a connection and closes it.
func (s *sessions) leave(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked(one)
}

func (s *sessions) leaveLocked(one *session) {
	delete(s.live, one)
	one.end()
	one.Close()
}

func (s *session) moved() { s.last.Store(s.moves.Add(1)) }

// Read implements net.Conn.
func (s *session) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.moved()
	}
	return n, err
}

// Write implements net.Conn.
func (s *session) Write(b []byte) (int, error) {
	// Before, not after: who has received the bytes may count on it that they have been counted.
	s.moved()
	return s.Conn.Write(b)
}
