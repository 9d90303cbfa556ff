package app

import (
	"bufio"
	"context"
	"encoding/base64"
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

func TestReports(t *testing.T) {
	t.Parallel()
	report := base64.StdEncoding.EncodeToString(make([]byte, 432))
	for name, c := range map[string]struct {
		reply, get, verify string // wanted errors
	}{
		"report":   {`{"report":"` + report + `","binding":"Ag=="}`, "", "without a verdict"},
		"verified": {`{"verified":true}`, "without a report", ""},
		"refused":  {`{"error":"report_mac"}`, "report_mac", "report_mac"},
		"short":    {`{"report":"AAAA","binding":"Ag=="}`, "without a report", "without a verdict"},
		"unstated": {`{"report":"` + report + `"}`, "without a report", "without a verdict"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := GetReport(t.Context(), guest(t, c.reply+"\n"), make([]byte, 512), [32]byte{}, make([]byte, 32))
			if (err == nil) != (c.get == "") || err != nil && !strings.Contains(err.Error(), c.get) {
				t.Errorf("get: %v, wanted %q", err, c.get)
			}
			err = VerifyReport(t.Context(), guest(t, c.reply+"\n"), make([]byte, 432))
			if (err == nil) != (c.verify == "") || err != nil && !strings.Contains(err.Error(), c.verify) {
				t.Errorf("verify: %v, wanted %q", err, c.verify)
			}
		})
	}
}

func TestSealKey(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for reply, want := range map[string]string{`{"key":"` + key + `"}`: "", `{"key":"AAAA"}`: "3 bytes", `{"error":"seal_svn"}`: "seal_svn"} {
		got, err := SealKey(t.Context(), guest(t, reply+"\n"), [32]byte{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || err == nil && len(got) != 32 {
			t.Errorf("%s: %x, %v, wanted %q", reply, got, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"evidence":"AQ==","binding":"Ag=="}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if r, err := decode(line); err == nil && r.Error != "" {
			t.Error("a refusal is no error")
		}
	})
}
