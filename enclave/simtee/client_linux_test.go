package simtee

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/enclavetest"
	"hitoku.dev/enclave/simtee/internal/proto"
)

// inOwnProcess runs a test that makes its process undumpable in a process of its
// own where that matters: without root, such a process cannot start programs in
// user namespaces, which the other tests do. It reports whether the test is done.
func inOwnProcess(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() == 0 || os.Getenv("SIMTEE_TEST_ALONE") != "" {
		return false
	}
	if out := rerun(t, t.Name(), nil, "SIMTEE_TEST_ALONE=1"); !strings.Contains(out, "--- PASS: "+t.Name()) {
		t.Errorf("did not pass:\n%s", out)
	}
	return true
}

// inProcess makes this test process the guest of a stage.
func inProcess(t testing.TB, options ...func(*ServerOptions)) *stage {
	t.Helper()
	s := newStage(t, append(options, func(o *ServerOptions) { o.UserNamespace = UserNamespaceOwn })...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.manifest = s.write("manifest.json", manifestFor(t, self))
	s.sigstruct = ""
	s.sign("sigstruct", nil)
	return s
}

// open connects to a new server of the platform, since one server measures a process once.
func (s *stage) open(t testing.TB, p *Platform) enclave.TEE {
	t.Helper()
	s.server = NewServer(p, ServerOptions{UserNamespace: UserNamespaceOwn})
	dir, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(filepath.Base(dir))
	return s.measured(t)
}

func (s *stage) measured(t testing.TB) *Client {
	t.Helper()
	c, err := Dial(t.Context(), s.socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Measure(t.Context(), read(t, s.manifest), read(t, s.sigstruct)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	t.Parallel()
	if inOwnProcess(t) {
		return
	}
	s := inProcess(t)
	other := newPlatform(t, 3, s.authority)
	enclavetest.Run(t, enclavetest.Driver{
		Open:          func(t testing.TB) enclave.TEE { return s.open(t, s.platform) },
		OpenElsewhere: func(t testing.TB) enclave.TEE { return s.open(t, other) },
		Verify:        func(t testing.TB, b []byte) *attest.Result { return verify(t, b, s.authority) },
		Measurement:   s.measurement[:],
		Signer:        s.mrSigner[:],
		ProdID:        3,
		SVN:           4,
		Purposes:      []attest.Purpose{attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp},
	})
}

// gate is a random source that waits at each challenge but the first two.
type gate struct {
	reads int
	open  chan struct{}
}

func (g *gate) Read(b []byte) (int, error) {
	if g.reads++; g.reads > 2 {
		<-g.open
	}
	return rand.Read(b)
}

func TestClientGivesUpAndGoesOn(t *testing.T) {
	t.Parallel()
	if inOwnProcess(t) {
		return
	}
	g := &gate{open: make(chan struct{}, 8)}
	s := inProcess(t, func(o *ServerOptions) { o.Rand = g })
	open := sync.OnceFunc(func() { close(g.open) })
	t.Cleanup(open) // before the server is waited for
	c := s.measured(t)
	defer c.Close()
	for range 2 { // the second call waits for the reply that the first one is owed
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := c.Evidence(ctx, binding(attest.PurposeApp)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	open()
	b := binding(attest.PurposeATLS)
	raw, err := c.Evidence(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	data := b.ReportData()
	if got := verify(t, raw, s.authority).Claims.ReportData; string(got) != string(data[:]) {
		t.Error("the reply to another request was taken")
	}
}

func TestCloseWhileWaiting(t *testing.T) {
	t.Parallel()
	if inOwnProcess(t) {
		return
	}
	g := &gate{open: make(chan struct{}, 8)}
	s := inProcess(t, func(o *ServerOptions) { o.Rand = g })
	t.Cleanup(func() { close(g.open) }) // before the server is waited for
	c := s.measured(t)
	done := make(chan error)
	go func() {
		_, err := c.Evidence(context.Background(), binding(attest.PurposeApp))
		done <- err
	}()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("evidence after Close")
	}
	if err := c.Close(); err == nil {
		t.Error("closed twice")
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	if inOwnProcess(t) {
		return
	}
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "node agent") {
		t.Errorf("no server: %v", err)
	}
	for name, reply := range map[string]string{
		"hangs up":   "",
		"garbage":    "garbage",
		"version":    `{"version":2}`,
		"unknown":    `{"version":1,"x":1}`,
		"duplicates": `{"version":1,"version":1}`,
		"long":       `{"version":1` + strings.Repeat(" ", proto.MaxReply) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Dial(t.Context(), evilServer(t, reply)); err == nil {
				t.Error("connected")
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := Dial(ctx, evilServer(t, "silence")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// evilServer answers every connection with one packet.
func evilServer(t *testing.T, reply string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "simtee-evil-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if reply == "silence" {
			t.Cleanup(func() { c.Close() })
			return
		}
		if reply != "" {
			c.Write([]byte(reply))
		}
		c.Close()
	}()
	return path
}

// BenchmarkEvidence asks for quotes over the socket, the program hashed twice for each.
func BenchmarkEvidence(b *testing.B) {
	s := newStage(b)
	g := s.start(b, s.genuine)
	g.must("dial", s.socket)
	g.must("measure", s.manifest, s.sigstruct)
	info, err := os.Stat(s.genuine)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if got := g.must("repeat", fmt.Sprint(b.N)); got != "" {
		b.Fatal(got)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "quotes/s")
	b.ReportMetric(float64(info.Size())/(1<<20), "MB_program")
}

func TestLocalReports(t *testing.T) {
	t.Parallel()
	if inOwnProcess(t) {
		return
	}
	s := inProcess(t)
	c := s.measured(t)
	defer c.Close()
	ctx := t.Context()
	report, err := c.Report(ctx, s.platform.TargetInfo(), binding(attest.PurposeApp))
	if err != nil {
		t.Fatal(err)
	}
	quote, err := s.platform.QuoteReport(report)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, quote, s.authority); !r.OK() || string(r.Claims.Measurement) != string(s.measurement[:]) {
		t.Errorf("%s, measurement %x", failed(r), r.Claims.Measurement)
	}
	answer, err := s.platform.AnswerReport(report, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.VerifyReport(ctx, answer); err != nil {
		t.Error(err)
	}
	wantRule(t, "a report for the quoting enclave", "report_mac", c.VerifyReport(ctx, report))
	wantRule(t, "no report", "report_format", c.VerifyReport(ctx, nil))
	_, err = c.Report(ctx, s.platform.TargetInfo(), binding(attest.PurposeNode))
	wantRule(t, "report of the node itself", "purpose", err)
	_, err = c.Report(ctx, nil, binding(attest.PurposeApp))
	wantRule(t, "no target", "target_info", err)
	if _, err := c.Report(ctx, s.platform.TargetInfo(), &attest.Binding{}); err == nil {
		t.Error("a report over nothing stated")
	}
}
