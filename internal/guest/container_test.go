package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// These tests run the real guest program as PID 1 of real namespaces, against
// the real simulated TEE. The test program itself plays the container engine.

const stageEnv = "HITOKU_TEST_STAGE"

// The process's first thread stays with the main goroutine: tests that change
// a thread's namespaces must not change what /proc/self says.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if spec := os.Getenv(stageEnv); spec != "" {
		fmt.Fprintln(os.Stderr, "stage:", runStage(spec))
		os.Exit(99)
	}
	os.Exit(m.Run())
}

// stageSpec is what the engine does before it executes the entry point.
type stageSpec struct {
	Root     string
	TEE      string // folder to mount at /run/hitoku/tee; empty for none
	Mounts   []stageMount
	Args     []string
	Env      []string
	UID      int
	ReadOnly bool
	Inherit  bool // leave a file of the host open
}

// dockerCapabilities are those that Docker Engine grants by default.
const dockerCapabilities = 0xa80425fb

type stageMount struct{ Source, Target, Type string }

func runStage(text string) error {
	var s stageSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	steps := []error{
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(s.Root, s.Root, "", unix.MS_BIND, ""),
		unix.Mount("proc", s.Root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		unix.Mount("dev", s.Root+"/dev", "tmpfs", unix.MS_NOSUID, "mode=755"),
		os.Mkdir(s.Root+"/dev/shm", 0o1777),
		unix.Mount("shm", s.Root+"/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
		os.Symlink("/proc/self/fd", s.Root+"/dev/fd"),
		os.Symlink("/proc/self/fd/1", s.Root+"/dev/stdout"),
	}
	for _, d := range basicDevices {
		name := s.Root + d.path
		steps = append(steps, unix.Mknod(name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))), os.Chmod(name, 0o666))
	}
	for _, m := range s.Mounts {
		flags := uintptr(0)
		if m.Type == "" {
			flags = unix.MS_BIND
		}
		steps = append(steps, unix.Mount(m.Source, s.Root+m.Target, m.Type, flags, ""))
	}
	if s.TEE != "" {
		steps = append(steps, os.MkdirAll(s.Root+teeFolder, 0o755), unix.Mount(s.TEE, s.Root+teeFolder, "", unix.MS_BIND, ""))
	}
	if s.ReadOnly {
		steps = append(steps, unix.Mount("none", s.Root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	}
	steps = append(steps, os.Chdir(s.Root), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/"))
	if s.Inherit {
		_, err := unix.Open("/etc/secret", unix.O_RDONLY, 0)
		steps = append(steps, err)
	}
	for bit := range 64 {
		if dockerCapabilities&(1<<bit) == 0 {
			unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(bit), 0, 0, 0) // the highest bits do not exist
		}
	}
	if s.UID != 0 {
		steps = append(steps, unix.Setgroups(nil), unix.Setgid(s.UID), unix.Setuid(s.UID))
	}
	if err := errors.Join(steps...); err != nil {
		return err
	}
	return unix.Exec(workload.GuestPath, append([]string{workload.GuestPath}, s.Args...), s.Env)
}

// programs are built once.
var programs = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "hitoku-guest-test")
	if err != nil {
		return "", err
	}
	for name, pkg := range map[string]string{"init": "../../cmd/hitoku-init", "app": "./testdata/app", "spawn": "./testdata/spawn"} {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", filepath.Join(folder, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return folder, nil
})

var signingKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return sgx.GenerateKey(rand.Reader) })

// network is a network namespace, reached through a thread that lives in it.
type network struct{ calls chan func() }

func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine
		ready <- errors.Join(unix.Unshare(unix.CLONE_NEWNET), loopbackUp())
		for f := range n.calls {
			f()
		}
	}()
	must(t, <-ready)
	t.Cleanup(func() { close(n.calls) })
	return n
}

func (n *network) do(f func()) {
	done := make(chan struct{})
	n.calls <- func() { defer close(done); f() }
	<-done
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

func (n *network) listen(t testing.TB, address string) (l net.Listener) {
	t.Helper()
	var err error
	n.do(func() { l, err = net.Listen("tcp", address) })
	must(t, err)
	return l
}

func (n *network) dial(address string) (c net.Conn, err error) {
	n.do(func() { c, err = net.Dial("tcp", address) })
	return c, err
}

// machine is a host: simulated TEE, node agent with its manager, network.
type machine struct {
	*fakeAgent
	authority *authority.Authority
	network   *network
	teeFolder string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	needRoot(t)
	now := time.Now()
	a, err := authority.New(rand.Reader, now)
	must(t, err)
	p, err := simtee.NewPlatform(rand.Reader)
	must(t, err)
	chain, err := a.IssuePCK(p.PCKPublic(), p.PPID(), now)
	must(t, err)
	must(t, p.InstallPCK(chain))
	folder, err := os.MkdirTemp("/tmp", "tee") // socket paths are short
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	server := simtee.NewServer(p, simtee.ServerOptions{Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	go func() { server.Serve(ctx, folder); close(done) }()
	t.Cleanup(func() { cancel(); <-done; os.RemoveAll(folder) })

	m := &machine{authority: a, network: newNetwork(t), teeFolder: folder}
	m.fakeAgent = &fakeAgent{t: t, ca: newFakeCA(t, "account", now), clock: SystemClock{}, nonces: map[string]bool{}}
	m.fakeAgent.verify = func(b *attest.Binding, quote []byte) error {
		_, err := m.verifyQuote(b, quote)
		return err
	}
	m.fakeAgent.Server = &httptest.Server{Listener: m.network.listen(t, "127.0.0.1:9092"), Config: newServer(m.fakeAgent)}
	m.fakeAgent.Start()
	t.Cleanup(m.fakeAgent.Close)
	return m
}

// verifyQuote judges real evidence.
func (m *machine) verifyQuote(b *attest.Binding, quote []byte) (*attest.Result, error) {
	now := time.Now()
	collateral, err := m.authority.Collateral(now)
	if err != nil {
		return nil, err
	}
	r, err := dcap.Verify(quote, dcap.Options{Root: m.authority.Root(), Collateral: collateral, At: now, Simulated: true})
	if err != nil {
		return nil, err
	}
	if !r.OK() {
		return nil, fmt.Errorf("evidence is refused: %+v", r.Rules)
	}
	if data := b.ReportData(); !bytes.Equal(r.Claims.ReportData, data[:]) {
		return nil, errors.New("evidence over another binding")
	}
	return r, nil
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) { w.t.Logf("tee: %s", p); return len(p), nil }

// box is a converted image as a container.
type box struct {
	t        *testing.T
	machine  *machine
	manifest *workload.Manifest
	spec     stageSpec
	out, err logLines
	cmd      *exec.Cmd
	drained  chan struct{}
}

// newBox lays out a root file system with the test program at /app.
func newBox(t *testing.T, m *machine) *box {
	t.Helper()
	folder, err := programs()
	must(t, err)
	root := sampleTree(t)
	b := &box{t: t, machine: m, spec: stageSpec{Root: root, TEE: m.teeFolder, Env: []string{"NODE_AGENT_BASE_URL=http://127.0.0.1:9092/v1/", "PATH=/evil", "HOSTNAME=box"}}}
	for from, to := range map[string]string{"app": "/app", "spawn": "/bin/spawn", "init": workload.GuestPath} {
		data, err := os.ReadFile(filepath.Join(folder, from))
		must(t, err)
		write(t, root+to, string(data), 0o755)
	}
	b.manifest = sampleManifest(t, root)
	b.manifest.AccountRoot = m.ca.rootHash()
	b.manifest.Exec.UID, b.manifest.Exec.GID, b.manifest.Exec.Groups, b.manifest.Exec.Home = 1000, 1000, []uint32{4, 1000}, "/home/app"
	b.manifest.Env.Fixed = []string{"PATH=/bin:/"}
	b.manifest.Exec.Entry = []string{"app"}
	b.manifest.Exec.WorkDir = "/srv"
	return b
}

// certificate asks for an attested certificate.
func (b *box) certificate() *box {
	b.manifest.Certificates = []workload.Certificate{{
		AltNames: []string{"DNS:www.example"}, Subject: "app.example", KeyType: "EC", KeySize: 256,
		KeyPath: "/run/key.pem", CertPath: "/run/cert.pem", ChainPath: "/run/chain.pem",
	}}
	return b
}

func (b *box) runs(args ...string) *box {
	b.manifest.Exec.Args = args
	return b
}

// convert writes manifest and signature, as `hitoku convert` does.
func (b *box) convert() {
	b.t.Helper()
	program, err := os.ReadFile(b.spec.Root + workload.GuestPath)
	must(b.t, err)
	sum := sha256.Sum256(program)
	b.manifest.Guest = hex.EncodeToString(sum[:])
	raw, err := workload.Encode(b.manifest)
	must(b.t, err)
	key, err := signingKey()
	must(b.t, err)
	s, err := sgx.Sign(b.t.Context(), sgx.Params{EnclaveHash: workload.Measurement(raw)}, sgx.KeySigner{Key: key})
	must(b.t, err)
	write(b.t, b.spec.Root+workload.ManifestPath, string(raw), 0o644)
	write(b.t, b.spec.Root+workload.SigstructPath, string(s.Marshal()), 0o644)
}

// start runs the container.
func (b *box) start() {
	b.t.Helper()
	spec, err := json.Marshal(b.spec)
	must(b.t, err)
	b.cmd = exec.Command("/proc/self/exe")
	b.cmd.Env = []string{stageEnv + "=" + string(spec)}
	b.cmd.Stderr = &b.err
	reader, writer, err := os.Pipe()
	must(b.t, err)
	b.cmd.Stdout, b.drained = writer, make(chan struct{})
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	b.machine.network.do(func() { err = b.cmd.Start() })
	must(b.t, err)
	must(b.t, writer.Close())
	go func() {
		defer close(b.drained)
		defer reader.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := reader.Read(buffer)
			b.out.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	b.t.Cleanup(func() { b.cmd.Process.Kill(); b.cmd.Wait() })
}

func (b *box) wait() int {
	b.t.Helper()
	b.cmd.Wait()
	<-b.drained
	return b.cmd.ProcessState.ExitCode()
}

// run converts, starts and waits.
func (b *box) run() int {
	b.t.Helper()
	b.convert()
	b.start()
	return b.wait()
}

// await polls until f holds; containers are processes of the kernel, whose time no test can turn.
func (b *box) await(what string, f func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("no %s; output %q; log:\n%s", what, b.out.String(), b.err.String())
		}
	}
}

func (b *box) ready() {
	b.await("ready", func() bool { return strings.Contains(b.out.String(), "ready") })
}

func (b *box) wantLog(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		if !strings.Contains(b.err.String(), text) {
			b.t.Errorf("log has no %q:\n%s", text, b.err.String())
		}
	}
}

// refused runs the container and wants it to end before the program starts.
func (b *box) refused(texts ...string) {
	b.t.Helper()
	if code := b.wait(); code != 1 {
		b.t.Errorf("exit code %d, wanted 1; log:\n%s", code, b.err.String())
	}
	if b.out.String() != "" {
		b.t.Errorf("the program ran: %q", b.out.String())
	}
	b.wantLog(append(texts, "the program is not started")...)
}
