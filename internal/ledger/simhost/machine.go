package simhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"hitoku.dev/enclave/simtee"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/measure/workload"
)

// platformFile is a machine's identity and secrets, in the machine's folder.
const platformFile = "simulated-platform.json"

const (
	// refreshEvery is how often the collateral is made anew; it lives 30 days.
	refreshEvery = 24 * time.Hour
	// backdate dates the collateral before the host's clock, since judges go by the time of the
	// log, which may be behind it.
	backdate = time.Hour
)

// MachineOptions say which machine runs what.
type MachineOptions struct {
	// Dir keeps the machine's identity; it is made where it is missing.
	Dir string
	// Program is the file of the node's program, linked statically.
	Program string
	// SVN is the security version that the program is signed with.
	SVN uint16
	// Now is the host's clock.
	Now func() time.Time
	// Log gets a line for each refusal of the simulated TEE; nil means none.
	Log *slog.Logger
}

// Machine is one simulated machine with its TEE on a socket.
type Machine struct {
	authority *Authority
	program   string
	tee       string // folder with socket, manifest, SIGSTRUCT and collateral
	manifest  []byte
	now       func() time.Time
	log       *slog.Logger

	cancel  context.CancelFunc
	done    chan struct{}
	serving error // why the server ended; to be read after done
	closing sync.Once
}

// Start makes or reads the machine in a folder and serves its TEE until Close. Each
// machine may run at most once at a time.
func (a *Authority) Start(ctx context.Context, o MachineOptions) (*Machine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	manifest, err := Manifest(o.Program)
	if err != nil {
		return nil, err
	}
	sigstruct, err := a.sign(ctx, workload.Measurement(manifest), o.SVN)
	if err != nil {
		return nil, err
	}
	platform, err := a.platform(o.Dir, o.Now())
	if err != nil {
		return nil, err
	}
	// Not below Dir: the path of a socket has at most 107 bytes.
	tee, err := os.MkdirTemp("", "hitoku-tee-") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("simulated machine: %w", err)
	}
	m := &Machine{authority: a, program: o.Program, tee: tee, manifest: manifest, now: o.Now, log: o.Log, done: make(chan struct{})}
	err = errors.Join(
		replace(filepath.Join(tee, member.SimulatedManifest), manifest, 0o600),
		replace(filepath.Join(tee, member.SimulatedSigstruct), sigstruct, 0o600),
		m.Refresh(),
	)
	if err == nil {
		err = m.serve(ctx, platform)
	}
	if err != nil {
		os.RemoveAll(tee)
		return nil, fmt.Errorf("simulated machine: %w", err)
	}
	return m, nil
}

// platform reads a machine's identity, or makes it, and has it certified once.
func (a *Authority) platform(dir string, now time.Time) (*simtee.Platform, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("simulated machine: %w", err)
	}
	p, err := simtee.LoadOrCreatePlatform(filepath.Join(dir, platformFile))
	if err != nil {
		return nil, err
	}
	// Certified at each start: the folder may have been used with another authority.
	chain, err := a.sim.IssuePCK(p.PCKPublic(), p.PPID(), now)
	if err != nil {
		return nil, err
	}
	return p, p.InstallPCK(chain)
}

// serve starts the simulated TEE and the renewal of collateral.
func (m *Machine) serve(ctx context.Context, platform *simtee.Platform) error {
	ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ready := make(chan struct{})
	server := simtee.NewServer(platform, simtee.ServerOptions{Log: m.log})
	go func() {
		defer close(m.done)
		m.serving = server.ServeReady(ctx, m.tee, func() { close(ready) })
	}()
	select {
	case <-ready:
	case <-m.done:
		m.cancel()
		return m.serving
	}
	go m.renew(ctx)
	return nil
}

func (m *Machine) renew(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := m.Refresh(); err != nil {
				m.log.Error("simulated machine: collateral is not renewed", "error", err)
			}
		}
	}
}

// Refresh makes the collateral anew, which happens by itself every day.
func (m *Machine) Refresh() error {
	c, err := m.authority.sim.Collateral(m.now().Add(-backdate))
	if err != nil {
		return err
	}
	raw, err := member.EncodeCollateral(c)
	if err != nil {
		return err
	}
	return replace(filepath.Join(m.tee, member.SimulatedCollateral), raw, 0o600)
}

// Dir is the folder that the program must be told: member.OpenSimulated reads it. It
// lasts until Close.
func (m *Machine) Dir() string { return m.tee }

// Measurement is that of the program as it was when the machine started.
func (m *Machine) Measurement() [32]byte { return workload.Measurement(m.manifest) }

// Command prepares a run of the program: without the environment, and where the caller
// is not root in a user namespace of its own, without which an ordinary user's simulated
// TEE cannot see what a process that nobody may trace runs. The program ends with the
// thread that starts it: keep the process alive that calls Start. Hand an error of
// Start to [Explain].
func (m *Machine) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(m.program, args...)
	cmd.Env = []string{}
	cmd.SysProcAttr = attributes()
	return cmd
}

// Close ends the TEE. A program that still runs obtains no evidence any more.
func (m *Machine) Close() error {
	m.closing.Do(func() {
		m.cancel()
		<-m.done
		os.RemoveAll(m.tee)
	})
	if errors.Is(m.serving, context.Canceled) {
		return nil
	}
	return m.serving
}
