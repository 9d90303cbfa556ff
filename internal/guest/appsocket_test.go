package guest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"

	"hitoku.dev/attest"
)

func serveAppTest(t *testing.T, tee *fakeTEE, allowed bool) *bufio.ReadWriter {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "g") // socket paths are short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	l, err := listenApp(t.Context(), root)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s := &appServer{tee: tee, accountRoot: [32]byte{1}, log: NewLog(&logLines{}), allowed: func(pid int) bool { return allowed && pid == os.Getpid() }}
	done := make(chan struct{})
	go func() { s.serve(ctx, l); close(done) }()
	conn, err := net.Dial("unix", root+appSocket)
	must(t, err)
	t.Cleanup(func() { conn.Close(); cancel(); <-done })
	return bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
}

func ask(t *testing.T, rw *bufio.ReadWriter, line string) appReply {
	t.Helper()
	rw.WriteString(line + "\n")
	must(t, rw.Flush())
	data, err := rw.ReadBytes('\n')
	must(t, err)
	var r appReply
	must(t, json.Unmarshal(data, &r))
	return r
}

func TestAppSocket(t *testing.T) {
	t.Parallel()
	tee := newFakeTEE(t)
	rw := serveAppTest(t, tee, true)
	user, nonce := make([]byte, 32), make([]byte, 32)
	user[0], nonce[0] = 7, 9
	line, err := json.Marshal(appRequest{Op: "evidence", User: user, Nonce: nonce})
	must(t, err)
	for range 2 {
		r := ask(t, rw, string(line))
		b, err := attest.ParseBinding(r.Binding)
		must(t, err)
		if b.Purpose != attest.PurposeApp || b.Subject[0] != 7 || b.Nonce[0] != 9 || b.AccountRoot != [32]byte{1} || b.ConfigID != nil {
			t.Errorf("binding %+v", b)
		}
		data := b.ReportData()
		digest := sha256.Sum256(data[:])
		if !ecdsa.VerifyASN1(&tee.key.PublicKey, digest[:], r.Evidence) {
			t.Error("evidence does not verify")
		}
	}
	for line, want := range map[string]string{
		`{}`: "op", `{"op":"sign","user":"","nonce":""}`: "op", `{"op":"evidence","purpose":"app-tls"}`: "unknown field", `x`: "request",
		`{"op":"evidence","user":"AA==","nonce":"AA=="}`: "32", `{"op":"evidence"} {"op":"evidence"}`: "more than one object",
		strings.Replace(string(line), `"nonce":"`, `"nonce":"AAAA`, 1): "nonce",
	} {
		if r := ask(t, rw, line); !strings.Contains(r.Error, want) || r.Evidence != nil {
			t.Errorf("%s: reply %+v, wanted %q", line, r, want)
		}
	}
	if r := ask(t, rw, strings.Repeat("x", maxAppRequest+1)); !strings.Contains(r.Error, "more than") {
		t.Errorf("long line: %+v", r)
	}
}

func TestAppSocketAnswersOnlyTheProgram(t *testing.T) {
	t.Parallel()
	rw := serveAppTest(t, newFakeTEE(t), false)
	data, err := rw.ReadBytes('\n')
	if err != nil || !strings.Contains(string(data), "only the measured program") {
		t.Errorf("%q, %v", data, err)
	}
}

func FuzzAppRequest(f *testing.F) {
	f.Add([]byte(`{"op":"evidence","user":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`))
	f.Add([]byte(`{"op":"x"}`))
	s := &appServer{}
	f.Fuzz(func(t *testing.T, line []byte) {
		if b, err := s.binding(line); err == nil && b.Purpose != attest.PurposeApp {
			t.Errorf("purpose %s", b.Purpose)
		}
	})
}
