package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// guest answers every connection's first line with reply.
func guest(t *testing.T, reply string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(conn).ReadString('\n')
			io.WriteString(conn, reply)
			if reply != "" {
				conn.Close()
			}
		}
	}()
	return name
}

// The guest's own tests run a program that calls Get against the real socket.
func TestGet(t *testing.T) {
	t.Parallel()
	nonce := make([]byte, 32)
	for name, c := range map[string]struct {
		reply, want string
	}{
		"evidence":         {`{"evidence":"AQ==","binding":"Ag=="}` + "\n", ""},
		"refused":          {`{"error":"only the measured program is answered here"}` + "\n", "only the measured program"},
		"not JSON":         {"x\n", "reply"},
		"without evidence": {"{}\n", "without evidence"},
		"cut off":          {"{\n", "reply"},
		"too long":         {strings.Repeat("x", maxReply+1), "no reply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Get(t.Context(), guest(t, c.reply), [32]byte{}, nonce)
			switch {
			case c.want == "":
				if err != nil || string(got.Quote) != "\x01" || string(got.Binding) != "\x02" {
					t.Errorf("%+v, %v", got, err)
				}
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("error %v, wanted %q", err, c.want)
			}
			if name == "refused" && !errors.Is(err, ErrRefused) {
				t.Errorf("%v is not ErrRefused", err)
			}
		})
	}
	if _, err := Get(t.Context(), filepath.Join(t.TempDir(), "none"), [32]byte{}, nonce); err == nil {
		t.Error("no socket, no error")
	}
	if _, err := Get(t.Context(), "unused", [32]byte{}, nonce[1:]); err == nil || !strings.Contains(err.Error(), "31 bytes") {
		t.Errorf("short nonce: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	socket := guest(t, "")
	go cancel()
	if _, err := Get(ctx, socket, [32]byte{}, nonce); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"evidence":"AQ==","binding":"Ag=="}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, err := decode(line); err == nil && (len(e.Quote) == 0 || len(e.Binding) == 0) {
			t.Error("empty evidence accepted")
		}
	})
}
