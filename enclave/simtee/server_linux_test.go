package simtee

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/internal/proto"
	"hitoku.dev/measure/sgx"
)

func TestHonestGuest(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	g := s.start(t, s.genuine)
	g.must("dial", s.socket)
	g.must("measure", s.manifest, s.sigstruct)
	for _, purpose := range []attest.Purpose{attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp} {
		quote := fromHex(t, g.must("evidence", string(purpose)))
		r := verify(t, quote, s.authority)
		if !r.OK() {
			t.Fatal(failed(r))
		}
		b := attest.Binding{Purpose: purpose, Nonce: bytes.Repeat([]byte{7}, attest.NonceSize)}
		data, c := b.ReportData(), r.Claims
		switch {
		case !bytes.Equal(c.ReportData, data[:]):
			t.Errorf("%s: report data %x", purpose, c.ReportData)
		case !bytes.Equal(c.Measurement, s.measurement[:]), !bytes.Equal(c.Signer, s.mrSigner[:]), c.ProdID != 3, c.SVN != 4, c.Debug:
			t.Errorf("%s: identity %+v", purpose, c)
		case c.PlatformID != s.platform.ID():
			t.Errorf("%s: platform %s", purpose, c.PlatformID)
		}
	}
	// The guest may ask again after a refusal: it is genuine.
	g.refused("purpose", "evidence", "node")
	key := fromHex(t, g.must("seal", "m", "4"))
	want := mustSeal(t, s.platform, identity{measurement: s.measurement, signer: s.mrSigner, prodID: 3, svn: 4}, sealRequest(false, 4))
	if !bytes.Equal(key, want) {
		t.Errorf("sealing key %x, wanted %x", key, want)
	}
	g.must("seal", "s", "0")
	g.refused("seal_svn", "seal", "m", "5")
	g.must("evidence", "app")
	if log := s.log.String(); strings.Count(log, "refused") != 2 || !strings.Contains(log, "rule=purpose") || !strings.Contains(log, fmt.Sprintf("pid=%d", g.pid())) {
		t.Errorf("log:\n%s", log)
	}
}

func TestMeasureRules(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	other := s.write("other.json", bytes.Replace(manifestFor(t, s.genuine), []byte(`"/"`), []byte(`"/x"`), 1))
	evilGuest := s.write("evil.json", manifestFor(t, s.evil))
	noGuest := s.write("none.json", []byte(`{"schema":1}`))
	noProduct := s.sign("noproduct", func(p *sgx.Params) { p.ISVProdID = 0 })
	attributes := func(name string, flags, mask uint64) string {
		return s.sign(name, func(p *sgx.Params) {
			p.Attributes, p.AttributesMask = sgx.Attributes{Flags: flags, XFRM: 3}, sgx.Attributes{Flags: mask, XFRM: 3}
		})
	}
	all := ^uint64(0)
	for _, c := range []struct{ name, program, manifest, sigstruct, rule string }{
		{"another program", s.evil, s.manifest, s.sigstruct, "guest_digest"},
		{"manifest of another program", s.genuine, evilGuest, s.sigstruct, "guest_digest"},
		{"another manifest", s.genuine, other, s.sigstruct, "sigstruct_enclave_hash"},
		{"manifest without guest", s.genuine, noGuest, s.sigstruct, "manifest_format"},
		{"no SIGSTRUCT", s.genuine, s.manifest, s.manifest, "sigstruct_format"},
		{"debug", s.genuine, s.manifest, attributes("d", dcap.FlagMode64|dcap.FlagDebug, all), "sigstruct_debug"},
		{"debug not compared", s.genuine, s.manifest, attributes("dm", dcap.FlagMode64, all&^dcap.FlagDebug), "sigstruct_debug"},
		{"provision key", s.genuine, s.manifest, attributes("p", dcap.FlagMode64|dcap.FlagProvisionKey, all), "sigstruct_attributes"},
		{"32-bit", s.genuine, s.manifest, attributes("32", 0, all), "sigstruct_attributes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := s.start(t, c.program)
			a.must("dial", s.socket)
			a.refused(c.rule, "measure", c.manifest, c.sigstruct)
			a.fails("evidence", "app")
			// Refused is not measured: the same process may come again with the right bytes.
			a.must("dial", s.socket)
			if c.program == s.genuine {
				a.must("measure", s.manifest, s.sigstruct)
			}
		})
	}
	t.Run("product id 0", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.genuine)
		a.must("dial", s.socket)
		a.must("measure", s.manifest, noProduct)
		a.must("seal", "m", "4")
		a.refused("seal_product_id", "seal", "s", "4")
	})
	t.Run("order", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.genuine)
		a.must("dial", s.socket)
		a.refused("measured", "evidence", "app")
		a.must("dial", s.socket)
		a.refused("measured", "seal", "m", "0")
		a.must("dial", s.socket)
		a.must("measure", s.manifest, s.sigstruct)
		a.refused("measured_once", "measure", s.manifest, s.sigstruct)
	})
	t.Run("second connection", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.genuine)
		a.must("connect", s.socket)
		a.must("receive")
		a.refused("one_connection", "dial", s.socket)
		a.must("hang-up")
		b := s.start(t, s.genuine)
		b.must("dial", s.socket)
		b.must("measure", s.manifest, s.sigstruct)
		b.must("close")
		b.refused("one_connection", "dial", s.socket)
	})
}

func TestNewServerMeasuresAnew(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	g := s.start(t, s.genuine)
	g.must("dial", s.socket)
	g.must("measure", s.manifest, s.sigstruct)
	s.server = NewServer(s.platform, ServerOptions{}) // a node agent that was started again
	s.serve("again")
	g.must("dial", s.socket)
	g.must("measure", s.manifest, s.sigstruct)
	g.must("evidence", "app")
}

func TestNotProvisioned(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.server = NewServer(newPlatform(t, 5, nil), ServerOptions{})
	s.serve("bare")
	g := s.start(t, s.genuine)
	g.must("dial", s.socket)
	g.must("measure", s.manifest, s.sigstruct)
	g.refused("provisioned", "evidence", "app")
	g.must("seal", "m", "0")
}

// TestFlipEveryByte flips each byte of SIGSTRUCT, manifest and guest. The first
// two go through the judgement itself, some of each through the socket.
func TestFlipEveryByte(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	manifest, sigstruct := manifestFor(t, s.genuine), read(t, s.sigstruct)
	guest := fileDigest(t, s.genuine)
	try := func(manifest, sigstruct []byte, running string) string {
		scanner := new(manifestScanner)
		scanner.Write(manifest)
		named, err := scanner.digest()
		if err != nil {
			return "manifest_format"
		}
		if _, err = launch(sha256.Sum256(manifest), named, running, sigstruct); err == nil {
			return ""
		}
		return err.(*RefusedError).Rule
	}
	if rule := try(manifest, sigstruct, guest); rule != "" {
		t.Fatal(rule)
	}
	start, end := bytes.Index(manifest, []byte(guest)), bytes.Index(manifest, []byte(guest))+64
	for i := range manifest {
		bad := bytes.Clone(manifest)
		bad[i] ^= 1
		rule := try(bad, sigstruct, guest)
		if rule != "manifest_format" && rule != "sigstruct_enclave_hash" && (rule != "guest_digest" || i < start || i >= end) {
			t.Errorf("manifest byte %d: rule %q", i, rule)
		}
	}
	for i := range sigstruct {
		bad := bytes.Clone(sigstruct)
		bad[i] ^= 1
		if rule := try(manifest, bad, guest); rule != "sigstruct_format" && rule != "sigstruct_signature" {
			t.Errorf("SIGSTRUCT byte %d: rule %q", i, rule)
		}
	}
	program := read(t, s.genuine)
	for _, at := range []int{8, len(program) / 2, len(program) - 1} { // bytes with which it still runs
		bad := bytes.Clone(program)
		bad[at] ^= 1
		if at == len(program)/2 {
			bad = append(bytes.Clone(program), 0)
		}
		a := s.start(t, install(t, filepath.Join(s.dir, fmt.Sprintf("flipped-%d", at)), bad))
		a.must("dial", s.socket)
		a.refused("guest_digest", "measure", s.manifest, s.sigstruct)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, c := range []struct {
		name, rule string
		command    []string
	}{
		{"not JSON", "message", []string{"send", "ff"}},
		{"empty object", "message", []string{"send", "7b7d"}},
		{"a large packet", "message", []string{"send", strings.Repeat("20", proto.MaxRequest+1)}},
		{"a file too many", "message", []string{"send-files", "1"}},
		{"files", "message", []string{"send-files", "200"}},
		{"unsealed", "manifest_seals", []string{"send-measure", s.manifest, s.sigstruct, "unsealed"}},
		{"may grow", "manifest_seals", []string{"send-measure", s.manifest, s.sigstruct, "growing"}},
		{"old mappings may write", "manifest_seals", []string{"send-measure", s.manifest, s.sigstruct, "future"}},
		{"seals may be added", "manifest_seals", []string{"send-measure", s.manifest, s.sigstruct, "unsealable"}},
		{"a file on disk", "manifest_seals", []string{"send-measure", s.manifest, s.sigstruct, "file"}},
		{"a pipe", "manifest_seals", []string{"send-measure", s.manifest, s.sigstruct, "pipe"}},
		{"no manifest", "manifest_file", []string{"send-measure", s.manifest, s.sigstruct, "none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := s.start(t, s.genuine)
			a.must("connect", s.socket)
			a.must("receive")
			a.must(c.command...)
			a.refused(c.rule, "receive")
			a.fails("receive") // the connection has ended
		})
	}
	t.Run("out of turn", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.genuine)
		a.must("connect", s.socket)
		a.must("send-measure", s.manifest, s.sigstruct, "sealed") // the challenge is not known yet
		a.must("receive")
		a.refused("challenge", "receive")
	})
	t.Run("honest after it", func(t *testing.T) {
		a := s.start(t, s.genuine)
		a.must("connect", s.socket)
		a.must("receive")
		a.must("send-measure", s.manifest, s.sigstruct, "sealed")
		a.must("receive")
		a.must("send-evidence", "app")
		if a.must("receive") == "" {
			t.Error("no evidence")
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(o *ServerOptions) { o.MaxConnections = 2 })
	one, two, three := s.start(t, s.genuine), s.start(t, s.genuine), s.start(t, s.genuine)
	one.must("dial", s.socket)
	two.must("dial", s.socket)
	three.refused("connections", "dial", s.socket)
	one.must("measure", s.manifest, s.sigstruct)
}

func TestTimeLimit(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(o *ServerOptions) { o.MeasureTimeout = 300 * time.Millisecond })
	idle, g := s.start(t, s.genuine), s.start(t, s.genuine)
	g.must("dial", s.socket)
	g.must("measure", s.manifest, s.sigstruct)
	idle.must("connect", s.socket)
	idle.must("receive")
	idle.refused("measured", "receive") // comes when the time is over
	g.must("evidence", "app")           // a measured program may wait as long as it likes
}

func TestNoGoroutineStays(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("serve", func(t *testing.T) {
		s := newStage(t)
		for range 5 {
			a := s.start(t, s.genuine)
			a.must("dial", s.socket)
			a.must("measure", s.manifest, s.sigstruct)
		}
		a := s.start(t, s.evil)
		a.must("connect", s.socket)
		a.must("receive")
	})
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			b := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
		}
	}
}

func TestSocketFile(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	info, err := os.Stat(s.socket)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Fatalf("%v, %v", info, err)
	}
	dir := filepath.Dir(s.socket)
	if err := NewServer(s.platform, ServerOptions{}).Serve(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second server in one folder: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, SocketName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewServer(s.platform, ServerOptions{}).Serve(t.Context(), other); err == nil {
		t.Error("a file was taken for a stale socket")
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dir := filepath.Join(s.dir, "stale")
	l, err := listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after a crash
	l.Close()
	s.serve("stale")
	s.start(t, s.genuine).must("dial", s.socket)
}
