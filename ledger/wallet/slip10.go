package wallet

import (
	"crypto/elliptic"
	"encoding/binary"
	"math/big"

	"hitoku.dev/ledger"
)

// hardened is added to the numbers of hardened children, the only ones that are used here.
const hardened = 1 << 31

// node is a private key of SLIP-0010 with its chain code.
type node struct {
	scheme     uint8
	key, chain [32]byte
}

// masterNode makes the root of a seed.
func masterNode(scheme uint8, seed []byte) node {
	salt := "ed25519 seed"
	if scheme == ledger.SchemeP256 {
		salt = "Nist256p1 seed"
	}
	for {
		i := hmac512([]byte(salt), seed)
		n := node{scheme, [32]byte(i[:32]), [32]byte(i[32:])}
		if scheme != ledger.SchemeP256 || validScalar(new(big.Int).SetBytes(n.key[:])) {
			return n
		}
		seed = i
	}
}

// child is the hardened child with a number below 2^31.
func (n node) child(number uint32) node {
	index := binary.BigEndian.AppendUint32(nil, number|hardened)
	i := hmac512(n.chain[:], []byte{0}, n.key[:], index)
	if n.scheme != ledger.SchemeP256 {
		return node{n.scheme, [32]byte(i[:32]), [32]byte(i[32:])}
	}
	order := elliptic.P256().Params().N
	for {
		left := new(big.Int).SetBytes(i[:32])
		sum := new(big.Int).Add(left, new(big.Int).SetBytes(n.key[:]))
		sum.Mod(sum, order)
		if left.Cmp(order) < 0 && sum.Sign() != 0 {
			out := node{scheme: n.scheme, chain: [32]byte(i[32:])}
			sum.FillBytes(out.key[:])
			return out
		}
		i = hmac512(n.chain[:], []byte{1}, i[32:], index)
	}
}

// derive follows a path of hardened children.
func (n node) derive(path ...uint32) node {
	for _, p := range path {
		n = n.child(p)
	}
	return n
}

func validScalar(k *big.Int) bool {
	return k.Sign() > 0 && k.Cmp(elliptic.P256().Params().N) < 0
}
