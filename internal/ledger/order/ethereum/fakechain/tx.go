package fakechain

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// tx is a signed transaction as it came in.
type tx struct {
	hash            [32]byte
	from, to        [20]byte
	nonce, tip, max uint64
	gas             uint64
	data            []byte
}

var errTx = errors.New("invalid transaction")

// split reads the items of an RLP list of byte strings; lists within it are given empty.
func split(b []byte) ([][]byte, error) {
	content, rest, isList, err := one(b)
	if err != nil || !isList || len(rest) > 0 {
		return nil, errTx
	}
	var list [][]byte
	for len(content) > 0 {
		var i []byte
		if i, content, _, err = one(content); err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

func one(b []byte) (content, rest []byte, isList bool, err error) {
	if len(b) == 0 {
		return nil, nil, false, errTx
	}
	h := int(b[0])
	if h < 0x80 {
		return b[:1], b[1:], false, nil
	}
	if isList = h >= 0xc0; isList {
		h -= 0xc0
	} else {
		h -= 0x80
	}
	b = b[1:]
	if h > 55 {
		n := h - 55
		if n > 4 || n > len(b) {
			return nil, nil, false, errTx
		}
		h = 0
		for _, c := range b[:n] {
			h = h<<8 | int(c)
		}
		b = b[n:]
	}
	if h > len(b) {
		return nil, nil, false, errTx
	}
	return b[:h], b[h:], isList, nil
}

func toUint(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// parseTx reads a legacy (EIP-155) or dynamic-fee (EIP-1559) transaction and finds its sender.
func parseTx(raw []byte, chainID uint64) (*tx, error) {
	t := &tx{hash: [32]byte(keccak(raw))}
	var signed []byte
	var v byte
	var r, s, to []byte
	switch {
	case len(raw) > 0 && raw[0] == 2:
		f, err := split(raw[1:])
		if err != nil || len(f) != 12 || toUint(f[0]) != chainID {
			return nil, errTx
		}
		t.nonce, t.tip, t.max, t.gas, to, t.data = toUint(f[1]), toUint(f[2]), toUint(f[3]), toUint(f[4]), f[5], f[7]
		var parts [][]byte
		for _, i := range f[:8] {
			parts = append(parts, rlpBytes(i))
		}
		signed = keccak([]byte{2}, rlpList(append(parts, rlpList())...))
		v, r, s = byte(toUint(f[9])), f[10], f[11]
	default:
		f, err := split(raw)
		if err != nil || len(f) != 9 {
			return nil, errTx
		}
		t.nonce, t.max, t.gas, to, t.data = toUint(f[0]), toUint(f[1]), toUint(f[2]), f[3], f[5]
		t.tip = t.max
		var parts [][]byte
		for _, i := range f[:6] {
			parts = append(parts, rlpBytes(i))
		}
		signed = keccak(rlpList(append(parts, rlpUint(chainID), rlpUint(0), rlpUint(0))...))
		full := toUint(f[6])
		if full != 35+2*chainID && full != 36+2*chainID {
			return nil, errTx
		}
		v, r, s = byte(full-35-2*chainID), f[7], f[8]
	}
	if len(to) != 20 || len(r) > 32 || len(s) > 32 || v > 1 {
		return nil, errTx
	}
	copy(t.to[:], to)
	sig := make([]byte, 65)
	sig[0] = 27 + v
	copy(sig[33-len(r):], r)
	copy(sig[65-len(s):], s)
	p, _, err := ecdsa.RecoverCompact(sig, signed)
	if err != nil {
		return nil, errTx
	}
	copy(t.from[:], keccak(p.SerializeUncompressed()[1:])[12:])
	return t, nil
}

// submission reads the input of submit(bytes,bytes32,uint64) as the contract does.
func (t *tx) submission() (record []byte, sender [32]byte, n uint64, ok bool) {
	d := t.data
	if len(d) < 4+128 || string(d[:4]) != string(keccak([]byte("submit(bytes,bytes32,uint64)"))[:4]) {
		return nil, sender, 0, false
	}
	d = d[4:]
	word := func(i int) uint64 { return binary.BigEndian.Uint64(d[i*32+24:]) }
	length := word(3)
	if word(0) != 96 || length == 0 || length > uint64(len(d)-128) {
		return nil, sender, 0, false
	}
	return d[128 : 128+length], [32]byte(d[32:64]), word(2), true
}

// tenth says whether a price is high enough to replace another.
func tenth(now, before uint64) bool {
	high, low := bits.Mul64(before, 11)
	if high > 0 {
		return false
	}
	return now > before && now >= low/10
}
