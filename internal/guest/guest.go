package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hitoku.dev/enclave/simtee/client"
)

// Options are the guest's surroundings. In a container Root is "/" and Proc "/proc".
type Options struct {
	Root    string
	Proc    string
	Args    []string // the host's arguments for the program
	HostEnv []string // the host's environment
	Stdio   [3]*os.File
	Log     *Log
	Clock   Clock
	Rand    io.Reader
	Dial    func(ctx context.Context, socket string) (TEE, error)
}

// guest is one start of a program.
type guest struct {
	Options
	image   *image
	tee     *measured
	signals *signals
	keepers []*keeper
	lock    *os.File // of the key store; held as long as the guest lives
}

// Run does everything from the measured manifest to the program's end and
// returns the exit code: the program's own, 128 and the signal that ended it, 126
// or 127 when it cannot be executed, 1 when anything was refused or failed.
func Run(ctx context.Context, o Options) int {
	g := &guest{Options: o, signals: catchSignals()}
	defer g.signals.stop()
	code, err := g.run(ctx)
	if err == nil {
		return code
	}
	o.Log.Error(err)
	var stopped *stoppedError
	var start *startError
	switch {
	case errors.As(err, &stopped):
		return 128 + int(stopped.signal)
	case errors.As(err, &start):
		return start.code
	}
	o.Log.Printf("the program is not started")
	return 1
}

func (g *guest) run(ctx context.Context) (int, error) {
	until, ready := g.signals.untilStart(ctx)
	beside, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if g.tee != nil {
			g.tee.Close()
		}
		if g.lock != nil {
			g.lock.Close()
		}
	}()
	fail := func(err error) (int, error) {
		ready()
		var stopped *stoppedError
		if errors.As(context.Cause(until), &stopped) {
			return 0, stopped
		}
		return 0, err
	}
	if err := g.prove(until); err != nil {
		return fail(err)
	}
	launch, err := g.prepare(until)
	if err != nil {
		return fail(err)
	}
	fronts, err := g.openFronts(until)
	if err != nil {
		return fail(err)
	}
	if cause := context.Cause(until); cause != nil {
		return fail(cause)
	}
	ready()
	return g.start(beside, launch, fronts)
}

// prove is measured and makes sure that the container is what was measured.
func (g *guest) prove(ctx context.Context) error {
	own, err := g.checkSurroundings()
	if err != nil {
		return err
	}
	var raw []byte
	if g.image, raw, err = load(g.Root); err != nil {
		return err
	}
	if err := own.checkCapabilities(&g.image.manifest.Exec); err != nil {
		return err
	}
	if err := refuseHostNetwork(g.Proc, g.image.manifest.Fronts); err != nil {
		return err
	}
	g.tee = &measured{
		dial:  g.dial,
		bytes: func() ([]byte, []byte, error) { return raw, g.image.sigstruct, nil },
	}
	if err := g.tee.open(ctx); err != nil {
		return err
	}
	g.tee.bytes = g.image.bytes
	g.Log.Printf("measurement %x", g.image.measurement)
	world, err := g.verify(ctx)
	if err != nil {
		return err
	}
	if err := g.certify(ctx); err != nil {
		return err
	}
	// Waiting for a certificate can take long: look again at what has moved meanwhile.
	if _, err := g.inspect(ctx, world); err != nil {
		return err
	}
	return nil
}

func (g *guest) checkSurroundings() (privileges, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(g.Proc, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return privileges{}, fmt.Errorf("%s is not the kernel's process file system", g.Proc)
	}
	own, err := ownPrivileges(g.Proc)
	if err != nil {
		return own, err
	}
	if err := own.checkUser(); err != nil {
		return own, err
	}
	if err := checkAlone(os.Getpid(), g.Proc); err != nil {
		return own, err
	}
	if text := own.risky(); text != "" {
		g.Log.Printf("%s", text)
	}
	return own, nil
}

// dial waits for a node agent that is just starting; a socket folder that is
// not mounted at all is a mistake of the operator's.
func (g *guest) dial(ctx context.Context) (TEE, error) {
	retry, giveUp := backoff{firstRetry, lastRetry}, g.Clock.Now().Add(agentPatience)
	for said := false; ; said = true {
		tee, err := g.Dial(ctx, filepath.Join(g.Root, client.ContainerSocket))
		if err == nil {
			return tee, nil
		}
		if _, statErr := os.Stat(filepath.Join(g.Root, teeFolder)); statErr != nil {
			return nil, fmt.Errorf("the socket of the simulated TEE is not in this container: start it with -v %s:%s:ro, on a machine where `hitoku agent` runs", teeFolder, teeFolder)
		}
		waitable := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
		if !waitable || g.Clock.Now().After(giveUp) {
			return nil, err
		}
		if !said {
			g.Log.Printf("waiting for the node agent: %v", err)
		}
		if err := g.Clock.Wait(ctx, retry.next()); err != nil {
			return nil, err
		}
	}
}

func (g *guest) verify(ctx context.Context) (*World, error) {
	begun := g.Clock.Now()
	world := NewWorld(g.image.manifest)
	if err := g.image.shrink(); err != nil {
		return nil, err
	}
	done, err := g.inspect(ctx, world)
	if err != nil {
		return nil, err
	}
	took := g.Clock.Now().Sub(begun)
	g.Log.Printf("%d files, %.1f MB verified in %v", done.Files, float64(done.Bytes)/1e6, took.Round(time.Millisecond))
	return world, nil
}

// inspect checks mounts, devices, encrypted folders and every file.
func (g *guest) inspect(ctx context.Context, world *World) (Verified, error) {
	refused := &refusals{}
	f, err := os.Open(filepath.Join(g.Proc, "self/mountinfo"))
	if err != nil {
		return Verified{}, err
	}
	mounts, err := parseMountinfo(f)
	f.Close()
	if err != nil {
		return Verified{}, err
	}
	world.judgeMounts(mounts, g.Root, refused)
	checkDevices(g.Root, refused)
	checkEncrypted(g.Root, g.image.manifest.Folders, refused)
	done, err := world.verify(ctx, g.Root, refused)
	if err != nil {
		return done, err
	}
	return done, refused.err()
}

// certify obtains every certificate of the manifest and shows it where the
// program looks for it.
func (g *guest) certify(ctx context.Context) error {
	m := g.image.manifest
	issuer, err := newIssuer(m, g.HostEnv, g.tee, g.Clock, g.Rand, g.Log)
	if issuer == nil {
		return err
	}
	if g.lock, err = prepareStore(g.Root); err != nil {
		return err
	}
	store := &keyStore{root: g.Root, uid: m.Exec.UID, gid: m.Exec.GID}
	for i := range m.Certificates {
		for _, l := range certificateLinks(i, &m.Certificates[i]) {
			if err := store.link(l); err != nil {
				return err
			}
		}
	}
	for i := range m.Certificates {
		g.keepers = append(g.keepers, &keeper{
			number: i, want: &m.Certificates[i], obtain: issuer.obtain, store: store,
			clock: g.Clock, log: g.Log, renewed: g.renewed,
		})
	}
	return obtainAll(ctx, g.keepers)
}

func (g *guest) renewed() {
	if n := g.image.manifest.Exec.OnRenew; n != 0 {
		g.signals.renewed(syscall.Signal(n))
	}
}

// prepare decides arguments and environment.
func (g *guest) prepare(ctx context.Context) (*launch, error) {
	m := g.image.manifest
	env, ignored := programEnv(m, g.HostEnv)
	for _, name := range ignored {
		g.Log.Printf("environment variable %s is ignored: the image does not allow it (hitoku convert --allow-env %s)", name, name)
	}
	args, extra := programArgs(&m.Exec, g.Args)
	for _, a := range extra {
		g.Log.Printf("argument %q is ignored: the image does not allow arguments (hitoku convert --allow-args)", a)
	}
	return &launch{exec: &m.Exec, args: args, env: env, stdio: g.Stdio}, ctx.Err()
}

func (g *guest) openFronts(ctx context.Context) ([]*front, error) {
	owner := &ownership{proc: g.Proc, self: os.Getpid(), user: g.image.manifest.Exec.UID}
	var fronts []*front
	for _, f := range g.image.manifest.Fronts {
		opened, err := openFront(ctx, f, g.keepers[0].tls.Load, owner.check, g.Log)
		if err != nil {
			for _, o := range fronts {
				o.listen.Close()
			}
			return nil, err
		}
		g.Log.Printf("TLS on port %d for the program's port %d", f.Listen, f.Forward)
		fronts = append(fronts, opened)
	}
	return fronts, nil
}

// start runs the program and everything beside it, until the program ends.
func (g *guest) start(ctx context.Context, l *launch, fronts []*front) (int, error) {
	m := g.image.manifest
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.serveApp(ctx, l)
	var output *logCopy
	if m.LogPath != "" {
		var err error
		if output, err = copyOutput(g.Log, g.Root, &m.Exec, m.LogPath, g.Stdio); err != nil {
			return 0, err
		}
		l.stdio = output.stdio
	}
	p, err := l.start()
	if output != nil {
		output.started()
	}
	if err != nil {
		return 0, err
	}
	var forwarding sync.WaitGroup
	for _, f := range fronts {
		forwarding.Go(func() { f.serve(ctx) })
	}
	for _, k := range g.keepers {
		go k.run(ctx) // not waited for: making a key takes seconds, and the process ends
	}
	debug.FreeOSMemory() // the list of a large image's files is no longer needed
	code, err := g.signals.supervise(p, time.Duration(m.Exec.StopGrace)*time.Second)
	for _, f := range fronts {
		f.listen.Close()
	}
	waitBriefly(&forwarding) // the program's last words are still on their way
	if output != nil {
		output.finish()
	}
	return code, err
}

// lastOutput is how long what the ended program has written is still passed on.
// Clients, and children that it left behind, may keep connections and pipes open
// for ever.
const lastOutput = time.Second

func waitBriefly(group *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	timer := time.NewTimer(lastOutput)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// serveApp offers evidence and sealing keys to the program. Where its socket cannot be made (a
// read-only root file system without a tmpfs at /run), the program runs without.
func (g *guest) serveApp(ctx context.Context, l *launch) {
	root, err := parseAccountRoot(g.image.manifest.AccountRoot)
	var listener net.Listener
	if err == nil {
		listener, err = listenApp(ctx, g.Root)
	}
	if err != nil {
		g.Log.Printf("the program cannot ask for evidence: %v", err)
		return
	}
	self := os.Getpid()
	s := &appServer{
		tee: g.tee, accountRoot: root, hostInput: hostInput(g.image.manifest, l), log: g.Log,
		allowed: func(pid int) bool { return descendant(g.Proc, pid, self) },
	}
	go s.serve(ctx, listener)
}
