package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Random gives numbers that every node draws alike, and that nobody outside the TEEs can foresee. They are
// the bytes of HMAC-SHA256(seed, u64 0) ‖ HMAC-SHA256(seed, u64 1) ‖ …, where seed is
// HMAC-SHA256(block's randomness, lv("hitoku-ledger/1") ‖ lv("COMMANDRANDOM") ‖ lv(u32 index)): other ones
// for each command.
type Random struct {
	seed    []byte
	counter uint64
	left    []byte
}

// Random is the command's source of randomness. Within a command it goes on where it stopped.
func (c *Context) Random() *Random {
	e := c.e
	e.usable()
	if e.random == nil {
		b := appendLV(nil, []byte(protocol))
		b = appendLV(b, []byte("COMMANDRANDOM"))
		b = appendLV(b, binary.BigEndian.AppendUint32(nil, e.index))
		e.random = &Random{seed: mac(e.block.Random[:], b)}
	}
	return e.random
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// Fill fills p with random bytes.
func (r *Random) Fill(p []byte) {
	for len(p) > 0 {
		if len(r.left) == 0 {
			r.left = mac(r.seed, binary.BigEndian.AppendUint64(nil, r.counter))
			r.counter++
		}
		n := copy(p, r.left)
		p, r.left = p[n:], r.left[n:]
	}
}

// Uint64 is a number of 64 random bits, the first byte the highest.
func (r *Random) Uint64() uint64 {
	var b [8]byte
	r.Fill(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// Below is a number from 0 to n−1, each as likely as the others. n must be above 0.
func (r *Random) Below(n uint64) uint64 {
	if n == 0 {
		panic("ledger: Random.Below(0)")
	}
	for {
		// The high half of a product is the number; low halves below 2^64 mod n are drawn anew.
		high, low := bits.Mul64(r.Uint64(), n)
		if low >= -n%n {
			return high
		}
	}
}
