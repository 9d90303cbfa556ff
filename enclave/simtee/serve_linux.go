package simtee

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Serve listens on a socket in dir, which it makes where it is missing, until
// ctx ends; then it closes all connections and returns the cause of the end.
// Containers get the folder mounted, so that a new socket is seen after a
// restart. Everybody may connect; who is answered is decided by what he runs.
func (s *Server) Serve(ctx context.Context, dir string) error {
	return s.serve(ctx, dir, func() {})
}

// ServeReady is [Server.Serve]; it calls ready once callers may connect.
func (s *Server) ServeReady(ctx context.Context, dir string, ready func()) error {
	return s.serve(ctx, dir, ready)
}

// serve calls listening once callers may connect.
func (s *Server) serve(ctx context.Context, dir string, listening func()) error {
	l, err := listen(dir)
	if err != nil {
		return fmt.Errorf("simulated TEE: %w", err)
	}
	listening()
	ctx, cancel := context.WithCancel(ctx)
	var connections sync.WaitGroup
	defer connections.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !temporary(err) {
				return fmt.Errorf("simulated TEE: %w", err)
			}
			select { // too many files for a moment
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		connections.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			s.serveConnection(ctx, c)
		})
	}
}

const acceptPause = 50 * time.Millisecond

func temporary(err error) bool {
	return errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

func listen(dir string) (*net.UnixListener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, SocketName)
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	raw, err := l.SyscallConn()
	if err != nil {
		l.Close()
		return nil, err
	}
	var passErr error
	err = raw.Control(func(fd uintptr) { passErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err := errors.Join(err, passErr, os.Chmod(path, 0o666)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale removes the socket of a server that is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there and no socket; remove it or choose another folder", path)
	}
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err == nil {
		c.Close()
		return fmt.Errorf("%s is served by another process; stop that node agent or choose another folder", path)
	}
	return os.Remove(path)
}
