package replica

import (
	"encoding/binary"
	"fmt"

	"hitoku.dev/internal/ledger/state"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// A command that comes twice, since its client tried another node, has one outcome. The newest
// ones of each account are cells of the state, outside all applications (their keys begin with a
// byte that no application's do), so that a node that was not there when a command was executed
// knows it too (section 5).
const (
	rememberedPrefix  = 0
	maxRememberedSize = 512 // bytes of an outcome; of a longer one the code alone is kept
)

func (r *Replica) rememberedKey(c wire.Command) []byte {
	window := r.windows[c.Application]
	if window == 0 {
		return nil
	}
	account := wire.AccountID(c.Scheme, c.Key)
	h := wire.Sum("EXECUTED", []byte(c.Application), account[:], wire.U64(c.Nonce%window))
	return append([]byte{rememberedPrefix}, h[:16]...)
}

// usesNonce says whether a command with this code has used its nonce up.
func usesNonce(code uint16) bool {
	switch code {
	case ledger.CodeMalformed, ledger.CodeWrongLedger, ledger.CodeBadSignature, ledger.CodeUnknownApplication,
		ledger.CodePolicyRefused, ledger.CodeExpired, ledger.CodeNonceUsed, ledger.CodeNonceGap:
		return false
	}
	return true
}

// remember keeps an executed command's outcome in the state, or finds that of the same command
// executed before.
func (r *Replica) remember(tx *state.Tx, c wire.Command, hash wire.Hash, d *done) {
	key := r.rememberedKey(c)
	if key == nil {
		return
	}
	if d.outcome.Code == ledger.CodeNonceUsed {
		if v, ok := tx.Get(key); ok {
			d.earlier = parseRemembered(v, hash)
		}
		return
	}
	if !usesNonce(d.outcome.Code) {
		return
	}
	v := append([]byte(nil), hash[:]...)
	v = binary.BigEndian.AppendUint64(v, d.position)
	v = binary.BigEndian.AppendUint32(v, d.index)
	o := d.outcome.Encode()
	if len(o) > maxRememberedSize {
		o = wire.Outcome{Code: d.outcome.Code}.Encode()
	}
	if err := tx.Set(key, append(v, o...)); err != nil {
		panic(fmt.Sprintf("remembered outcome: %v", err)) // its size is bounded above
	}
}

func parseRemembered(v []byte, hash wire.Hash) *done {
	if len(v) < 44 || wire.Hash(v[:32]) != hash {
		return nil
	}
	o, err := wire.ParseOutcome(v[44:])
	if err != nil {
		return nil
	}
	return &done{position: binary.BigEndian.Uint64(v[32:]), index: binary.BigEndian.Uint32(v[40:]), outcome: o}
}
