package simtee

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// These are the adversaries of security test T2, each a program of its own.

// TestForkExecHelper: a process connects, leaves the socket to a helper and
// executes the genuine guest. SO_PEERCRED names the genuine guest then.
func TestForkExecHelper(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	t.Run("helper sends", func(t *testing.T) {
		t.Parallel()
		a, helper := s.start(t, s.evil), s.start(t, s.evil)
		a.must("connect", s.socket)
		s.hand(a, helper)
		helper.must("receive")
		a.send("exec", s.genuine)
		if kind := a.must("kind"); !strings.HasPrefix(kind, "genuine") {
			t.Fatal(kind)
		}
		helper.must("send-measure", s.manifest, s.sigstruct, "sealed")
		helper.refused("caller_credentials", "receive")
	})
	t.Run("requests wait in the socket", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.evil)
		a.must("connect", s.socket)
		a.send("inherit")
		helperReady(a)
		// All that the helper will read is asked for by this very process, before it turns genuine.
		a.send("send-measure", s.manifest, s.sigstruct, "sealed")
		a.send("send-evidence", "app-tls")
		a.send("exec", s.genuine)
		expectNoEvidence(a, "challenge", "caller_program", "caller_dumpable", "caller_text")
	})
	t.Run("with a true challenge", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.evil)
		a.must("connect", s.socket)
		a.must("receive")
		a.send("inherit")
		helperReady(a)
		a.send("send-measure", s.manifest, s.sigstruct, "sealed")
		a.send("exec", s.genuine)
		// Which of these it is depends on how far execve(2) has come.
		expectNoEvidence(a, "caller_program", "caller_dumpable", "caller_text", "guest_digest")
	})
}

// helperReady waits until "inherit" is answered and its child listens, in either order.
func helperReady(a *actor) {
	a.t.Helper()
	for _, got := range []string{a.next(), a.next()} {
		if got != "ok" && got != "helper ready" {
			a.t.Fatal(got)
		}
	}
}

// expectNoEvidence reads all that program and helper say until the helper is refused or cut off.
func expectNoEvidence(a *actor, rules ...string) {
	a.t.Helper()
	for {
		line := a.next()
		if rule, ok := strings.CutPrefix(line, "helper refused "); ok {
			for _, r := range rules {
				if r == rule {
					return
				}
			}
			a.t.Fatalf("refused by %s, wanted one of %v", rule, rules)
		}
		if got, ok := strings.CutPrefix(line, "helper got"); ok && strings.TrimSpace(got) != "" {
			a.t.Fatal("the helper has evidence")
		}
		if line == "helper end" { // the kernel drops the reason when requests are left unread
			return
		}
		if strings.HasPrefix(line, "helper error") {
			a.t.Fatal(line)
		}
	}
}

// TestInheritedSocket: the guest's child shares the measured connection.
func TestInheritedSocket(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	a := s.start(t, s.genuine)
	a.must("connect", s.socket)
	a.must("receive")
	a.must("send-measure", s.manifest, s.sigstruct, "sealed")
	a.must("receive")
	thief := s.start(t, s.evil)
	s.hand(a, thief)
	thief.must("send-evidence", "app-tls")
	thief.refused("caller_credentials", "receive")
	a.fails("receive") // the connection has ended for both
}

// hand passes the connection of one program to another.
func (s *stage) hand(from, to *actor) {
	from.t.Helper()
	at := filepath.Join(s.dir, fmt.Sprintf("hand-%d-%d", from.pid(), to.pid()))
	os.Remove(at)
	to.must("await", at)
	from.must("pass", at)
	to.must("take")
}

// TestExecAfterMeasure: the measured program executes another one and keeps the socket.
func TestExecAfterMeasure(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	a := s.start(t, s.genuine)
	a.must("connect", s.socket)
	a.must("receive")
	a.must("send-measure", s.manifest, s.sigstruct, "sealed")
	a.must("receive")
	challenge := a.must("challenge")
	keeper := s.start(t, s.evil)
	s.hand(a, keeper)
	a.send("exec", s.evil)
	if kind := a.must("kind"); !strings.HasPrefix(kind, "evil") {
		t.Fatal(kind)
	}
	s.hand(keeper, a)
	a.must("challenge", challenge)
	a.must("send-evidence", "app-tls")
	a.refused("caller_program", "receive")
}

// TestExecutableSwap: what the path says does not matter, the open file does.
func TestExecutableSwap(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	genuine, evil := read(t, s.genuine), read(t, s.evil)
	t.Run("genuine put in place of the running program", func(t *testing.T) {
		t.Parallel()
		path := install(t, filepath.Join(s.dir, "swap1"), evil)
		a := s.start(t, path)
		a.must("kind")
		replace(t, s, path, genuine)
		a.must("dial", s.socket)
		a.refused("guest_digest", "measure", s.manifest, s.sigstruct)
	})
	t.Run("genuine program replaced while it runs", func(t *testing.T) {
		t.Parallel()
		path := install(t, filepath.Join(s.dir, "swap2"), genuine)
		a := s.start(t, path)
		a.must("dial", s.socket)
		replace(t, s, path, evil)
		a.must("measure", s.manifest, s.sigstruct) // it is still the genuine one
	})
	t.Run("written while it runs", func(t *testing.T) {
		t.Parallel()
		path := install(t, filepath.Join(s.dir, "swap3"), genuine)
		a := s.start(t, path)
		a.must("dial", s.socket)
		if err := os.WriteFile(path, evil, 0o755); !errors.Is(err, unix.ETXTBSY) {
			t.Logf("this kernel lets a running program be written: %v", err)
			a.refused("caller_program", "measure", s.manifest, s.sigstruct)
		}
	})
	t.Run("between connection and measurement", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.evil)
		a.must("connect", s.socket)
		a.must("receive")
		a.must("send-measure", s.manifest, s.sigstruct, "sealed")
		if got := a.do("receive"); got != "refused guest_digest" {
			t.Error(got)
		}
	})
}

func replace(t testing.TB, s *stage, path string, b []byte) {
	t.Helper()
	if err := os.Rename(s.write(filepath.Base(path)+".new", b), path); err != nil {
		t.Fatal(err)
	}
}

// TestManifestSwap: the manifest on disk changes between load and quote.
func TestManifestSwap(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	a := s.start(t, s.genuine)
	a.must("dial", s.socket)
	a.must("measure", s.manifest, s.sigstruct)
	replace(t, s, s.manifest, manifestFor(t, s.evil))
	r := verify(t, fromHex(t, a.must("evidence", "app-tls")), s.authority)
	if !r.OK() || !bytes.Equal(r.Claims.Measurement, s.measurement[:]) {
		t.Errorf("measurement %x, wanted the one that was loaded, %x: %s", r.Claims.Measurement, s.measurement, failed(r))
	}
	a.refused("measured_once", "measure", s.manifest, s.sigstruct)
}

// TestDebugger: a debugger on any thread, and what one leaves behind.
func TestDebugger(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: only a debugger of the same user namespace is tried")
	}
	s := newStage(t)
	for _, thread := range []string{"first", "other"} {
		t.Run(thread+" thread", func(t *testing.T) {
			t.Parallel()
			a, tracer := s.start(t, s.genuine), s.tracer(t)
			tid := a.thread(thread)
			a.must("dial", s.socket)
			a.must("measure", s.manifest, s.sigstruct)
			tracer.must("attach", tid)
			if thread == "first" {
				// It is stopped: its request was sent before.
				tracer.must("let-go", tid)
				a.must("evidence", "app")
				return
			}
			a.refused("caller_tracer", "evidence", "app")
		})
	}
	t.Run("before it connects", func(t *testing.T) {
		t.Parallel()
		a, tracer := s.start(t, s.genuine), s.tracer(t)
		tracer.must("attach", a.thread("other"))
		a.refused("caller_tracer", "dial", s.socket)
	})
	t.Run("changed text", func(t *testing.T) {
		t.Parallel()
		a, tracer := s.start(t, s.genuine), s.tracer(t)
		tid := a.thread("other")
		tracer.must("attach", tid)
		tracer.must("poke", tid, fmt.Sprintf("%x", textAddress(t, s.genuine)))
		tracer.must("let-go", tid)
		a.refused("caller_text", "dial", s.socket)
	})
	t.Run("dumpable", func(t *testing.T) {
		t.Parallel()
		a := s.start(t, s.genuine)
		a.must("dumpable")
		a.must("connect", s.socket)
		if got := a.do("receive"); got != "refused caller_dumpable" {
			if !olderThan(t, 6, 16) {
				t.Error(got)
			}
			t.Logf("kernels before 6.16 do not tell who is dumpable: %s", got)
		}
	})
}

// tracer starts a debugger, after its victim: then it is ended first, and the kernel
// does not wait for it to let the victim go. Without root it must live where its victims do,
// which the kernel allows only to their common parent.
func (s *stage) tracer(t testing.TB) *actor {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a process that is not dumpable can be traced by nobody else")
	}
	return s.start(t, s.evil)
}

// thread returns the id of the first thread, or of another one.
func (a *actor) thread(which string) string {
	a.t.Helper()
	a.must("kind")
	if which == "first" {
		return strconv.Itoa(a.pid())
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", a.pid()))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, task := range tasks {
		if task.Name() != strconv.Itoa(a.pid()) {
			return task.Name()
		}
	}
	a.t.Fatal("the program has one thread only")
	return ""
}

func textAddress(t testing.TB, path string) uint64 {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Entry
}

func olderThan(t testing.TB, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		t.Fatal(err)
	}
	return a < major || a == major && b < minor
}

// TestPIDReuse: the process that connected ends, and another one with its number
// holds the socket. It runs in a PID namespace of its own, where nobody else takes
// the number meanwhile.
func TestPIDReuse(t *testing.T) {
	const last = "/proc/sys/kernel/ns_last_pid"
	if os.Geteuid() != 0 {
		t.Skip("needs root, to choose process numbers")
	}
	if _, err := os.Stat(last); err != nil {
		t.Skip("needs a kernel with CONFIG_CHECKPOINT_RESTORE, to choose process numbers")
	}
	const alone = "SIMTEE_TEST_PID_NAMESPACE"
	if os.Getenv(alone) == "" {
		out := rerun(t, t.Name(), &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}, alone+"=1")
		if !strings.Contains(out, "--- PASS: "+t.Name()) {
			t.Errorf("did not pass:\n%s", out)
		}
		return
	}
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, "")); err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	keeper := s.start(t, s.evil)
	for range 200 { // a thread of this process may be faster in taking the number
		first := s.start(t, s.genuine)
		pid := first.pid()
		first.must("connect", s.socket)
		first.must("receive")
		challenge := first.must("challenge")
		s.hand(first, keeper)
		first.end()
		if err := os.WriteFile(last, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		second := s.start(t, s.genuine)
		if second.pid() != pid {
			second.end()
			continue
		}
		s.hand(keeper, second)
		second.must("challenge", challenge)
		second.must("send-measure", s.manifest, s.sigstruct, "sealed")
		second.refused("caller_alive", "receive")
		return
	}
	t.Fatal("no process number could be used again")
}
