package ledger

import (
	"errors"
	"math/big"
	"math/bits"
	"strings"
)

func overflow(r Reader, what string) {
	r.env().abort(refused(CodeOverflow, "%s is out of range", what))
}

// Add is a + b. A sum above 2^64−1 refuses the command with [CodeOverflow].
func (v *View) Add(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		overflow(v, "sum")
	}
	return sum
}

// Sub is a − b. A difference below 0 refuses the command with [CodeOverflow].
func (v *View) Sub(a, b uint64) uint64 {
	if a < b {
		overflow(v, "difference")
	}
	return a - b
}

// Mul is a · b. A product above 2^64−1 refuses the command with [CodeOverflow].
func (v *View) Mul(a, b uint64) uint64 { return v.MulDiv(a, b, 1) }

// MulDiv is a · b / c, rounded down, with the product kept whole. A quotient above 2^64−1 and c = 0 refuse
// the command with [CodeOverflow].
func (v *View) MulDiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high >= c {
		overflow(v, "product")
	}
	quotient, _ := bits.Div64(high, low, c)
	return quotient
}

// Credit adds amount to key's value in m and returns the sum. A sum above 2^64−1 refuses the command with
// [CodeOverflow].
func Credit[K any](ctx *Context, m Map[K, uint64], key K, amount uint64) uint64 {
	sum := ctx.Add(m.Get(ctx, key), amount)
	if sum > 0 {
		m.Set(ctx, key, sum)
	}
	return sum
}

// Debit takes amount from key's value in m and returns what is left; nothing left deletes the key. When
// there is less than amount the command is refused with word.
func Debit[K any](ctx *Context, m Map[K, uint64], key K, amount uint64, word string) uint64 {
	have := m.Get(ctx, key)
	ctx.Require(have >= amount, word)
	if have == amount {
		m.Delete(ctx, key)
	} else {
		m.Set(ctx, key, have-amount)
	}
	return have - amount
}

// Uint128 is an amount up to 2^128−1. In JSON it is a string of decimal digits; a bare integer is read too.
type Uint128 struct{ Hi, Lo uint64 }

// Uint128From is n.
func Uint128From(n uint64) Uint128 { return Uint128{Lo: n} }

// ParseUint128 reads decimal digits.
func ParseUint128(s string) (Uint128, error) {
	n := new(big.Int)
	if s == "" || len(s) > 39 || strings.Trim(s, "0123456789") != "" {
		return Uint128{}, errors.New("no unsigned integer of 128 bits")
	}
	n.SetString(s, 10)
	if n.BitLen() > 128 {
		return Uint128{}, errors.New("no unsigned integer of 128 bits")
	}
	return Uint128{Hi: new(big.Int).Rsh(n, 64).Uint64(), Lo: new(big.Int).And(n, new(big.Int).SetUint64(1<<64-1)).Uint64()}, nil
}

// String gives decimal digits.
func (a Uint128) String() string {
	n := new(big.Int).Lsh(new(big.Int).SetUint64(a.Hi), 64)
	return n.Or(n, new(big.Int).SetUint64(a.Lo)).String()
}

// Cmp is −1, 0 or 1 when a is below, equal to or above b.
func (a Uint128) Cmp(b Uint128) int {
	_, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	_, borrow = bits.Sub64(a.Hi, b.Hi, borrow)
	switch {
	case borrow != 0:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// Add is a + b; above 2^128−1 the command is refused with [CodeOverflow].
func (a Uint128) Add(r Reader, b Uint128) Uint128 {
	low, carry := bits.Add64(a.Lo, b.Lo, 0)
	high, carry := bits.Add64(a.Hi, b.Hi, carry)
	if carry != 0 {
		overflow(r, "sum")
	}
	return Uint128{high, low}
}

// Sub is a − b; below 0 the command is refused with [CodeOverflow].
func (a Uint128) Sub(r Reader, b Uint128) Uint128 {
	low, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	high, borrow := bits.Sub64(a.Hi, b.Hi, borrow)
	if borrow != 0 {
		overflow(r, "difference")
	}
	return Uint128{high, low}
}

// Mul is a · n; above 2^128−1 the command is refused with [CodeOverflow].
func (a Uint128) Mul(r Reader, n uint64) Uint128 {
	carry, low := bits.Mul64(a.Lo, n)
	over, high := bits.Mul64(a.Hi, n)
	high, more := bits.Add64(high, carry, 0)
	if over != 0 || more != 0 {
		overflow(r, "product")
	}
	return Uint128{high, low}
}
