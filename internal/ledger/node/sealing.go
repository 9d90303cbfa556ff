package node

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"log"
	"log/slog"

	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

// sealing holds keys that the same program on the same platform gets again.
type sealing struct {
	label wire.Hash
	blob  [32]byte // seals a vault's identity
	mac   [32]byte // protects the public control state from change
}

// newSealing asks the TEE. It returns nil where there is no sealer.
func newSealing(ctx context.Context, s member.Sealer, ledger wire.Hash, slot uint16) (*sealing, error) {
	if s == nil {
		return nil, nil
	}
	out := &sealing{label: wire.Sum("SEALED-FILE", ledger[:], wire.U16(slot))}
	key, err := s.SealKey(ctx, out.label)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	defer clear(key)
	for name, to := range map[string]*[32]byte{"blob": &out.blob, "control": &out.mac} {
		k, err := hkdf.Expand(sha256.New, key, name, len(to))
		if err != nil {
			return nil, fmt.Errorf("sealing key: %w", err)
		}
		copy(to[:], k)
	}
	return out, nil
}

// quiet keeps what net/http has to say about strangers' connections out of the log's
// ordinary lines.
func quiet(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }
