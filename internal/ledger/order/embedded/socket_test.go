package embedded

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ordertest"
)

// process is a log with its socket, as `hitoku ledger log` runs it; it can be killed and started.
type process struct {
	folder, socket string
	stop           func()
}

func (p *process) start(t *testing.T) {
	t.Helper()
	l, err := Open(p.folder, options())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, l) }()
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(p.stop)
}

func newProcess(t *testing.T) *process {
	folder := t.TempDir()
	p := &process{folder: folder, socket: filepath.Join(folder, "s")}
	p.start(t)
	return p
}

func (p *process) client(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(t.Context(), &net.Dialer{}, "unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSocketConformance(t *testing.T) {
	t.Parallel()
	ordertest.Run(t, func(t *testing.T) ordertest.Place {
		p := newProcess(t)
		return ordertest.Place{Shared: true, Open: func(t *testing.T) order.Log { return p.client(t) }}
	})
}

func TestReconnect(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	c, waiter := p.client(t), p.client(t)
	if err := c.Submit(t.Context(), ordertest.Submission(1, 0)); err != nil {
		t.Fatal(err)
	}
	woken := make(chan error, 1)
	go func() { woken <- waiter.Wait(t.Context(), 1) }()
	p.stop()
	if err := c.Submit(t.Context(), ordertest.Submission(1, 1)); err == nil {
		t.Fatal("Submit without a log gave no error")
	}
	if _, err := c.Read(t.Context(), 0, 1); err == nil {
		t.Fatal("Read without a log gave no error")
	}
	p.start(t)
	if err := c.Submit(t.Context(), ordertest.Submission(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; err != nil {
		t.Fatalf("a wait over a restart: %v", err)
	}
	ordertest.Collect(t, c, 0, 2)
	// A connection that was idle over a restart must not spoil a reading.
	p.stop()
	p.start(t)
	ordertest.Collect(t, c, 0, 2)
}

func TestExchangedLog(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	c := p.client(t)
	if err := c.Submit(t.Context(), ordertest.Submission(1, 0)); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p.folder = t.TempDir()
	p.start(t)
	if _, err := c.Read(t.Context(), 0, 1); !errors.Is(err, order.ErrReorganised) {
		t.Fatalf("another log at the same socket: %v, ErrReorganised wanted", err)
	}
	if err := c.Wait(t.Context(), 5); !errors.Is(err, order.ErrReorganised) {
		t.Fatalf("another log at the same socket: %v, ErrReorganised wanted", err)
	}
}

// TestLostPositions answers as a log that was rolled back.
func TestLostPositions(t *testing.T) {
	t.Parallel()
	replies := [][]byte{helloReply(fileID{1}, 100), entriesReply([]order.Entry{{Position: 1, Time: 1, Record: []byte("r")}}), entriesReply(nil)}
	c := scripted(t, replies)
	if list, err := c.Read(t.Context(), 0, 10); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if _, err := c.Read(t.Context(), 0, 10); !errors.Is(err, order.ErrReorganised) {
		t.Fatalf("a log that lost its position: %v, ErrReorganised wanted", err)
	}
}

// scripted is a client of a process that answers anything with the given replies, on one connection.
func scripted(t *testing.T, replies [][]byte) *Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		for _, r := range replies {
			if _, err := readMessage(conn, maxRequest); err != nil {
				break
			}
			if err := writeMessage(conn, r); err != nil {
				break
			}
		}
		_ = conn.Close()
		_ = ln.Close()
	}()
	c, err := Dial(t.Context(), &net.Dialer{}, "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestFalseReplies(t *testing.T) {
	t.Parallel()
	entry := func(position, time uint64, record string) order.Entry {
		return order.Entry{Position: position, Time: time, Record: []byte(record)}
	}
	for name, reply := range map[string][]byte{
		"gap":          entriesReply([]order.Entry{entry(1, 1, "a"), entry(3, 1, "b")}),
		"wrong start":  entriesReply([]order.Entry{entry(2, 1, "a")}),
		"time falls":   entriesReply([]order.Entry{entry(1, 2, "a"), entry(2, 1, "b")}),
		"too many":     entriesReply([]order.Entry{entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")}),
		"empty record": entriesReply([]order.Entry{entry(1, 1, "")}),
		"too long":     entriesReply([]order.Entry{entry(1, 1, strings.Repeat("a", 101))}),
		"cut":          entriesReply([]order.Entry{entry(1, 1, "abc")})[:22],
		"other kind":   headReply(1, 1),
		"long error":   append([]byte("x\x00"), bytes.Repeat([]byte{'a'}, maxErrorText+1)...),
	} {
		c := scripted(t, [][]byte{helloReply(fileID{1}, 100), reply})
		if list, err := c.Read(t.Context(), 0, 2); !errors.Is(err, errReply) {
			t.Errorf("%s: %v, %v; errReply wanted", name, list, err)
		}
	}
	c := scripted(t, [][]byte{helloReply(fileID{1}, 100), errorReply(errors.New("no room"))})
	if err := c.Submit(t.Context(), ordertest.Submission(1, 0)); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a refusal: %v", err)
	}
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	hello := request{kind: 'h', version: protoVersion}.bytes()
	for name, requests := range map[string][][]byte{
		"no greeting":   {{'q'}},
		"two greetings": {hello, hello},
		"version":       {{'h', 9}},
		"unknown":       {hello, {'z'}},
		"longer":        {hello, {'q', 0}},
		"no record":     {hello, append([]byte{'s'}, make([]byte, 40)...)},
	} {
		conn, err := net.Dial("unix", p.socket)
		if err != nil {
			t.Fatal(err)
		}
		var reply []byte
		for _, q := range requests {
			if err := writeMessage(conn, q); err != nil {
				t.Fatal(err)
			}
			if reply, err = readMessage(conn, maxReply); err != nil {
				t.Fatal(err)
			}
		}
		if reply[0] != 'x' {
			t.Errorf("%s: %q, an error wanted", name, reply)
		}
		if _, err := readMessage(conn, maxReply); err == nil {
			t.Errorf("%s: the connection goes on", name)
		}
		_ = conn.Close()
	}
	// A message of 4 GiB ends the connection before anything is allocated.
	conn, err := net.Dial("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if _, err := readMessage(conn, maxReply); err == nil {
		t.Error("a message of 4 GiB was answered")
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	if _, err := Listen("unix", p.socket); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("a socket that is in use: %v", err)
	}
	left := filepath.Join(t.TempDir(), "left")
	ln, err := net.Listen("unix", left)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ln.Close()
	ln, err = Listen("unix", left)
	if err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	_ = ln.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix", file); err == nil {
		t.Fatal("a file was taken for a socket")
	}
}
