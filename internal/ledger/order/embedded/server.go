package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/order"
)

const (
	maxConnections = 256
	// longestWait is after how many seconds a wait is answered even if there is nothing, so that dead connections end.
	longestWait = 20 * time.Second
	// longestWrite bounds how long a client may take to accept a reply.
	longestWrite = 30 * time.Second
)

// Listen listens on a socket: network "unix" and a path, or "tcp" and host:port. A unix socket that a killed
// process left behind, on which nobody answers, is removed first; the new one has mode 0600 where
// the system knows modes of sockets.
func Listen(network, address string) (net.Listener, error) {
	if network == "unix" {
		if info, err := os.Lstat(address); err == nil && info.Mode()&os.ModeSocket != 0 {
			if conn, err := net.DialTimeout(network, address, time.Second); err == nil {
				return nil, errors.Join(fmt.Errorf("embedded: another process answers on %s; stop it or choose another path", address), conn.Close())
			}
			if err := os.Remove(address); err != nil {
				return nil, fmt.Errorf("embedded: remove the socket that was left behind: %w", err)
			}
		}
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("embedded: listen: %w", err)
	}
	if network == "unix" {
		if err := os.Chmod(address, 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("embedded: %w", err), ln.Close())
		}
	}
	return ln, nil
}

// Serve answers on a listener until the context ends or the listener fails. Whoever can
// connect may read and write: a unix socket's folder, or loopback, is the only guard that this needs,
// since the log is not trusted and records protect themselves. It closes the listener and all
// connections before it returns, not the log.
func Serve(ctx context.Context, ln net.Listener, l *Log) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer func() { _ = ln.Close() }()
	room := make(chan struct{}, maxConnections)
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("embedded: accept on %s: %w", ln.Addr(), err)
		}
		select {
		case room <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			defer func() { _ = conn.Close() }()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			serve(ctx, conn, l)
		})
	}
}

// serve answers one connection until it ends; what is malformed ends it.
func serve(ctx context.Context, conn net.Conn, l *Log) {
	r := bufio.NewReader(conn)
	greeted := false
	for {
		b, err := readMessage(r, maxRequest)
		if err != nil {
			return
		}
		q, err := parseRequest(b)
		if err == nil && (q.kind == 'h') == greeted {
			err = errRequest
		}
		if err == nil && q.kind == 'h' && q.version != protoVersion {
			err = fmt.Errorf("embedded: version %d of the socket's protocol, %d wanted", q.version, protoVersion)
		}
		var reply []byte
		if err == nil {
			greeted = true
			reply = answer(ctx, l, q)
		} else {
			reply = errorReply(err)
		}
		if conn.SetWriteDeadline(time.Now().Add(longestWrite)) != nil || writeMessage(conn, reply) != nil || err != nil {
			return
		}
	}
}

func answer(ctx context.Context, l *Log, q request) []byte {
	var err error
	switch q.kind {
	case 'h':
		return helloReply(l.id, l.maxRecord)
	case 's':
		if err = l.Submit(ctx, q.submission); err == nil {
			return []byte{'k'}
		}
	case 'r':
		var list []order.Entry
		if list, err = l.Read(ctx, q.after, int(min(q.limit, maxPage))); err == nil {
			return entriesReply(list)
		}
	case 'w':
		waiting, cancel := context.WithTimeout(ctx, longestWait)
		defer cancel()
		if err = l.Wait(waiting, q.after); err == nil || errors.Is(err, context.DeadlineExceeded) {
			return []byte{'k'}
		}
	case 'q':
		var position, time uint64
		if position, time, err = l.Head(ctx); err == nil {
			return headReply(position, time)
		}
	}
	return errorReply(err)
}
