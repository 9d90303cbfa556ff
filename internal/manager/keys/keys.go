// Package keys holds the manager's master key and everything made from it:
// sub-keys (the store authenticates its rows under one), the box that secrets lie
// in at rest, and the checkpoint of the audit log (security decision S18).
//
// The master key comes from a file or a command and never lies where the
// database lies: who can read or change the database learns no secret, forges
// no approval, and cannot bring back an older state unnoticed.
//
// Invariants: every sub-key and box names what it is for, with lengths
// before each part, so that no two uses share an input; a box opens only under
// the names it was sealed with.
//
// What is trusted: the machine that the manager runs on, with the file or
// command. What is not promised: nothing here protects from who can read the
// manager's memory, and a stolen master key opens everything ever sealed under it.
package keys

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// Size is the length in bytes of the master key and of every derived key.
const Size = 32

const (
	boxVersion      = 1
	infoPrefix      = "hitoku/manager/1"
	labelBox        = "box"
	labelID         = "id"
	labelCheckpoint = "checkpoint"
)

// ErrSealed is wrapped when a box does not open: other master key, other name, or changed bytes.
var ErrSealed = errors.New("sealed value does not open")

// Keyring gives the uses of one master key. It is safe for concurrent use.
type Keyring struct {
	master [Size]byte
	random io.Reader
	box    cipher.AEAD
	id     string
}

// Open loads the master key from a source. random supplies nonces and must be
// cryptographically secure and safe for concurrent use (crypto/rand.Reader).
func Open(ctx context.Context, from Source, random io.Reader) (*Keyring, error) {
	master, err := from.load(ctx, random)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return newKeyring(master, random)
}

func newKeyring(master [Size]byte, random io.Reader) (*Keyring, error) {
	k := &Keyring{master: master, random: random}
	boxKey := k.Derive(labelBox)
	box, err := chacha20poly1305.NewX(boxKey[:])
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	k.box = box
	id := k.Derive(labelID)
	k.id = hex.EncodeToString(id[:8])
	return k, nil
}

// ID names the master key without saying anything about it: 16 hexadecimal
// digits. The database stores it, so that a wrong key is noticed at the start.
func (k *Keyring) ID() string { return k.id }

// Derive returns the sub-key for a label and the names of what it is for:
// HKDF-SHA256 with LV("hitoku/manager/1", label, names…) as info.
func (k *Keyring) Derive(label string, names ...string) [Size]byte {
	info := appendLV(nil, infoPrefix, label)
	out, err := hkdf.Key(sha256.New, k.master[:], nil, string(appendLV(info, names...)), Size)
	if err != nil {
		panic("keys: HKDF-SHA256 refused 32 bytes: " + err.Error()) // possible only in a FIPS mode without it
	}
	return [Size]byte(out)
}

// Seal encrypts and authenticates plain (XChaCha20-Poly1305, random nonce).
// names say what it is, for example ("zone-key", account id, zone id); Open
// wants the same ones.
func (k *Keyring) Seal(plain []byte, names ...string) ([]byte, error) {
	out := make([]byte, 1+chacha20poly1305.NonceSizeX, 1+chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	out[0] = boxVersion
	nonce := out[1:]
	if _, err := io.ReadFull(k.random, nonce); err != nil {
		return nil, fmt.Errorf("sealing %q: random source: %w", names, err)
	}
	return k.box.Seal(out, nonce, plain, appendLV(nil, names...)), nil
}

// Open reverses Seal. Its error wraps ErrSealed.
func (k *Keyring) Open(sealed []byte, names ...string) ([]byte, error) {
	const head = 1 + chacha20poly1305.NonceSizeX
	if len(sealed) < head+chacha20poly1305.Overhead || sealed[0] != boxVersion {
		return nil, fmt.Errorf("%q: %w: %d bytes that are no box of version %d", names, ErrSealed, len(sealed), boxVersion)
	}
	plain, err := k.box.Open(nil, sealed[1:head], sealed[head:], appendLV(nil, names...))
	if err != nil {
		return nil, fmt.Errorf("%q: %w: wanted a box sealed under master key %s and this name; check that database and master key belong together", names, ErrSealed, k.id)
	}
	return plain, nil
}

// hmacLV is HMAC-SHA256 over LV(fields…).
func hmacLV(key [Size]byte, fields ...string) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(appendLV(nil, fields...))
	return h.Sum(nil)
}

// appendLV appends each item as its length in four big-endian bytes and the item.
func appendLV(to []byte, items ...string) []byte {
	for _, item := range items {
		to = binary.BigEndian.AppendUint32(to, uint32(len(item)))
		to = append(to, item...)
	}
	return to
}
