package replica

import (
	"testing"

	"hitoku.dev/internal/ledger/wire"
)

func TestBoxStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[uint8]string{
		wire.StatusCommitted: "committed", wire.StatusPending: "pending", wire.StatusRejected: "rejected", wire.StatusRefused: "rejected",
	} {
		if got := boxStatus(status); got != want {
			t.Errorf("status %d: %q, wanted %q", status, got, want)
		}
	}
}
