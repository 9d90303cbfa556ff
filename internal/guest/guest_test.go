package guest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/measure/workload"
)

type reported struct {
	Args, Env, Open []string
	UID, GID, PPID  int
	Groups          []int
	Dir, Stdout     string
	Files           map[string]string
}

func (b *box) report() reported {
	b.t.Helper()
	var r reported
	if err := json.Unmarshal([]byte(b.out.String()), &r); err != nil {
		b.t.Fatalf("%v in %q; log:\n%s", err, b.out.String(), b.err.String())
	}
	return r
}

func TestContainerStartsTheProgramAsMeasured(t *testing.T) {
	t.Parallel()
	b := newBox(t, newMachine(t)).certificate().runs("report", "default")
	b.manifest.Env.Allowed, b.manifest.Env.Mutable = []string{"REGION"}, []string{"LEVEL=info"}
	b.spec.Env = append(b.spec.Env, "GODEBUG=inittrace=1", "LD_PRELOAD=/tmp/x.so", "SSL_CERT_FILE=/tmp/ca", "HTTP_PROXY=http://127.0.0.1:1", "REGION=eu", "LEVEL=debug")
	b.spec.Args = []string{"report", "evil"}
	b.spec.Inherit = true
	if code := b.run(); code != 0 {
		t.Fatalf("exit code %d; log:\n%s", code, b.err.String())
	}
	r := b.report()
	if want := []string{"app", "report", "default"}; !slices.Equal(r.Args, want) {
		t.Errorf("arguments %q", r.Args)
	}
	if want := []string{"PATH=/bin:/", "LEVEL=debug", "REGION=eu", "HOSTNAME=box", "HOME=/home/app"}; !slices.Equal(r.Env, want) {
		t.Errorf("environment %q", r.Env)
	}
	if r.UID != 1000 || r.GID != 1000 || !slices.Equal(r.Groups, []int{4, 1000}) || r.Dir != "/srv" || len(r.Open) != 0 || r.PPID != 1 || r.Stdout != "<nil>" {
		t.Errorf("started as %+v", r)
	}
	pair, err := tls.X509KeyPair([]byte(r.Files["cert.pem"]), []byte(r.Files["key.pem"]))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(r.Files["chain.pem"]))
	zone, err := x509.ParseCertificate(pair.Certificate[1])
	must(t, err)
	between := x509.NewCertPool()
	between.AddCert(zone)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "www.example"}); err != nil {
		t.Error(err)
	}
	b.wantLog("measurement ", "files, ", "certificate for app.example", "variable GODEBUG is ignored", "variable LD_PRELOAD is ignored", "variable SSL_CERT_FILE is ignored", `argument "evil" is ignored`)
	for _, text := range []string{"variable PATH", "variable REGION", "/tmp/x.so", "CAP_SYS_ADMIN"} {
		if strings.Contains(b.err.String(), text) {
			t.Errorf("log has %q:\n%s", text, b.err.String())
		}
	}
	// GODEBUG acts before the first line of the guest, once; the second run of the guest is free of it.
	if n := strings.Count(b.err.String(), "init net/http @"); n != 1 {
		t.Errorf("GODEBUG has acted %d times", n)
	}
	// The same container once more, with what the first start left behind.
	b.out, b.err = logLines{}, logLines{}
	b.start()
	if code := b.wait(); code != 0 {
		t.Errorf("second start: exit code %d; log:\n%s", code, b.err.String())
	}
}

func TestContainerExitCodes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for name, c := range map[string]struct {
		change func(b *box)
		code   int
		log    string
	}{
		"zero":           {func(b *box) { b.runs("exit", "0") }, 0, ""},
		"its own":        {func(b *box) { b.runs("exit", "42") }, 42, ""},
		"killed":         {func(b *box) { b.runs("kill") }, 137, ""},
		"not there":      {func(b *box) { b.manifest.Exec.Entry = []string{"/nowhere"} }, 127, "start /nowhere"},
		"not in PATH":    {func(b *box) { b.manifest.Exec.Entry = []string{"nothing"} }, 127, "nothing in PATH /bin:/"},
		"not executable": {func(b *box) { b.manifest.Exec.Entry = []string{"/etc/secret"} }, 126, "start /etc/secret"},
		"a folder":       {func(b *box) { b.manifest.Exec.Entry = []string{"/etc"} }, 126, "start /etc"},
		"no format":      {func(b *box) { b.manifest.Exec.Entry = []string{"/bin/su"} }, 126, "first line such as"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, m)
			c.change(b)
			if code := b.run(); code != c.code {
				t.Errorf("exit code %d, wanted %d; log:\n%s", code, c.code, b.err.String())
			}
			b.wantLog(c.log)
		})
	}
}

func TestContainerRefuses(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	flip := func(name string) func(b *box) {
		return func(b *box) {
			data, err := os.ReadFile(b.spec.Root + name)
			must(b.t, err)
			data[len(data)/2] ^= 1
			overwrite(b.t, b.spec.Root+name, data)
		}
	}
	for name, c := range map[string]struct {
		change func(b *box) // after conversion
		want   []string
	}{
		"program changed":   {flip("/app"), []string{"file_content: /app"}},
		"guest changed":     {func(b *box) { appendTo(b, workload.GuestPath, "x") }, []string{"simulated TEE refused"}},
		"manifest changed":  {flip(workload.ManifestPath), []string{"/.hitoku/manifest.json"}},
		"signature changed": {flip(workload.SigstructPath), []string{"simulated TEE refused"}},
		"signature cut off": {func(b *box) { must(b.t, os.Truncate(b.spec.Root+workload.SigstructPath, 100)) }, []string{"has 100 bytes, wanted 1808"}},
		"no manifest":       {func(b *box) { must(b.t, os.Remove(b.spec.Root+workload.ManifestPath)) }, []string{"hitoku convert"}},
		"ld.so.preload":     {func(b *box) { write(b.t, b.spec.Root+"/etc/ld.so.preload", "/tmp/x.so", 0o644) }, []string{"closed_world: /etc/ld.so.preload", "--rw /etc/ld.so.preload"}},
		"mount over a file": {func(b *box) {
			b.spec.Mounts = []stageMount{{b.spec.Root + "/etc/secret", "/app", ""}}
		}, []string{"mount: /app", "--rw /app"}},
		"mount over a folder": {func(b *box) { b.spec.Mounts = []stageMount{{"none", "/usr/lib/python3", "tmpfs"}} }, []string{"mount: /usr/lib/python3"}},
		"a file of the host as /dev/urandom": {func(b *box) {
			b.spec.Mounts = []stageMount{{b.spec.Root + "/etc/secret", "/dev/urandom", ""}}
		}, []string{"device: /dev/urandom", "mount: /dev/urandom"}},
		"key path on a bind mount": {func(b *box) {
			b.spec.Mounts = []stageMount{{b.t.TempDir(), "/run", ""}}
		}, []string{"key_path: /run/key.pem"}},
		"no TEE":       {func(b *box) { b.spec.TEE = "" }, []string{"-v /run/hitoku/tee:/run/hitoku/tee"}},
		"another user": {func(b *box) { b.spec.UID = 1000 }, []string{"user 1000", "start without --user"}},
		"no agent":     {func(b *box) { b.spec.Env = nil }, []string{"NODE_AGENT_BASE_URL is not set"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, m).certificate().runs("report")
			b.convert()
			c.change(b)
			b.start()
			b.refused(c.want...)
		})
	}
}

func appendTo(b *box, name, text string) {
	data, err := os.ReadFile(b.spec.Root + name)
	must(b.t, err)
	write(b.t, b.spec.Root+name, string(data)+text, 0o755)
}

// TestContainerRefusesAnEvilManager: the refusals themselves are tested beside
// checkIssued; here nothing starts.
func TestContainerRefusesAnEvilManager(t *testing.T) {
	t.Parallel()
	for name, evil := range map[string]func(m *machine){
		"wrong root": func(m *machine) {
			other := newFakeCA(m.t, "evil", m.clock.Now())
			m.evil = func(_ *x509.Certificate, r *evilReply) { r.issuer, r.root = other, other.root }
		},
		"wrong key": func(m *machine) {
			key := newECKey(m.t)
			m.evil = func(_ *x509.Certificate, r *evilReply) { r.public = &key.PublicKey }
		},
		"denied": func(m *machine) {
			m.issue = func(*x509.CertificateRequest) (int, any) {
				return 200, map[string]any{"task_status": "DENIED", "reason": "no", "rules": []attest.Rule{{Name: "build_approved", Wanted: "yes", Seen: "no"}}}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			evil(m)
			b := newBox(t, m).certificate().runs("report")
			b.convert()
			b.start()
			b.refused("wanted ", "seen ")
			if files, _ := os.ReadDir(b.spec.Root + "/dev"); len(files) != 0 {
				t.Errorf("left on disk: %v", files)
			}
		})
	}
}

func TestContainerSignals(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	t.Run("forwarded", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).runs("signals")
		b.convert()
		b.start()
		b.ready()
		for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
			must(t, b.cmd.Process.Signal(s))
			b.await(s.String(), func() bool { return strings.Contains(b.out.String(), s.String()) })
		}
		must(t, b.cmd.Process.Signal(syscall.SIGTERM))
		if code := b.wait(); code != 7 {
			t.Errorf("exit code %d; log:\n%s", code, b.err.String())
		}
	})
	t.Run("killed after the grace time", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).runs("stubborn")
		b.manifest.Exec.StopGrace = 1
		b.convert()
		b.start()
		b.ready()
		must(t, b.cmd.Process.Signal(syscall.SIGTERM))
		if code := b.wait(); code != 137 {
			t.Errorf("exit code %d; log:\n%s", code, b.err.String())
		}
	})
	t.Run("while waiting for a task", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		pending(m, nil)
		b := newBox(t, m).certificate().runs("report")
		b.convert()
		b.start()
		b.await("task", func() bool { return strings.Contains(b.err.String(), "waiting for task ab-1: approve build 7") })
		must(t, b.cmd.Process.Signal(syscall.SIGTERM))
		if code := b.wait(); code != 143 || b.out.String() != "" {
			t.Errorf("exit code %d, output %q; log:\n%s", code, b.out.String(), b.err.String())
		}
	})
}

// pending lets every request wait until approved is closed.
func pending(m *machine, approved chan struct{}) {
	state := func() (int, any) {
		select {
		case <-approved:
			return 0, nil
		default:
			return 200, map[string]any{"task_id": "ab-1", "task_status": "PENDING_WHITELIST", "task": map[string]string{"description": "approve build 7"}}
		}
	}
	m.issue = func(*x509.CertificateRequest) (int, any) { return state() }
	m.result = func(string) (int, any) {
		if status, reply := state(); status != 0 {
			return status, reply
		}
		return 200, map[string]any{"task_id": "ab-1", "task_status": "SUCCESS"}
	}
}

// TestContainerSourceChangedAfterHashing changes a file while the guest waits.
func TestContainerSourceChangedAfterHashing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b *box){
		"changed": func(b *box) { write(b.t, b.spec.Root+"/usr/lib/python3/site.py", "evil\n", 0o644) },
		"added":   func(b *box) { write(b.t, b.spec.Root+"/etc/ld.so.preload", "/tmp/x.so", 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			approved := make(chan struct{})
			pending(m, approved)
			b := newBox(t, m).certificate().runs("report")
			b.convert()
			b.start()
			b.await("task", func() bool { return strings.Contains(b.err.String(), "waiting for task") })
			change(b)
			close(approved)
			b.refused("refused: ")
		})
	}
}

func TestContainerReapsOrphans(t *testing.T) {
	t.Parallel()
	b := newBox(t, newMachine(t)).runs("orphans")
	if code := b.run(); code != 0 || !strings.Contains(b.out.String(), "reaped") {
		t.Errorf("exit code %d, output %q; log:\n%s", code, b.out.String(), b.err.String())
	}
}

func TestContainerFront(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBox(t, m).certificate().runs("echo", "0.0.0.0:5000")
	b.manifest.Fronts = []workload.Front{{Listen: 8443, Forward: 5000}, {Listen: 8444, Forward: 5001}}
	b.convert()
	b.start()
	b.ready()
	roots := x509.NewCertPool()
	roots.AddCert(m.ca.root)
	ask := func(address string) (string, error) {
		raw, err := m.network.dial(address)
		must(t, err)
		conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "app.example"})
		defer conn.Close()
		if _, err := conn.Write([]byte("hello")); err != nil {
			return "", err
		}
		if err := conn.CloseWrite(); err != nil {
			return "", err // a front that refuses may be gone already
		}
		got, err := io.ReadAll(conn)
		return string(got), err
	}
	if got, err := ask("127.0.0.1:8443"); got != "hello" {
		t.Errorf("answer %q, %v; log:\n%s", got, err, b.err.String())
	}
	// Another process in the same network takes the port that the program has not opened (T7).
	squatter := m.network.listen(t, "127.0.0.1:5001")
	received := make(chan []byte, 1)
	go func() {
		c, err := squatter.Accept()
		if err != nil {
			return
		}
		data, _ := io.ReadAll(c)
		received <- data
	}()
	if got, _ := ask("127.0.0.1:8444"); got != "" {
		t.Errorf("the squatter answers %q", got)
	}
	must(t, squatter.Close())
	select {
	case data := <-received:
		if len(data) > 0 {
			t.Errorf("the squatter received %q", data)
		}
	default:
	}
	must(t, b.cmd.Process.Signal(syscall.SIGTERM))
	if code := b.wait(); code != 2 && code != 143 { // a Go program ends with code 2 or by the signal
		t.Errorf("exit code %d", code)
	}
	b.wantLog("TLS front: nothing is forwarded to port 5001", "port 5000 listens on more than loopback")
}

// TestContainerFrontPassesLastWordsOn: the program ends right after its answer.
func TestContainerFrontPassesLastWordsOn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBox(t, m).certificate().runs("last", "127.0.0.1:5000")
	b.manifest.Fronts = []workload.Front{{Listen: 8443, Forward: 5000}}
	b.convert()
	b.start()
	b.ready()
	raw, err := m.network.dial("127.0.0.1:8443")
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(m.ca.root)
	conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "app.example"})
	got, err := io.ReadAll(conn)
	if len(got) != 4<<20 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	must(t, conn.Close())
	if code := b.wait(); code != 0 {
		t.Errorf("exit code %d; log:\n%s", code, b.err.String())
	}
}

func TestContainerEvidenceForTheProgram(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	b := newBox(t, m).runs("evidence")
	if code := b.run(); code != 0 {
		t.Fatalf("exit code %d; log:\n%s", code, b.err.String())
	}
	var r appReply
	must(t, json.Unmarshal([]byte(b.out.String()), &r))
	binding, err := attest.ParseBinding(r.Binding)
	must(t, err)
	if binding.Purpose != attest.PurposeApp || hex.EncodeToString(binding.AccountRoot[:]) != m.ca.rootHash() {
		t.Errorf("binding %+v", binding)
	}
	result, err := m.verifyQuote(binding, r.Evidence)
	must(t, err)
	raw, err := os.ReadFile(b.spec.Root + workload.ManifestPath)
	must(t, err)
	if want := workload.Measurement(raw); !bytes.Equal(result.Claims.Measurement, want[:]) {
		t.Errorf("measurement %x, wanted %x", result.Claims.Measurement, want)
	}
}

func TestContainerOptions(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	t.Run("without a manager", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).runs("exit", "3")
		b.manifest.AccountRoot, b.spec.Env = "", nil
		if code := b.run(); code != 3 {
			t.Errorf("exit code %d; log:\n%s", code, b.err.String())
		}
		b.wantLog("no certificate is asked for")
	})
	t.Run("root file system read-only", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).certificate().runs("report")
		b.spec.ReadOnly = true
		b.spec.Mounts = []stageMount{{"none", "/run", "tmpfs"}}
		if code := b.run(); code != 0 {
			t.Errorf("exit code %d; log:\n%s", code, b.err.String())
		}
	})
	t.Run("arguments allowed", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).runs("exit", "1")
		b.manifest.Exec.AllowArgs = true
		b.spec.Args = []string{"exit", "5"}
		if code := b.run(); code != 5 {
			t.Errorf("exit code %d; log:\n%s", code, b.err.String())
		}
	})
	t.Run("copy of the output", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).runs("report")
		b.manifest.LogPath = "/srv/data/app.log"
		if code := b.run(); code != 0 {
			t.Errorf("exit code %d; log:\n%s", code, b.err.String())
		}
		if copied, err := os.ReadFile(b.spec.Root + "/srv/data/app.log"); err != nil || string(copied) != b.out.String() || len(copied) == 0 {
			t.Errorf("copy %q, output %q, %v", copied, b.out.String(), err)
		}
	})
	t.Run("encrypted folder on disk", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).runs("report")
		b.manifest.Folders[1].Mode = workload.FolderEncrypted
		b.convert()
		b.start()
		b.refused("encrypted_folder: /srv/data", "--tmpfs /srv/data")
	})
	t.Run("encrypted folder in memory", func(t *testing.T) {
		t.Parallel()
		b := newBox(t, m).runs("write", "/srv/data/x")
		b.manifest.Exec.UID = 0
		b.manifest.Folders[1].Mode = workload.FolderEncrypted
		b.spec.Mounts = []stageMount{{"none", "/srv/data", "tmpfs"}}
		if code := b.run(); code != 0 {
			t.Errorf("exit code %d; log:\n%s", code, b.err.String())
		}
	})
}
