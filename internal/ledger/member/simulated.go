package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/measure/workload"
)

// The files in the folder of a simulated machine, which package simhost writes.
const (
	SimulatedSocket     = client.SocketName
	SimulatedManifest   = "manifest.json"
	SimulatedSigstruct  = "sigstruct"
	SimulatedCollateral = "collateral.json"
)

const maxSimulatedFile = 1 << 20

// Simulated is this process in the simulated TEE: it connects, has itself measured
// over the manifest in a folder, and connects anew when the simulated TEE was
// restarted. It implements [enclave.TEE].
type Simulated struct {
	dir string

	mu     sync.Mutex
	tee    *client.Client // nil while there is no connection
	closed bool
}

var _ enclave.TEE = (*Simulated)(nil)

// OpenSimulated has this process measured. The folder is the host's: what it gives is
// measured, or judged by those who judge the evidence. Call [CleanStart] before.
func OpenSimulated(ctx context.Context, dir string) (*Simulated, error) {
	s := &Simulated{dir: dir}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// FromSimulated is [FromTEE] with the collateral from the machine's folder.
func FromSimulated(s *Simulated, now func() time.Time) *TEE {
	return FromTEE(s, CollateralFile(filepath.Join(s.dir, SimulatedCollateral), now))
}

// connect dials and is measured. Callers hold mu.
func (s *Simulated) connect(ctx context.Context) error {
	manifest, err := readFile(filepath.Join(s.dir, SimulatedManifest))
	if err != nil {
		return err
	}
	if _, err := workload.Decode(manifest); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(s.dir, SimulatedManifest), err)
	}
	sigstruct, err := readFile(filepath.Join(s.dir, SimulatedSigstruct))
	if err != nil {
		return err
	}
	tee, err := client.Dial(ctx, filepath.Join(s.dir, SimulatedSocket))
	if err != nil {
		return err
	}
	if err := tee.Measure(ctx, manifest, sigstruct); err != nil {
		tee.Close()
		return fmt.Errorf("measure: %w", err)
	}
	s.tee = tee
	return nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("simulated machine: %w; was this program started by `hitoku ledger`?", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSimulatedFile+1))
	if err == nil && len(b) > maxSimulatedFile {
		err = fmt.Errorf("more than %d bytes", maxSimulatedFile)
	}
	if err != nil {
		return nil, fmt.Errorf("simulated machine: %s: %w", name, err)
	}
	return b, nil
}

// Evidence implements [enclave.TEE].
func (s *Simulated) Evidence(ctx context.Context, b *attest.Binding) (evidence []byte, err error) {
	err = s.do(ctx, func(tee *client.Client) error {
		evidence, err = tee.Evidence(ctx, b)
		return err
	})
	return evidence, err
}

// SealKey implements [enclave.TEE].
func (s *Simulated) SealKey(ctx context.Context, r enclave.SealRequest) (key []byte, err error) {
	err = s.do(ctx, func(tee *client.Client) error {
		key, err = tee.SealKey(ctx, r)
		return err
	})
	return key, err
}

// do uses the connection. One that is broken is made again once.
func (s *Simulated) do(ctx context.Context, f func(*client.Client) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return client.ErrClosed
	}
	if s.tee != nil {
		err := f(s.tee)
		if err == nil || errors.As(err, new(*client.RefusedError)) || ctx.Err() != nil {
			return err
		}
		s.tee.Close()
		s.tee = nil
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	return f(s.tee)
}

// Close ends the connection for good.
func (s *Simulated) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return client.ErrClosed
	}
	s.closed = true
	if s.tee == nil {
		return nil
	}
	return s.tee.Close()
}
