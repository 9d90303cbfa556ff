package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/jointoken"
	"hitoku.dev/internal/wire"
)

func TestEnrolsOnceAndKeepsItsCertificate(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	o := m.options(t)
	o.JoinToken = m.token(1, nil) + "\n"
	a, _, stop := run(t, o)
	ready(t, a)
	eventually(t, "a status report arrives", func() bool { return a.Status().ManagerSeen != nil })
	first := a.Status()
	if first.State != StateRunning || first.AccountID != m.accountID || first.CertificateExpires == nil {
		t.Errorf("status %+v", first)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(o.DataDir, nodeFile))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("state file: %v, %v", fi, err)
	}
	// The second start needs neither token nor manager address.
	o.JoinToken, o.Manager = "", ""
	b, _, _ := run(t, o)
	ready(t, b)
	eventually(t, "the second agent reports", func() bool { return b.Status().ManagerSeen != nil })
	if b.Status().NodeID != first.NodeID || m.enrolments != 1 {
		t.Errorf("node %s then %s, %d enrolments", first.NodeID, b.Status().NodeID, m.enrolments)
	}
}

func TestRefusedEnrolmentsEndTheAgent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		uses   int
		change func(*jointoken.Token)
		setup  func(*fakeManager)
		want   string
	}{
		"expired":            {1, func(tk *jointoken.Token) { tk.Expires = time.Now().Add(-time.Minute) }, nil, "expired"},
		"used up or rotated": {0, nil, nil, "not valid"},
		"other manager key":  {1, func(tk *jointoken.Token) { tk.ManagerKey[0] ^= 1 }, nil, "the join token wants"},
		"other account root": {1, func(tk *jointoken.Token) { tk.AccountRoot[0] ^= 1 }, nil, "account root"},
		"denied at once": {1, nil, func(m *fakeManager) {
			m.needTask = true
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newFakeManager(t)
			if tc.setup != nil {
				tc.setup(m)
			}
			o := m.options(t)
			o.JoinToken = m.token(tc.uses, tc.change)
			a, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			if name == "denied at once" {
				go denyWhenOpen(t, m)
				err = a.Run(t.Context())
				var denied *deniedError
				if !errors.As(err, &denied) {
					t.Fatalf("error %v", err)
				}
				return
			}
			err = a.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, wanted one with %q", err, tc.want)
			}
			if a.Status().State != StateRefused {
				t.Errorf("state %s", a.Status().State)
			}
		})
	}
}

func denyWhenOpen(t *testing.T, m *fakeManager) {
	eventually(t, "the task is open", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, task := range m.tasks {
			task.TaskStatus = &wire.TaskStatus{Status: "DENIED"}
			task.Reason = "platform not known"
			return true
		}
		return false
	})
}

func TestWaitsForItsTaskAndSaysWhich(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	m.needTask = true
	o := m.options(t)
	o.JoinToken = m.token(2, nil)
	a, _, stop := run(t, o)
	var id string
	eventually(t, "the agent says which task it waits for", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for id = range m.tasks {
			return strings.Contains(a.Status().WaitingFor, id)
		}
		return false
	})
	stop()
	// A restart goes on waiting for the same task.
	b, _, _ := run(t, o)
	eventually(t, "the agent waits again", func() bool { return strings.Contains(b.Status().WaitingFor, id) })
	m.mu.Lock()
	m.needTask = false
	m.tasks[id].TaskStatus = &wire.TaskStatus{Status: "SUCCESS"}
	m.mu.Unlock()
	ready(t, b)
	if m.enrolments != 2 {
		t.Errorf("%d enrolments, wanted 2: the approved one proves itself afresh", m.enrolments)
	}
}

func TestRenewsItsCertificate(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	m.nodeLife = 2 * time.Second // the fake's threshold is half the life, reports come each second
	o := m.options(t)
	o.JoinToken = m.token(1, nil)
	a, _, _ := run(t, o)
	ready(t, a)
	first, _ := a.current()
	m.mu.Lock()
	m.nodeLife = time.Hour
	m.mu.Unlock()
	eventually(t, "the certificate is renewed", func() bool {
		n, _ := a.current()
		return n.leaf.SerialNumber.Cmp(first.leaf.SerialNumber) != 0
	})
	n, _ := a.current()
	if n.key.Equal(first.key) || n.NodeID != first.NodeID {
		t.Error("renewal must make a new key for the same node")
	}
	stored, err := loadNode(filepath.Join(o.DataDir, nodeFile))
	if err != nil || !stored.key.Equal(n.key) {
		t.Errorf("stored node: %v", err)
	}
}

func TestNoticesDeactivationAndRestart(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	o := m.options(t)
	o.JoinToken = m.token(1, nil)
	a, _, _ := run(t, o)
	eventually(t, "the agent runs", func() bool { return a.Status().ManagerSeen != nil })
	m.mu.Lock()
	m.nodes[a.Status().NodeID] = false
	m.mu.Unlock()
	eventually(t, "deactivation is noticed", func() bool {
		s := a.Status()
		return s.State == StateRefused && strings.Contains(s.WaitingFor, "deactivated")
	})
	m.mu.Lock()
	m.nodes[a.Status().NodeID] = true
	m.mu.Unlock()
	eventually(t, "the agent runs again", func() bool { return a.Status().State == StateRunning })
	m.stop()
	eventually(t, "the agent waits for the manager", func() bool {
		s := a.Status()
		return s.State == StateUnreachable && strings.Contains(s.WaitingFor, "refused")
	})
	m.start(m.addr)
	eventually(t, "the agent is back", func() bool { return a.Status().State == StateRunning })
}

func TestAnswersOnlyTheManagerOfItsAccount(t *testing.T) {
	t.Parallel()
	m, evil := newFakeManager(t), newFakeManager(t)
	o := m.options(t)
	o.JoinToken = m.token(1, nil)
	a, _, stop := run(t, o)
	ready(t, a)
	stop()
	// Another manager at the address: other account root, same names.
	evil.accountID = m.accountID
	evil.stop()
	evil.start("127.0.0.1:0")
	o.Manager = evil.url()
	b, _, _ := run(t, o)
	eventually(t, "the agent says that the server is another one", func() bool {
		return strings.Contains(b.Status().WaitingFor, errIdentity.Error())
	})
	if evil.reports != 0 {
		t.Error("a request reached another manager")
	}
}

func TestDamagedState(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	o := m.options(t)
	o.JoinToken = m.token(1, nil)
	a, _, stop := run(t, o)
	ready(t, a)
	stop()
	path := filepath.Join(o.DataDir, nodeFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"truncated": func() error { return os.WriteFile(path, good[:len(good)/2], 0o600) },
		"readable by others": func() error {
			return errors.Join(os.WriteFile(path, good, 0o600), os.Chmod(path, 0o644))
		},
		"other root": func() error {
			s := strings.Replace(string(good), strings.ReplaceAll(pemOf(m.root), "\n", `\n`), strings.ReplaceAll(pemOf(newFakeManager(t).root), "\n", `\n`), 1)
			return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte(s), 0o600))
		},
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v does not name the file", name, err)
		}
	}
}

func TestOneAgentForADataFolder(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	o := m.options(t)
	o.JoinToken = m.token(1, nil)
	a, _, _ := run(t, o)
	ready(t, a)
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use by another agent") {
		t.Errorf("error %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	good := m.token(1, nil)
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"plain http":      {func(o *Options) { o.Manager = "http://127.0.0.1:1" }, "only https"},
		"path":            {func(o *Options) { o.Manager += "/v1" }, "nothing after it"},
		"no manager":      {func(o *Options) { o.Manager = "" }, "--manager"},
		"no token":        {func(o *Options) { o.JoinToken = "" }, "--join-token"},
		"malformed token": {func(o *Options) { o.JoinToken = good[:20] }, "join token is malformed"},
	} {
		o := m.options(t)
		o.JoinToken = good
		tc.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.want)
		}
	}
}
