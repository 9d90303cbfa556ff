package ethereum

import (
	"fmt"
)

// transaction is what is signed: legacy with chain id (EIP-155), or with a dynamic fee (EIP-1559).
type transaction struct {
	chainID uint64
	nonce   uint64
	legacy  bool
	tip     uint64 // wei per gas; unused where legacy
	max     uint64 // wei per gas; the gas price where legacy
	gas     uint64
	to      *Address // nil makes a contract
	data    []byte
}

func (t *transaction) recipient() []byte {
	if t.to == nil {
		return nil
	}
	return t.to[:]
}

// sign returns the bytes for eth_sendRawTransaction and the transaction's hash.
func (t *transaction) sign(k *Key) (raw []byte, hash Hash) {
	var b []byte
	if t.legacy {
		for _, n := range []uint64{t.nonce, t.max, t.gas} {
			b = appendRLPUint(b, n)
		}
		b = appendRLPBytes(b, t.recipient())
		b = appendRLPUint(b, 0)
		b = appendRLPBytes(b, t.data)
		unsigned := appendRLPUint(append([]byte(nil), b...), t.chainID)
		unsigned = appendRLPUint(appendRLPUint(unsigned, 0), 0)
		sig := k.Sign(keccak(appendRLPList(nil, unsigned)))
		b = appendRLPUint(b, t.chainID*2+35+uint64(sig[64]))
		raw = appendRLPList(nil, appendSignature(b, sig))
	} else {
		for _, n := range []uint64{t.chainID, t.nonce, t.tip, t.max, t.gas} {
			b = appendRLPUint(b, n)
		}
		b = appendRLPBytes(b, t.recipient())
		b = appendRLPUint(b, 0)
		b = appendRLPBytes(b, t.data)
		b = appendRLPList(b, nil)
		sig := k.Sign(keccak([]byte{2}, appendRLPList(nil, b)))
		b = appendRLPUint(b, uint64(sig[64]))
		raw = appendRLPList([]byte{2}, appendSignature(b, sig))
	}
	return raw, keccak(raw)
}

func appendSignature(b []byte, sig [65]byte) []byte {
	for _, n := range [][]byte{sig[:32], sig[32:64]} {
		for len(n) > 0 && n[0] == 0 {
			n = n[1:]
		}
		b = appendRLPBytes(b, n)
	}
	return b
}

// contractAddress is where a transaction of an account makes its contract.
func contractAddress(from Address, nonce uint64) (a Address) {
	h := keccak(appendRLPList(nil, appendRLPUint(appendRLPBytes(nil, from[:]), nonce)))
	copy(a[:], h[12:])
	return a
}

// Fees say what is paid for a transaction. All prices are wei per gas.
type Fees struct {
	// Legacy sends transactions with a gas price, for networks without EIP-1559 and those without fees.
	Legacy bool
	// Price is the gas price of legacy transactions; networks without fees take 0.
	Price uint64
	// Tip is what the block's maker gets beyond the base fee; 0 is 1 gwei.
	Tip uint64
	// Max is the most that is ever paid, tip included, also by replacements; 0 is 500 gwei.
	Max uint64
}

const gwei = 1_000_000_000

func (f Fees) withDefaults() Fees {
	if f.Max == 0 {
		f.Max = 500 * gwei
	}
	if f.Tip == 0 {
		f.Tip = min(gwei, f.Max)
	}
	return f
}

func (f Fees) check() error {
	f = f.withDefaults()
	if f.Price > f.Max || f.Tip > f.Max {
		return fmt.Errorf("ethereum: gas price %d and tip %d wei are above the highest allowed, %d", f.Price, f.Tip, f.Max)
	}
	return nil
}

// price returns tip and highest price for a base fee, after a number of replacements. Nodes replace a
// transaction only if tip and price rise by a tenth or more.
func (f Fees) price(baseFee uint64, replaced int) (tip, highest uint64) {
	f = f.withDefaults()
	if f.Legacy {
		return 0, raised(f.Price, replaced, f.Max)
	}
	tip = raised(f.Tip, replaced, f.Max)
	highest = raised(min(2*min(baseFee, f.Max)+f.Tip, f.Max), replaced, f.Max)
	return min(tip, highest), highest
}

// raised is n raised by an eighth, at least 1, so many times, but not above a limit. Nothing stays nothing: accounts on
// networks without fees own nothing.
func raised(n uint64, times int, limit uint64) uint64 {
	if n == 0 {
		return 0
	}
	for range times {
		if n >= limit {
			return limit
		}
		n += n/8 + 1
	}
	return min(n, limit)
}
