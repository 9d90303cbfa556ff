package guest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/simtee/client"
)

// TEE is what the guest needs of the simulated TEE: to be measured, then
// evidence, sealing keys, and reports for other programs of the machine.
type TEE interface {
	Measure(ctx context.Context, manifest, sigstruct []byte) error
	Evidence(ctx context.Context, b *attest.Binding) ([]byte, error)
	enclave.LocalReporter
	sealer
	Close() error
}

// sealer derives keys of the measured program; see [enclave.TEE].
type sealer interface {
	SealKey(ctx context.Context, r enclave.SealRequest) ([]byte, error)
}

// DialSimulated connects to the simulated TEE's socket.
func DialSimulated(ctx context.Context, socket string) (TEE, error) {
	return client.Dial(ctx, socket)
}

// measured keeps the one connection to the TEE for the guest's life (ruling 1).
// A node agent that restarts forgets the processes it has measured; then the
// guest is measured anew, over the same bytes.
type measured struct {
	dial  func(ctx context.Context) (TEE, error)
	bytes func() (manifest, sigstruct []byte, err error)

	mu  sync.Mutex
	tee TEE
}

// connect dials and is measured. Callers hold mu.
func (m *measured) connect(ctx context.Context) error {
	manifest, sigstruct, err := m.bytes()
	if err != nil {
		return err
	}
	tee, err := m.dial(ctx)
	if err != nil {
		return err
	}
	if err := tee.Measure(ctx, manifest, sigstruct); err != nil {
		tee.Close()
		return fmt.Errorf("measure: %w", err)
	}
	m.tee = tee
	return nil
}

// open makes the first connection.
func (m *measured) open(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connect(ctx)
}

// Evidence returns a quote over b.
func (m *measured) Evidence(ctx context.Context, b *attest.Binding) (quote []byte, err error) {
	err = m.do(ctx, func(tee TEE) error {
		quote, err = tee.Evidence(ctx, b)
		return err
	})
	return quote, err
}

// Report returns a REPORT over b for the program that target names.
func (m *measured) Report(ctx context.Context, target []byte, b *attest.Binding) (report []byte, err error) {
	err = m.do(ctx, func(tee TEE) error {
		report, err = tee.Report(ctx, target, b)
		return err
	})
	return report, err
}

// SealKey derives a sealing key.
func (m *measured) SealKey(ctx context.Context, r enclave.SealRequest) (key []byte, err error) {
	err = m.do(ctx, func(tee TEE) error {
		key, err = tee.SealKey(ctx, r)
		return err
	})
	return key, err
}

// VerifyReport returns nil when report was made for this guest on this machine.
func (m *measured) VerifyReport(ctx context.Context, report []byte) error {
	return m.do(ctx, func(tee TEE) error { return tee.VerifyReport(ctx, report) })
}

// do uses the connection. A broken one is made again once.
func (m *measured) do(ctx context.Context, f func(TEE) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tee != nil {
		err := f(m.tee)
		var refused *client.RefusedError
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return err
		}
		m.tee.Close()
		m.tee = nil
	}
	if err := m.connect(ctx); err != nil {
		return err
	}
	return f(m.tee)
}

// Close ends the connection.
func (m *measured) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tee == nil {
		return nil
	}
	err := m.tee.Close()
	m.tee = nil
	return err
}
