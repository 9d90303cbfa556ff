package simtee

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOtherNamespaces: callers in namespaces of their own are served where they
// are expected, and only there.
func TestOtherNamespaces(t *testing.T) {
	t.Parallel()
	pidAndMount := func(a *syscall.SysProcAttr) {
		a.Cloneflags |= syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC
	}
	root := os.Geteuid() == 0
	s := newStage(t)
	a := s.start(t, s.genuine, pidAndMount)
	if kind := a.must("kind"); kind != "genuine 1" {
		t.Fatal(kind)
	}
	a.must("dial", s.socket)
	a.must("measure", s.manifest, s.sigstruct)
	a.must("evidence", "app")

	if !root {
		return // every program of these tests has a user namespace of its own already
	}
	b := s.start(t, s.genuine, pidAndMount, ownUserNamespace)
	b.refused("caller_user_namespace", "dial", s.socket)

	child := newStage(t, func(o *ServerOptions) { o.UserNamespace = UserNamespaceChild })
	c := child.start(t, child.genuine, pidAndMount, ownUserNamespace)
	c.must("dial", child.socket)
	c.must("measure", child.manifest, child.sigstruct)
	c.must("evidence", "app")
	d := child.start(t, child.genuine, pidAndMount)
	d.refused("caller_user_namespace", "dial", child.socket)
}

// rerun runs one test of this binary in another process.
func rerun(t *testing.T, test string, attr *syscall.SysProcAttr, environment ...string) string {
	t.Helper()
	if _, err := programs(); err != nil { // before anything needs a compiler
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(buildDir, t.Name())
	install(t, path, read(t, self)) // others may not enter the folder of go test
	cmd := exec.Command(path, "-test.run=^"+test+"$", "-test.v")
	cmd.SysProcAttr = attr
	cmd.Env = append(os.Environ(), append(environment, "SIMTEE_TEST_PROGRAMS="+filepath.Dir(mustProgram(t, "genuine")), "TMPDIR=/tmp")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return string(out)
}

// TestWithoutRoot runs the honest guest and the helper attack under a node agent
// that is not root, with guests of the same user in a user namespace.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("all tests run without root already")
	}
	for _, test := range []string{"TestHonestGuest", "TestForkExecHelper", "TestOtherNamespaces", "TestExecAfterMeasure"} {
		out := rerun(t, test, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		if !strings.Contains(out, "--- PASS: "+test) {
			t.Errorf("%s did not pass:\n%s", test, out)
		}
	}
}

// TestCallerOutsideNamespace runs the server in a PID namespace that cannot
// name its caller.
func TestCallerOutsideNamespace(t *testing.T) {
	t.Parallel()
	if os.Getenv("SIMTEE_TEST_OUTSIDE") != "" {
		s := newStage(t)
		fmt.Println("socket", s.socket)
		bufio.NewReader(os.Stdin).ReadString('\n')
		if !strings.Contains(s.log.String(), "rule=caller_namespace") {
			t.Errorf("log:\n%s", s.log)
		}
		return
	}
	if _, err := programs(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestCallerOutsideNamespace$", "-test.v")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		ownUserNamespace(cmd.SysProcAttr)
	}
	cmd.Env = append(os.Environ(), "SIMTEE_TEST_OUTSIDE=1", "SIMTEE_TEST_PROGRAMS="+filepath.Dir(mustProgram(t, "genuine")))
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
	out := bufio.NewScanner(stdout)
	socket := ""
	for socket == "" && out.Scan() {
		socket, _ = strings.CutPrefix(out.Text(), "socket ")
		if socket == out.Text() {
			socket = ""
		}
	}
	outside := (&stage{t: t}).start(t, mustProgram(t, "genuine"))
	outside.refused("caller_namespace", "dial", socket)
	fmt.Fprintln(stdin)
	for out.Scan() {
		t.Log(out.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func mustProgram(t testing.TB, kind string) string {
	t.Helper()
	built, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return built[kind]
}
