package simhost

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

// programEnv names the ready program to a run of these tests that may not compile.
const programEnv = "SIMHOST_TEST_PROGRAM"

// hostEnv makes a run of these tests the host that is killed.
const hostEnv = "SIMHOST_TEST_HOST"

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "simhost-test-")
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

// program builds the node once.
var program = sync.OnceValues(func() (string, error) {
	if ready := os.Getenv(programEnv); ready != "" {
		return ready, nil
	}
	path := filepath.Join(buildDir, "node")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "hitoku.dev/internal/ledger/simhost/testdata/node")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, b)
	}
	return path, nil
})

func mustProgram(t testing.TB) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, dir string) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir, rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Authority) machine(t testing.TB, dir string) *Machine {
	t.Helper()
	m, err := a.Start(t.Context(), MachineOptions{Dir: dir, Program: mustProgram(t), SVN: 2, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// node is a running program.
type node struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	err   bytes.Buffer
	first string
}

func (m *Machine) run(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, cmd: m.Command(m.Dir())}
	n.cmd.Env = []string{"GODEBUG=x509sha1=1", "HTTPS_PROXY=http://evil"} // whoever starts it may add some
	n.cmd.SysProcAttr.Pdeathsig = 0                                       // the thread of a test may end before
	n.cmd.Stderr = &n.err
	stdin, err := n.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(Explain(err))
	}
	n.stdin, n.out = stdin, bufio.NewReader(stdout)
	t.Cleanup(func() { n.cmd.Process.Kill(); n.cmd.Wait() })
	n.first = n.line()
	return n
}

func (n *node) line() string {
	n.t.Helper()
	line, err := n.out.ReadString('\n')
	if err != nil {
		n.t.Fatalf("the program has ended: %v: %s", err, &n.err)
	}
	return strings.TrimSpace(line)
}

func (n *node) ask(command string) string {
	n.t.Helper()
	if _, err := fmt.Fprintln(n.stdin, command); err != nil {
		n.t.Fatal(err)
	}
	return n.line()
}

// proof asks for evidence and judges it with the policy that the host can write beforehand.
func (n *node) proof(a *Authority, subject string) error {
	n.t.Helper()
	var p member.Proof
	if line := n.ask("evidence " + subject); json.Unmarshal([]byte(line), &p) != nil {
		return fmt.Errorf("%s", line)
	}
	measurement, err := Measurement(mustProgram(n.t))
	if err != nil {
		n.t.Fatal(err)
	}
	signer := a.Signer()
	policy := wire.Policy{
		Programs: []wire.Program{{Measurement: measurement[:], Signer: signer[:], MinSVN: 2}}, TCBStatuses: []string{"UpToDate"}, MinEvaluation: 1,
		Roots: []wire.Hash{a.Root()}, Flags: wire.PolicySimulated, EvidenceAge: 60,
	}
	b, err := attest.ParseBinding(p.Binding)
	if err != nil {
		return err
	}
	if got := strings.TrimRight(string(b.Subject[:]), "\x00"); got != subject {
		return fmt.Errorf("evidence over %q", got)
	}
	j := wire.Join{Evidence: p.Evidence, Binding: p.Binding, Collateral: p.Collateral}
	now := uint64(time.Now().Unix())
	return member.Appraise(j, now, policy, now)
}

// TestProcess runs the program as `hitoku ledger` does.
func TestProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir)
	m := a.machine(t, filepath.Join(dir, "one"))
	n := m.run(t)
	if want := "0 0"; n.first != want {
		t.Errorf("runs with %q, wanted %q", n.first, want)
	}
	for _, subject := range []string{"first", "second"} {
		if err := n.proof(a, subject); err != nil {
			t.Error(err)
		}
	}
	if err := m.Refresh(); err != nil {
		t.Error(err)
	}
	if err := n.proof(a, "with newer collateral"); err != nil {
		t.Error(err)
	}
	key := n.ask("seal label")
	if key == n.ask("seal another label") || len(key) != 64+len(" <nil>") {
		t.Errorf("sealing key %s", key)
	}
	if got := n.ask("close"); got != "<nil> true" {
		t.Error(got)
	}
	if got := n.line(); !strings.Contains(got, "closed") {
		t.Error(got)
	}

	// The next run on the machine gets the same key, another machine another one.
	if got := m.run(t).ask("seal label"); got != key {
		t.Errorf("second run: %s, wanted %s", got, key)
	}
	other := a.machine(t, filepath.Join(dir, "two")).run(t)
	if got := other.ask("seal label"); got == key {
		t.Error("another machine gets the same key")
	}
	if err := other.proof(a, "of the other machine"); err != nil {
		t.Error(err)
	}
}

// TestRestart: machine and authority are kept, and a process whose simulated TEE was
// restarted goes on.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir)
	again := open(t, dir)
	if a.Root() != again.Root() || a.Signer() != again.Signer() {
		t.Error("the authority is another one")
	}
	root, err := os.ReadFile(filepath.Join(dir, RootFile))
	if err != nil || !bytes.Equal(root, a.RootPEM()) {
		t.Errorf("root file: %v", err)
	}
	m := a.machine(t, filepath.Join(dir, "one"))
	n := m.run(t)
	key := n.ask("seal label")
	m.cancel() // the server alone ends
	<-m.done
	if got := n.ask("evidence x"); !strings.Contains(got, "error") {
		t.Errorf("evidence without a server: %s", got)
	}
	platform, err := again.platform(filepath.Join(dir, "one"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.done = make(chan struct{})
	if err := m.serve(t.Context(), platform); err != nil {
		t.Fatal(err)
	}
	if err := n.proof(a, "after the restart"); err != nil {
		t.Error(err)
	}
	if got := n.ask("seal label"); got != key {
		t.Errorf("key %s, wanted %s", got, key)
	}
}

// TestOtherProgram: a file that differs by a byte is not measured as the approved one.
func TestOtherProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir)
	m := a.machine(t, filepath.Join(dir, "one"))
	raw, err := os.ReadFile(m.program)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(buildDir, t.Name()+fmt.Sprint(os.Getpid()))
	install(t, changed, append(raw, 0))
	m.program = changed
	n := m.run(t)
	if got := n.line(); !strings.Contains(got, "guest_digest") {
		t.Errorf("%s", got)
	}
	first, err := Measurement(mustProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Measurement(changed)
	if err != nil || first == second {
		t.Errorf("measurements %x, %x, %v", first, second, err)
	}
}

// install writes a program by another process: a descriptor open for writing that leaks
// into a child of a parallel test would make execve(2) fail.
func install(t testing.TB, path string, data []byte) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `cat >"$0" && chmod 755 "$0"`, path)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", path, err, out)
	}
}

// TestNoStacks: neither a failure nor SIGQUIT, which the host may send, shows what is
// in memory.
func TestNoStacks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir).machine(t, filepath.Join(dir, "one"))
	for name, end := range map[string]func(n *node){
		"SIGQUIT": func(n *node) { n.cmd.Process.Signal(syscall.SIGQUIT) },
		"panic":   func(n *node) { fmt.Fprintln(n.stdin, "fail") },
	} {
		n := m.run(t)
		n.ask("seal label") // it is past its start
		end(n)
		if n.cmd.Wait() == nil {
			t.Errorf("%s: ended well", name)
		}
		if text := n.err.String(); text != "a line of the log\n" {
			t.Errorf("%s shows %s", name, text)
		}
	}
}

// TestEndsWithItsHost: a program whose starter was killed does not go on.
func TestEndsWithItsHost(t *testing.T) {
	t.Parallel()
	if os.Getenv(hostEnv) != "" {
		dir := t.TempDir()
		m := open(t, dir).machine(t, filepath.Join(dir, "one"))
		cmd := m.Command(m.Dir())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Println("pid", cmd.Process.Pid)
		_ = cmd.Wait()
		return
	}
	host := exec.Command(must(os.Executable()), "-test.run=^TestEndsWithItsHost$", "-test.v")
	left, err := os.MkdirTemp("", "h") // whoever is killed cleans nothing up
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(left) })
	host.Env = append(os.Environ(), hostEnv+"=1", programEnv+"="+mustProgram(t), "TMPDIR="+left)
	stdout, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for in := bufio.NewScanner(stdout); pid == 0 && in.Scan(); {
		_, _ = fmt.Sscanf(in.Text(), "pid %d", &pid)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	if pid == 0 {
		t.Fatal("the host did not start the program")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the program goes on")
		}
	}
}

// TestWithoutRoot runs the tests again as an ordinary user.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // they run without root already
	}
	self, err := os.ReadFile(must(os.Executable()))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(buildDir, "tests") // others may not enter the folder of go test
	install(t, path, self)
	mustProgram(t)
	home, err := os.MkdirTemp("", "simhost-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-test.run=^(TestProcess|TestRestart|TestOtherProgram|TestEndsWithItsHost|TestExplain)$", "-test.v")
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Env = append(os.Environ(), programEnv+"="+mustProgram(t), "TMPDIR="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range []string{"TestProcess", "TestRestart", "TestOtherProgram", "TestEndsWithItsHost", "TestExplain"} {
		if !strings.Contains(string(out), "--- PASS: "+name) {
			t.Errorf("%s did not pass:\n%s", name, out)
		}
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

func TestExplain(t *testing.T) {
	t.Parallel()
	helps := strings.Contains(Explain(syscall.EPERM).Error(), "user namespace")
	if helps != (os.Geteuid() != 0) || Explain(os.ErrNotExist) != os.ErrNotExist {
		t.Errorf("%v, %v", Explain(syscall.EPERM), Explain(os.ErrNotExist))
	}
}
