package keys

import (
	"encoding/binary"
	"fmt"

	"hitoku.dev/internal/ledger/wire"
)

// A wrap's plaintext is s ‖ x ‖ k_snap_x, and (k_log ‖ k_dig ‖ k_rand) of the epochs from x on.
const (
	wrapSize     = 32 + 8 + 32
	wrapTailSize = 3 * 32
	// MaxTail is how many epochs' keys one wrap may release.
	MaxTail = 64
)

func wrapInfo(ledger wire.Hash, epoch uint64, t wire.Hash, slot uint16, hpk []byte) []byte {
	return wire.Name("WRAP", ledger[:], wire.U64(epoch), t[:], wire.U16(slot), hpk)
}

// SealWrap seals the secret s of an epoch with T = t to the member in a slot. x is an earlier epoch
// whose k_snap the member asked for, with snap, and tail the keys of the epochs from x on; zero and
// none when nothing is released.
func SealWrap(suite wire.Suite, hpk []byte, ledger wire.Hash, epoch uint64, t wire.Hash, slot uint16, cm wire.Hash, s [32]byte, x uint64, snap [32]byte, tail ...Epoch) (wire.Wrap, error) {
	plain := make([]byte, 0, wrapSize+len(tail)*wrapTailSize)
	plain = append(plain, s[:]...)
	plain = binary.BigEndian.AppendUint64(plain, x)
	plain = append(plain, snap[:]...)
	for i, e := range tail {
		if e.Number != x+uint64(i) || i >= MaxTail {
			return wire.Wrap{}, fmt.Errorf("wrap for slot %d: keys of epoch %d as number %d from epoch %d", slot, e.Number, i, x)
		}
		plain = append(append(append(plain, e.Log[:]...), e.Digest[:]...), e.Random[:]...)
	}
	defer Erase(plain)
	enc, ct, err := sealTo(suite, hpk, wrapInfo(ledger, epoch, t, slot, hpk), cm[:], plain)
	if err != nil {
		return wire.Wrap{}, fmt.Errorf("wrap for slot %d: %w", slot, err)
	}
	return wire.Wrap{Slot: slot, Enc: enc, CT: ct}, nil
}

// OpenWrap opens the own wrap of a COMMIT and checks that the secret is the one committed to by cm.
// It returns what SealWrap was given; epochs of the tail have no init and snap keys. An error (ErrOpen)
// is a reason for ALARM.
func OpenWrap(k *HPKEKey, ledger wire.Hash, epoch uint64, t wire.Hash, slot uint16, cm wire.Hash, w wire.Wrap) (s [32]byte, x uint64, snap [32]byte, tail []Epoch, err error) {
	plain, _, err := openWith(k, w.Enc, wrapInfo(ledger, epoch, t, slot, k.public), cm[:], w.CT)
	if err != nil {
		return s, 0, snap, nil, fmt.Errorf("wrap of epoch %d for slot %d: %w", epoch, slot, err)
	}
	defer Erase(plain)
	if n := len(plain) - wrapSize; n < 0 || n%wrapTailSize != 0 || n/wrapTailSize > MaxTail {
		return s, 0, snap, nil, fmt.Errorf("%w: wrap of epoch %d for slot %d has %d bytes, wanted %d and a multiple of %d", ErrOpen, epoch, slot, len(plain), wrapSize, wrapTailSize)
	}
	s = [32]byte(plain[:32])
	if Commitment(t, s) != cm {
		Erase(s[:])
		return s, 0, snap, nil, fmt.Errorf("%w: wrap of epoch %d for slot %d holds another secret than the one committed to", ErrOpen, epoch, slot)
	}
	x = binary.BigEndian.Uint64(plain[32:40])
	if n := uint64(len(plain)-wrapSize) / wrapTailSize; n > 0 && (x == 0 || x >= epoch || n > epoch-x) {
		Erase(s[:])
		return s, 0, snap, nil, fmt.Errorf("%w: wrap of epoch %d for slot %d releases the keys of %d epochs from %d on", ErrOpen, epoch, slot, n, x)
	}
	for b := plain[wrapSize:]; len(b) > 0; b = b[wrapTailSize:] {
		tail = append(tail, Epoch{Number: x + uint64(len(tail)), Log: [32]byte(b), Digest: [32]byte(b[32:]), Random: [32]byte(b[64:])})
	}
	return s, x, [32]byte(plain[40:]), tail, nil
}
