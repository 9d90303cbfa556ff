package wallet

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// english is the English word list of BIP-39: 2048 words in ascending order, one a line.
//
//go:embed english.txt
var english string

// ErrMnemonic means that words are not a mnemonic of BIP-39: another number of them, an unknown one, or
// a checksum that does not hold.
var ErrMnemonic = errors.New("not a mnemonic of 12 or 24 words")

const (
	wordBits   = 11
	seedRounds = 2048
)

// checksumBits is the length of the checksum for some bytes of entropy; 0 when there is no such mnemonic.
func checksumBits(entropy int) int {
	if entropy != 16 && entropy != 32 {
		return 0
	}
	return entropy / 4
}

// Mnemonic writes entropy of 16 or 32 bytes as 12 or 24 words.
func Mnemonic(entropy []byte) (string, error) {
	extra := checksumBits(len(entropy))
	if extra == 0 {
		return "", fmt.Errorf("entropy of %d bytes, wanted 16 or 32", len(entropy))
	}
	sum := sha256.Sum256(entropy)
	bits := append(slices.Clone(entropy), sum[0])
	list := strings.Fields(english)
	words := make([]string, (8*len(entropy)+extra)/wordBits)
	for i := range words {
		words[i] = list[bitsAt(bits, i*wordBits)]
	}
	return strings.Join(words, " "), nil
}

// bitsAt reads the eleven bits from bit n on.
func bitsAt(b []byte, n int) int {
	var window [4]byte
	copy(window[:], b[n/8:])
	return int(binary.BigEndian.Uint32(window[:])>>(32-wordBits-n%8)) & (1<<wordBits - 1)
}

// ParseMnemonic returns the entropy of 12 or 24 words, which any white space separates and which may be
// written in capitals. Errors are ErrMnemonic.
func ParseMnemonic(text string) ([]byte, error) {
	words := strings.Fields(strings.ToLower(text))
	if len(words) != 12 && len(words) != 24 {
		return nil, fmt.Errorf("%w: %d words", ErrMnemonic, len(words))
	}
	list := strings.Fields(english)
	bits := make([]byte, len(words)*wordBits/8+1)
	for i, w := range words {
		n, ok := slices.BinarySearch(list, w)
		if !ok {
			return nil, fmt.Errorf("%w: word %d is not in the list; check its spelling", ErrMnemonic, i+1)
		}
		for k := range wordBits {
			if n>>(wordBits-1-k)&1 == 1 {
				bits[(i*wordBits+k)/8] |= 0x80 >> ((i*wordBits + k) % 8)
			}
		}
	}
	entropy := bits[:len(words)/3*4]
	extra := checksumBits(len(entropy))
	sum := sha256.Sum256(entropy)
	if mask := byte(0xff) << (8 - extra); bits[len(entropy)]&mask != sum[0]&mask {
		return nil, fmt.Errorf("%w: the checksum does not hold; a word is wrong, or two are in the wrong order", ErrMnemonic)
	}
	return entropy, nil
}

// Seed is the seed of a mnemonic: 64 bytes of PBKDF2 with HMAC-SHA-512 and 2048 rounds. The passphrase
// is the optional one of BIP-39, of ASCII characters; wallets of this package use none.
func Seed(mnemonic, passphrase string) ([]byte, error) {
	for _, c := range []byte(passphrase) {
		if c > 126 || c < 32 {
			return nil, errors.New("a passphrase of a mnemonic is made of printable ASCII characters here")
		}
	}
	return pbkdf2.Key(sha512.New, mnemonic, []byte("mnemonic"+passphrase), seedRounds, 64)
}

// hmac512 is HMAC-SHA-512.
func hmac512(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha512.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
