package ledger

import (
	"encoding/binary"

	"hitoku.dev/internal/ledger/state"
)

// Spaces under an application's prefix.
const (
	spaceNonces byte = 0
	spaceCells  byte = 1
)

// nonces are what an account has used of its numbers in one application: the highest, and bit k of used
// for highest − k.
type nonces struct{ highest, used uint64 }

func (a *boundApp) nonceKey(account AccountID) []byte {
	return append(append(a.prefix[:len(a.prefix):len(a.prefix)], spaceNonces), account[:]...)
}

func (a *boundApp) nonces(t cells, account AccountID) nonces {
	b, ok := t.Get(a.nonceKey(account))
	if !ok || len(b) != 16 {
		return nonces{}
	}
	return nonces{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (a *boundApp) useNonce(tx *state.Tx, account AccountID, nonce uint64) Outcome {
	n := a.nonces(tx, account)
	switch below := n.highest - nonce; {
	case nonce > n.highest && nonce-n.highest > a.window:
		return refused(CodeNonceGap, "nonce %d, want at most %d", nonce, saturated(n.highest, a.window))
	case nonce > n.highest:
		up := nonce - n.highest // 64 shifts everything out
		n = nonces{highest: nonce, used: n.used<<up | 1}
	case nonce == 0 || below >= a.window || n.used>>below&1 == 1:
		return refused(CodeNonceUsed, "nonce %d is used or too old; the highest used is %d", nonce, n.highest)
	default:
		n.used |= 1 << below
	}
	b := binary.BigEndian.AppendUint64(nil, n.highest)
	if err := tx.Set(a.nonceKey(account), binary.BigEndian.AppendUint64(b, n.used)); err != nil {
		panic(err) // the key is at most 98 bytes
	}
	return Outcome{}
}

func saturated(a, b uint64) uint64 {
	if a+b < a {
		return 1<<64 - 1
	}
	return a + b
}
