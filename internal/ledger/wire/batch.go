package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Bounds of packed commands (section 5).
const (
	// minDigits is the shortest run of hexadecimal digits that stands as half as many bytes.
	minDigits = 16
	// minPacked is the shortest packed command: scheme, an account id, five lengths and numbers.
	minPacked = 1 + 20 + 5
)

// signatureSize is the length of a client's signature in bytes.
func signatureSize(scheme uint8) int {
	if scheme == SchemeNone {
		return 0
	}
	return 64
}

// isDigit says whether c is a hexadecimal digit as packed commands know them: 0–9 or a–f.
func isDigit(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

// digit is the value of a character that isDigit takes.
func digit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// nextDigits finds the first run of minDigits or more digits in b: its place and the even part of
// its length, or len(b) and 0.
func nextDigits(b []byte) (at, n int) {
	for at < len(b) {
		for n = 0; at+n < len(b) && isDigit(b[at+n]); n++ {
		}
		if n >= minDigits {
			return at, n &^ 1
		}
		at += n + 1
	}
	return len(b), 0
}

func (w *writer) varint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

// packedArguments writes arguments: as they are, and digits as half as many bytes, in turns.
func (w *writer) packedArguments(a []byte) {
	w.varint(uint64(len(a)))
	for len(a) > 0 {
		at, n := nextDigits(a)
		w.varint(uint64(at))
		w.raw(a[:at])
		if n > 0 {
			w.varint(uint64(n / 2))
			for i := at; i < at+n; i += 2 {
				w.u8(digit(a[i])<<4 | digit(a[i+1]))
			}
		}
		a = a[at+n:]
	}
}

// varint reads a number of at most limit, seven bits a byte, the lowest first. That it is written
// in as few bytes as can be is for unpack to see.
func (r *reader) varint(limit uint64, field string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	switch {
	case n <= 0:
		r.fail("%s: no number of 64 bits in %d bytes", field, len(r.b))
		return 0
	case v > limit:
		r.fail("%s: %d, at most %d is allowed", field, v, limit)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// packedArguments reads what the writer's packedArguments wrote. It allocates at most twice what
// it reads.
func (r *reader) packedArguments() []byte {
	const field = "arguments"
	n := int(r.varint(MaxArguments, field))
	out := make([]byte, 0, min(n, 2*len(r.b)))
	for r.err == nil && len(out) < n {
		out = append(out, r.take(int(r.varint(uint64(n-len(out)), field)), field)...)
		if r.err != nil || len(out) == n {
			break
		}
		for _, c := range r.take(int(r.varint(uint64(n-len(out))/2, field)), field) {
			out = append(out, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
	}
	return out
}

// pack writes a signed command without what receivers put back. Its signature has the scheme's length.
func (w *writer) pack(c Command, signature []byte) {
	w.u8(c.Scheme)
	w.raw(c.Key)
	w.varint(c.Nonce)
	w.varint(c.ExpiresAt)
	w.varint(uint64(len(c.Application)))
	w.raw([]byte(c.Application))
	w.varint(uint64(len(c.Name)))
	w.raw([]byte(c.Name))
	w.packedArguments(c.Arguments)
	w.raw(signature)
}

// unpack reads a packed command and returns the encoded Signed. It refuses every packed form but
// the one that pack writes.
func (r *reader) unpack(ledger Hash) []byte {
	start := r.b
	c := Command{Ledger: ledger, Scheme: r.oneOf("scheme", SchemeNone, SchemeEd25519, SchemeP256)}
	c.Key = r.take(keySize(c.Scheme), "key")
	c.Nonce = r.varint(1<<64-1, "nonce")
	c.ExpiresAt = r.varint(1<<64-1, "expires_at")
	c.Application = string(r.take(int(r.varint(MaxName, "application")), "application"))
	c.Name = string(r.take(int(r.varint(MaxName, "name")), "name"))
	c.Arguments = r.packedArguments()
	signature := r.take(signatureSize(c.Scheme), "signature")
	if r.err != nil {
		return nil
	}
	body := c.Encode()
	if _, err := ParseCommand(body); err != nil {
		r.fail("command: %v", err)
		return nil
	}
	var again writer
	again.pack(c, signature)
	if !bytes.Equal(again.b, start[:len(start)-len(r.b)]) {
		r.fail("a packed command is not in its one form")
		return nil
	}
	return Signed{Body: body, Signature: signature}.Encode()
}

// PackCommand writes an encoded Signed as it stands in a batch of a ledger (section 5): without the
// ledger id, constants and lengths that follow from others. It refuses, with ErrMalformed, what is
// no command of that ledger or has a signature of another length than its scheme's; whether the
// signature holds it does not ask.
func PackCommand(ledger Hash, signed []byte) ([]byte, error) {
	s, err := ParseSigned(signed)
	if err != nil {
		return nil, err
	}
	c, err := ParseCommand(s.Body)
	switch {
	case err != nil:
		return nil, err
	case c.Ledger != ledger:
		return nil, fmt.Errorf("%w command: of ledger %x, wanted %x", ErrMalformed, c.Ledger, ledger)
	case len(s.Signature) != signatureSize(c.Scheme):
		return nil, fmt.Errorf("%w command: signature of %d bytes, wanted %d with scheme %d", ErrMalformed, len(s.Signature), signatureSize(c.Scheme), c.Scheme)
	}
	w := writer{make([]byte, 0, len(signed))}
	w.pack(c, s.Signature)
	return w.b, nil
}

// EncodeBatch writes a list of encoded Signed of commands of a ledger, packed. It refuses what
// PackCommand refuses.
func EncodeBatch(ledger Hash, items [][]byte) ([]byte, error) {
	var w writer
	w.u32(uint32(len(items)))
	for i, item := range items {
		packed, err := PackCommand(ledger, item)
		if err != nil {
			return nil, fmt.Errorf("item %d of a batch: %w", i, err)
		}
		w.raw(packed)
	}
	return w.b, nil
}

// ParseBatch reads a list of at most MaxBatch packed commands of a ledger and returns each as an
// encoded Signed: the bytes that its client sent, when it is a command of this ledger; whether its
// signature holds is for [Signed.VerifyCommand].
func ParseBatch(ledger Hash, b []byte) ([][]byte, error) {
	return parse("batch", b, MaxRecord, func(r *reader) [][]byte {
		return list(r, MaxBatch, minPacked, "items", func() []byte { return r.unpack(ledger) })
	})
}
