package disk

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
)

// maxBlob is the longest blob in bytes.
const maxBlob = 64 << 20

// blobName and controlName are the only files of their kinds.
const (
	blobName    = "vault"
	controlName = "control"
)

// SealBlob replaces the node's own state: what a vault keeps. The file is its header ‖ 32 bytes key id ‖
// 12 bytes nonce ‖ blob, sealed under key, aad header and key id. The key is a sealing key of the TEE,
// and keyID the KeyID of the request that gives it. At most 64 MiB.
func (d *Dir) SealBlob(key, keyID [32]byte, blob []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if len(blob) > maxBlob {
		return failed("write", blobName, fmt.Errorf("%w: %d bytes, wanted at most %d", ErrLimit, len(blob), maxBlob))
	}
	head := append(header{kind: kindBlob, ledger: d.o.Ledger}.encode(), keyID[:]...)
	sealed, err := sealRandom(d.o.Random, newAEAD(key, d.o.Recorder), blob, head)
	if err != nil {
		return failed("seal", blobName, err)
	}
	return d.replaceBytes(blobName, append(head, sealed...))
}

// OpenBlob returns what SealBlob wrote last. keyFor gets the key id in the file, which is to be believed
// only when the blob opens, and returns the key. Errors are [ErrNone], [ErrTampered] and [ErrForeign].
func (d *Dir) OpenBlob(keyFor func(keyID [32]byte) ([32]byte, error)) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	b, err := d.read(blobName, headerSize+32+nonceSize+maxBlob+tagSize)
	if err != nil {
		return nil, err
	}
	id, err := blobKeyID(b, d.o.Ledger)
	if err != nil {
		return nil, failed("open", blobName, err)
	}
	key, err := keyFor(id)
	if err != nil {
		return nil, failed("get the key of", blobName, err)
	}
	blob, err := openBlob(b, key)
	return blob, failed("open", blobName, err)
}

func blobKeyID(b []byte, ledger [32]byte) ([32]byte, error) {
	h, err := parseHeader(b, kindBlob, ledger)
	switch {
	case err != nil:
		return [32]byte{}, err
	case len(b) < headerSize+32 || h.number != 0 || h.position != 0:
		return [32]byte{}, tampered("header of %d bytes", len(b))
	}
	return [32]byte(b[headerSize:]), nil
}

func openBlob(b []byte, key [32]byte) ([]byte, error) {
	const head = headerSize + 32
	return openRandom(newAEAD(key, nil), b[head:], b[:head])
}

// SaveControl replaces the public state at a position, under a MAC: it keeps a node that has no sealed state,
// or a vault, from following the log from its start. The file is its header (with the position) ‖ 32 bytes
// chain ‖ control ‖ HMAC-SHA-256 under key. Nothing in it is secret. At most MaxControl bytes.
func (d *Dir) SaveControl(key [32]byte, position uint64, chain [32]byte, control []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if len(control) > MaxControl {
		return failed("write", controlName, fmt.Errorf("%w: %d bytes, wanted at most %d", ErrLimit, len(control), MaxControl))
	}
	b := slices.Concat(header{kindControl, d.o.Ledger, 0, position}.encode(), chain[:], control)
	return d.replaceBytes(controlName, append(b, controlMAC(key, b)...))
}

// LoadControl returns what SaveControl wrote last. Errors are [ErrNone], [ErrTampered] and [ErrForeign].
func (d *Dir) LoadControl(key [32]byte) (position uint64, chain [32]byte, control []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, chain, nil, ErrClosed
	}
	b, err := d.read(controlName, headerSize+32+MaxControl+sha256.Size)
	if err != nil {
		return 0, chain, nil, err
	}
	position, chain, control, err = openControl(b, key, d.o.Ledger)
	return position, chain, control, failed("open", controlName, err)
}

func openControl(b []byte, key, ledger [32]byte) (position uint64, chain [32]byte, control []byte, err error) {
	h, err := parseHeader(b, kindControl, ledger)
	if err != nil {
		return 0, chain, nil, err
	}
	end := len(b) - sha256.Size
	if end < headerSize+32 || !hmac.Equal(b[end:], controlMAC(key, b[:end])) {
		return 0, chain, nil, tampered("the MAC does not hold")
	}
	return h.position, [32]byte(b[headerSize:]), b[headerSize+32 : end : end], nil
}

func controlMAC(key [32]byte, b []byte) []byte {
	m := hmac.New(sha256.New, key[:])
	m.Write(b)
	return m.Sum(nil)
}
