package simtee

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/measure/sgx"
)

// patience is how long a test waits for a program before it fails.
const patience = 30 * time.Second

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "simtee-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// programs are the two builds of internal/adversary.
var programs = sync.OnceValues(func() (map[string]string, error) {
	out := map[string]string{}
	if ready := os.Getenv("SIMTEE_TEST_PROGRAMS"); ready != "" { // in a process that may not compile
		return map[string]string{"genuine": filepath.Join(ready, "genuine"), "evil": filepath.Join(ready, "evil")}, nil
	}
	for _, kind := range []string{"genuine", "evil"} {
		path := filepath.Join(buildDir, kind)
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.kind="+kind, "-o", path, "hitoku.dev/enclave/simtee/internal/adversary")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", kind, err, b)
		}
		out[kind] = path
	}
	return out, nil
})

var signingKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return sgx.GenerateKey(seeded(9)) })

// stage is a machine with a server, and a converted image whose guest is the
// genuine program.
type stage struct {
	t                     testing.TB
	dir, socket           string
	genuine, evil         string
	manifest, sigstruct   string // files
	measurement, mrSigner [32]byte
	authority             *authority.Authority
	platform              *Platform
	server                *Server
	log                   *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newStage(t testing.TB, options ...func(*ServerOptions)) *stage {
	t.Helper()
	built, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, genuine: built["genuine"], evil: built["evil"], log: new(logBuffer), authority: newAuthority(t, 1)}
	s.platform = newPlatform(t, 2, s.authority)
	if s.dir, err = os.MkdirTemp("", "simtee-"); err != nil { // short: socket paths are limited to 107 bytes
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.manifest = s.write("manifest.json", manifestFor(t, s.genuine))
	s.sign("sigstruct", nil)
	o := ServerOptions{Log: slog.New(slog.NewTextHandler(s.log, nil))}
	for _, f := range options {
		f(&o)
	}
	s.server = NewServer(s.platform, o)
	s.serve("tee")
	return s
}

// serve starts the server in a folder, waits until the socket is there, and stops it with the test.
func (s *stage) serve(folder string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, folder)
	s.socket = filepath.Join(dir, SocketName)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	listening := make(chan struct{})
	go func() { done <- s.server.serve(ctx, dir, func() { close(listening) }) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			s.t.Errorf("server: %v", err)
		}
	})
	select {
	case <-listening:
	case err := <-done:
		done <- context.Canceled
		s.t.Fatal(err)
	}
}

func (s *stage) write(name string, b []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// install writes a program. Another process does it: a descriptor open for
// writing that leaks into a child of a parallel test would make execve(2) fail.
func install(t testing.TB, path string, program []byte) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `cat >"$0" && chmod 755 "$0"`, path)
	cmd.Stdin = bytes.NewReader(program)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", path, err, out)
	}
	return path
}

func fileDigest(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

func manifestFor(t testing.TB, guest string) []byte {
	t.Helper()
	return fmt.Appendf(nil, `{"account_root":"","files":[{"path":"/","type":"dir"}],"guest":"%s","schema":1,"tee":"sim"}`, fileDigest(t, guest))
}

// sign makes a SIGSTRUCT over the manifest.
func (s *stage) sign(name string, edit func(*sgx.Params)) string {
	s.t.Helper()
	key, err := signingKey()
	if err != nil {
		s.t.Fatal(err)
	}
	manifest, err := os.ReadFile(s.manifest)
	if err != nil {
		s.t.Fatal(err)
	}
	s.measurement = sha256.Sum256(manifest)
	p := sgx.Params{EnclaveHash: s.measurement, ISVProdID: 3, ISVSVN: 4}
	if edit != nil {
		edit(&p)
	}
	sig, err := sgx.Sign(s.t.Context(), p, sgx.KeySigner{Key: key})
	if err != nil {
		s.t.Fatal(err)
	}
	s.mrSigner = sig.MRSigner()
	path := s.write(name, sig.Marshal())
	if s.sigstruct == "" {
		s.sigstruct = path
	}
	return path
}

// actor is a running program.
type actor struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
}

// start runs a program of this machine. Where the tests are not root, it gets a
// user namespace of its own, as the server then wants.
func (s *stage) start(t testing.TB, path string, edit ...func(*syscall.SysProcAttr)) *actor {
	t.Helper()
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		ownUserNamespace(cmd.SysProcAttr)
	}
	for _, f := range edit {
		f(cmd.SysProcAttr)
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, cmd: cmd, stdin: stdin, lines: make(chan string, 16)}
	go func() {
		defer close(a.lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			a.lines <- in.Text()
		}
	}()
	t.Cleanup(a.end)
	return a
}

func ownUserNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// end kills the program and waits for it.
func (a *actor) end() {
	a.stdin.Close()
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

func (a *actor) pid() int { return a.cmd.Process.Pid }

func (a *actor) send(command ...string) {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.stdin, strings.Join(command, " ")); err != nil {
		a.t.Fatalf("%v: %v", command, err)
	}
}

func (a *actor) next() string {
	a.t.Helper()
	select {
	case line, ok := <-a.lines:
		if !ok {
			a.t.Fatal("the program has ended")
		}
		return line
	case <-time.After(patience):
		a.t.Fatal("the program says nothing")
	}
	return ""
}

// do sends a command and returns the answer.
func (a *actor) do(command ...string) string {
	a.t.Helper()
	a.send(command...)
	return a.next()
}

// must sends a command that has to work and returns what it gave.
func (a *actor) must(command ...string) string {
	a.t.Helper()
	got := a.do(command...)
	if got != "ok" && !strings.HasPrefix(got, "ok ") {
		a.t.Fatalf("%v: %s", command, got)
	}
	return strings.TrimSpace(strings.TrimPrefix(got, "ok"))
}

// refused sends a command that a rule has to refuse.
func (a *actor) refused(rule string, command ...string) {
	a.t.Helper()
	if got := a.do(command...); got != "refused "+rule {
		a.t.Errorf("%v: %s, wanted refusal by %s", command, got, rule)
	}
}

// fails sends a command that has to fail in any way.
func (a *actor) fails(command ...string) {
	a.t.Helper()
	if got := a.do(command...); strings.HasPrefix(got, "ok") {
		a.t.Errorf("%v: %s, wanted a failure", command, got)
	}
}

func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
