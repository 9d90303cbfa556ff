package simtee

import (
	"crypto/aes"
	"crypto/subtle"
)

// cmac returns the AES-CMAC of message under a key of 16 bytes (RFC 4493, NIST SP
// 800-38B), the MAC of SGX REPORTs.
func cmac(key [16]byte, message []byte) (mac [16]byte) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	var subkey [16]byte
	block.Encrypt(subkey[:], subkey[:])
	double(&subkey) // K1, for a last block that is whole
	for len(message) > 16 {
		subtle.XORBytes(mac[:], mac[:], message[:16])
		block.Encrypt(mac[:], mac[:])
		message = message[16:]
	}
	last := [16]byte{}
	if n := copy(last[:], message); n < 16 {
		last[n] = 0x80
		double(&subkey) // K2
	}
	subtle.XORBytes(mac[:], mac[:], last[:])
	subtle.XORBytes(mac[:], mac[:], subkey[:])
	block.Encrypt(mac[:], mac[:])
	return mac
}

// double multiplies b by x in GF(2^128), in constant time.
func double(b *[16]byte) {
	carry := b[0] >> 7
	for i := range 15 {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[15] = b[15]<<1 ^ carry*0x87
}
