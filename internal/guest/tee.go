package guest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/client"
)

// TEE is what the guest needs of the simulated TEE: to be measured, then evidence.
type TEE interface {
	Measure(ctx context.Context, manifest, sigstruct []byte) error
	Evidence(ctx context.Context, b *attest.Binding) ([]byte, error)
	Close() error
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

// Evidence returns a quote over b. A broken connection is made again once.
func (m *measured) Evidence(ctx context.Context, b *attest.Binding) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tee != nil {
		quote, err := m.tee.Evidence(ctx, b)
		var refused *client.RefusedError
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return quote, err
		}
		m.tee.Close()
		m.tee = nil
	}
	if err := m.connect(ctx); err != nil {
		return nil, err
	}
	return m.tee.Evidence(ctx, b)
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
