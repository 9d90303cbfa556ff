package keys

import (
	"crypto/hkdf"
	"crypto/sha256"

	"hitoku.dev/internal/ledger/wire"
)

// Epoch is the keys of one epoch. A part that was erased is zero.
type Epoch struct {
	Number uint64
	Init   [32]byte // salt of the next epoch's secret
	Log    [32]byte // k_log: DATA
	Digest [32]byte // k_dig: state digests and blinds
	Snap   [32]byte // k_snap: sealed files
	Random [32]byte // k_rand: randomness of applications
}

// NextSecret is s of the next epoch: HKDF-Extract(init of the epoch before, 32 random bytes). Init
// of epoch 0 is zero.
func NextSecret(init, fresh [32]byte) [32]byte {
	out, err := hkdf.Extract(sha256.New, fresh[:], init[:])
	if err != nil {
		panic(err) // SHA-256 is approved everywhere
	}
	return [32]byte(out)
}

// FromSecret derives an epoch's keys. The caller erases s.
func FromSecret(s [32]byte, number uint64) Epoch {
	part := func(name string) [32]byte {
		return expand(s, wire.Name("KEY", []byte(name), wire.U64(number)))
	}
	return Epoch{
		Number: number,
		Init:   part("init"), Log: part("log"), Digest: part("digest"), Snap: part("snap"), Random: part("random"),
	}
}

// Commitment is cm of a COMMIT: H(CM(T, s)).
func Commitment(t wire.Hash, s [32]byte) wire.Hash { return wire.Sum("CM", t[:], s[:]) }

// Clone returns a copy that erasing e leaves alone.
func (e *Epoch) Clone() Epoch { return *e }

// HasInit says whether Init is there.
func (e *Epoch) HasInit() bool { return e.Init != [32]byte{} }

// HasLog says whether Log is there.
func (e *Epoch) HasLog() bool { return e.Log != [32]byte{} }

// HasSnap says whether Snap is there.
func (e *Epoch) HasSnap() bool { return e.Snap != [32]byte{} }

// EraseInit erases Init.
func (e *Epoch) EraseInit() { Erase(e.Init[:]) }

// EraseLog erases Log.
func (e *Epoch) EraseLog() { Erase(e.Log[:]) }

// EraseSnap erases Snap.
func (e *Epoch) EraseSnap() { Erase(e.Snap[:]) }

// Erase erases every key of the epoch; the number stays.
func (e *Epoch) Erase() { *e = Epoch{Number: e.Number} }

// StateDigest is D_i = MAC(k_dig, STATE(i, R_i)).
func StateDigest(digest [32]byte, position uint64, root wire.Hash) wire.Hash {
	return mac(digest, wire.Name("STATE", wire.U64(position), root[:]))
}

// Blind is the blind of the leaf of the command at an index (from 0) of a position.
func Blind(digest [32]byte, position uint64, index uint32) wire.Hash {
	return mac(expand(digest, wire.Name("BLIND")), wire.U64(position), wire.U32(index))
}

// Seed is the randomness of a position: MAC(k_rand, RANDOM(position)).
func Seed(random [32]byte, position uint64) [32]byte {
	return mac(random, wire.Name("RANDOM", wire.U64(position)))
}
