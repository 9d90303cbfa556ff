package replica

import (
	"context"
	"errors"
	"fmt"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/order"
)

// ErrTooOld means that the records after a state are not kept any more; Refill gets them.
var ErrTooOld = errors.New("the records after it are not kept")

// ReadFunc returns at most limit final entries after a position, as order.Log does.
type ReadFunc func(ctx context.Context, after uint64, limit int) ([]order.Entry, error)

// refillPage is how many entries are read at once.
const refillPage = 256

// Refill follows the log once more, beside what the node has followed, and keeps the records
// after a position: for a state that is older than the one awaited. It does nothing on a node
// that has its state.
func (r *Replica) Refill(ctx context.Context, from uint64, read ReadFunc) error {
	shadow, err := control.New(r.o.Genesis, r.o.Appraise)
	if err != nil {
		return err
	}
	r.mu.Lock()
	to := r.ctl.Position()
	r.mu.Unlock()
	var backlog []*control.Event
	bytes := 0
	for shadow.Position() < to {
		entries, err := read(ctx, shadow.Position(), int(min(refillPage, to-shadow.Position())))
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return fmt.Errorf("the log gives no position after %d any more; it had %d", shadow.Position(), to)
		}
		for _, e := range entries {
			ev, err := shadow.Apply(e)
			if err != nil {
				return err
			}
			if ev.Skipped != "" || ev.Position <= from || ev.Commit == nil && ev.Data == nil {
				continue
			}
			if bytes += size(ev); len(backlog) >= r.o.Limits.Backlog || bytes > r.o.Limits.BacklogBytes {
				return fmt.Errorf("more than %d records or %d bytes after position %d: a newer state is needed", r.o.Limits.Backlog, r.o.Limits.BacklogBytes, from)
			}
			backlog = append(backlog, ev)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x := &r.exec
	if x.ready {
		return nil
	}
	if mark, ok := r.ctl.At(to); ok && mark.Chain != shadow.Chain() {
		return r.halt(fmt.Errorf("the log gave another history up to position %d the second time: it has been forked", to))
	}
	if x.backlogFrom > to {
		return fmt.Errorf("state of position %d: %w", from, ErrTooOld)
	}
	for _, ev := range x.backlog {
		if ev.Position > to {
			backlog = append(backlog, ev)
		}
	}
	x.keep(backlog, from)
	x.markAt, x.hasMark = from, false
	return nil
}
