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
	"syscall"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/measure/workload"
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
		`{}`: "op", `{"op":"verify_report"}`: "another program", `{"op":"verify_report","user":"AA=="}`: "does not belong",
		`{"op":"evidence","report":"AA=="}`: "does not belong", `{"op":"evidence","target_info":"AA=="}`: "does not belong",
		`{"op":"report","report":"AA=="}`: "does not belong", strings.Replace(string(line), "evidence", "report", 1): "target of 0 bytes",
		`{"op":"report","target_info":"AA=="}`: "32", `{"op":"sign","user":"","nonce":""}`: "op", `{"op":"evidence","purpose":"app-tls"}`: "unknown field", `x`: "request",
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

func TestAppSocketReports(t *testing.T) {
	t.Parallel()
	rw := serveAppTest(t, newFakeTEE(t), true)
	user, nonce, target := make([]byte, 32), make([]byte, 32), make([]byte, 512)
	user[0], nonce[0], target[0] = 7, 9, 5
	line, err := json.Marshal(appRequest{Op: "report", User: user, Nonce: nonce, Target: target})
	must(t, err)
	r := ask(t, rw, string(line))
	b, err := attest.ParseBinding(r.Binding)
	must(t, err)
	if data := b.ReportData(); b.Purpose != attest.PurposeApp || b.Subject[0] != 7 || len(r.Report) != 432 || string(r.Report[320:384]) != string(data[:]) || r.Evidence != nil {
		t.Errorf("binding %+v, reply %+v", b, r)
	}
	line, err = json.Marshal(appRequest{Op: "verify_report", Report: r.Report})
	must(t, err)
	if r := ask(t, rw, string(line)); !r.Verified || r.Error != "" {
		t.Errorf("%+v", r)
	}
	line, err = json.Marshal(appRequest{Op: "verify_report", Report: make([]byte, 432)})
	must(t, err)
	if r := ask(t, rw, string(line)); r.Verified || !strings.Contains(r.Error, "another program") {
		t.Errorf("%+v", r)
	}
}

func TestAppSocketSealKey(t *testing.T) {
	t.Parallel()
	key := func(t *testing.T, s *appServer, label byte) string {
		t.Helper()
		k, err := s.sealKey(t.Context(), append(make([]byte, 31), label))
		must(t, err)
		if len(k) != 32 {
			t.Errorf("key of %d bytes", len(k))
		}
		return string(k)
	}
	tee := newFakeTEE(t)
	base := &appServer{tee: tee}
	seen := map[string]string{key(t, base, 0): "base"}
	if seen[key(t, base, 0)] != "base" {
		t.Error("the same request gives another key")
	}
	for name, k := range map[string]string{
		"other label":   key(t, base, 1),
		"other account": key(t, &appServer{tee: tee, accountRoot: [32]byte{1}}, 0),
		"other input":   key(t, &appServer{tee: tee, hostInput: [32]byte{1}}, 0),
	} {
		if seen[k] != "" {
			t.Errorf("%s: the key of %s", name, seen[k])
		}
		seen[k] = name
	}
	rw := serveAppTest(t, tee, true)
	label := strings.Repeat("A", 43) + "="
	if r := ask(t, rw, `{"op":"seal_key","label":"`+label+`"}`); len(r.Key) != 32 || r.Error != "" {
		t.Errorf("%+v", r)
	}
	for line, want := range map[string]string{
		`{"op":"seal_key"}`: "0 bytes", `{"op":"seal_key","label":"AA=="}`: "1 bytes", `{"op":"seal_key","label":"` + label + `","user":"AA=="}`: "does not belong",
		`{"op":"evidence","label":"AA=="}`: "does not belong", `{"op":"report","label":"AA=="}`: "does not belong", `{"op":"verify_report","label":"AA=="}`: "does not belong",
	} {
		if r := ask(t, rw, line); !strings.Contains(r.Error, want) || r.Key != nil {
			t.Errorf("%s: %+v, wanted %q", line, r, want)
		}
	}
}

func TestHostInput(t *testing.T) {
	t.Parallel()
	m := &workload.Manifest{Env: workload.Env{Allowed: []string{"A"}, Mutable: []string{"B=1"}, Fixed: []string{"C=2"}}}
	base := hostInput(m, &launch{args: []string{"p", "x"}, env: []string{"A=0", "B=1", "C=2"}})
	for name, c := range map[string]struct {
		l    launch
		same bool
	}{
		"order":          {launch{args: []string{"p", "x"}, env: []string{"C=2", "B=1", "A=0"}}, true},
		"name of host":   {launch{args: []string{"p", "x"}, env: []string{"A=0", "B=1", "HOSTNAME=h"}}, true},
		"argument":       {launch{args: []string{"p", "y"}, env: []string{"A=0", "B=1"}}, false},
		"split argument": {launch{args: []string{"px"}, env: []string{"A=0", "B=1"}}, false},
		"allowed":        {launch{args: []string{"p", "x"}, env: []string{"A=1", "B=1"}}, false},
		"not given":      {launch{args: []string{"p", "x"}, env: []string{"B=1"}}, false},
		"mutable":        {launch{args: []string{"p", "x"}, env: []string{"A=0", "B=2"}}, false},
		"moved":          {launch{args: []string{"p", "x", "A=0"}, env: []string{"B=1"}}, false},
	} {
		if got := hostInput(m, &c.l); (got == base) != c.same {
			t.Errorf("%s: same %v, wanted %v", name, got == base, c.same)
		}
	}
}

// brokenListener fails once before it works.
type brokenListener struct {
	net.Listener
	failed bool
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if !l.failed {
		l.failed = true
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

func TestAppSocketOutlivesAnAcceptError(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("/tmp", "g")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	l, err := listenApp(t.Context(), root)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s := &appServer{tee: newFakeTEE(t), log: NewLog(&logLines{}), allowed: func(int) bool { return true }}
	done := make(chan struct{})
	go func() { s.serve(ctx, &brokenListener{Listener: l}); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	conn, err := net.Dial("unix", root+appSocket)
	must(t, err)
	defer conn.Close()
	rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	if r := ask(t, rw, `{}`); !strings.Contains(r.Error, "op") {
		t.Errorf("%+v", r)
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
	f.Add([]byte(`{"op":"report","user":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","target_info":"AA=="}`))
	f.Add([]byte(`{"op":"verify_report","report":"AA=="}`))
	s := &appServer{}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseAppRequest(line)
		if err != nil {
			return
		}
		if b, err := s.binding(r); err == nil && b.Purpose != attest.PurposeApp {
			t.Errorf("purpose %s", b.Purpose)
		}
	})
}
