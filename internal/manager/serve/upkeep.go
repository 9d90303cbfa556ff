package serve

import (
	"context"
	"log/slog"
	"time"

	"hitoku.dev/internal/manager"
)

// keepUp lets the manager look after its authorities, now and from time to time, until the
// function that it returns is called, which waits for the last look.
func (m *opened) keepUp(ctx context.Context, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(manager.UpkeepInterval)
		defer every.Stop()
		for {
			if err := m.Upkeep(ctx); err != nil && ctx.Err() == nil {
				log.Error("certificates of authorities could not be looked after", "error", err)
			}
			select {
			case <-every.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}
