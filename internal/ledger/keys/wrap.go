package keys

import (
	"encoding/binary"
	"fmt"

	"hitoku.dev/internal/ledger/wire"
)

// wrapSize is s ‖ x ‖ k_snap_x.
const wrapSize = 32 + 8 + 32

func wrapInfo(ledger wire.Hash, epoch uint64, t wire.Hash, slot uint16, hpk []byte) []byte {
	return wire.Name("WRAP", ledger[:], wire.U64(epoch), t[:], wire.U16(slot), hpk)
}

// SealWrap seals the secret s of an epoch with T = t to the member in a slot. x is an earlier epoch
// whose k_snap the member asked for, with snap; both zero when there is none.
func SealWrap(suite wire.Suite, hpk []byte, ledger wire.Hash, epoch uint64, t wire.Hash, slot uint16, cm wire.Hash, s [32]byte, x uint64, snap [32]byte) (wire.Wrap, error) {
	plain := make([]byte, 0, wrapSize)
	plain = append(plain, s[:]...)
	plain = binary.BigEndian.AppendUint64(plain, x)
	plain = append(plain, snap[:]...)
	defer Erase(plain)
	enc, ct, err := sealTo(suite, hpk, wrapInfo(ledger, epoch, t, slot, hpk), cm[:], plain)
	if err != nil {
		return wire.Wrap{}, fmt.Errorf("wrap for slot %d: %w", slot, err)
	}
	return wire.Wrap{Slot: slot, Enc: enc, CT: ct}, nil
}

// OpenWrap opens the own wrap of a COMMIT and checks that the secret is the one committed to by cm.
// An error (ErrOpen) is a reason for ALARM.
func OpenWrap(k *HPKEKey, ledger wire.Hash, epoch uint64, t wire.Hash, slot uint16, cm wire.Hash, w wire.Wrap) (s [32]byte, x uint64, snap [32]byte, err error) {
	plain, _, err := openWith(k, w.Enc, wrapInfo(ledger, epoch, t, slot, k.public), cm[:], w.CT)
	if err != nil {
		return s, 0, snap, fmt.Errorf("wrap of epoch %d for slot %d: %w", epoch, slot, err)
	}
	defer Erase(plain)
	if len(plain) != wrapSize {
		return s, 0, snap, fmt.Errorf("%w: wrap of epoch %d for slot %d has %d bytes, wanted %d", ErrOpen, epoch, slot, len(plain), wrapSize)
	}
	s = [32]byte(plain[:32])
	if Commitment(t, s) != cm {
		Erase(s[:])
		return s, 0, snap, fmt.Errorf("%w: wrap of epoch %d for slot %d holds another secret than the one committed to", ErrOpen, epoch, slot)
	}
	return s, binary.BigEndian.Uint64(plain[32:40]), [32]byte(plain[40:]), nil
}
