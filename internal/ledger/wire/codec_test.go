package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"hitoku.dev/internal/ledger/wire"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, c := range codecs() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				value, encoded, parsed, err := c.draw(t)
				if err != nil {
					t.Fatalf("%v\n%+v\n%x", err, value, encoded)
				}
				if d := cmp.Diff(value, parsed, cmpopts.EquateEmpty()); d != "" {
					t.Fatal(d)
				}
			})
		})
	}
}

// samples are a few valid encodings of each structure, always the same.
func samples(c codec, n int) (out [][]byte) {
	g := rapid.Custom(func(t *rapid.T) []byte {
		_, b, _, err := c.draw(t)
		if err != nil {
			t.Fatalf("%v", err)
		}
		return b
	})
	for seed := range n {
		out = append(out, g.Example(seed))
	}
	return out
}

// TestStrict cuts samples everywhere, adds a byte and changes every byte. What a parser takes must be
// the one encoding of what it read.
func TestStrict(t *testing.T) {
	t.Parallel()
	for _, c := range codecs() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, b := range samples(c, 4) {
				for n := range b {
					if _, err := c.again(b[:n]); !errors.Is(err, wire.ErrMalformed) {
						t.Fatalf("%d of %d bytes: %v, wanted ErrMalformed", n, len(b), err)
					}
				}
				if _, err := c.again(append(bytes.Clone(b), 0)); !errors.Is(err, wire.ErrMalformed) {
					t.Fatalf("a byte more: %v, wanted ErrMalformed", err)
				}
				for i := range b {
					for _, flip := range []byte{1, 2, 0x80, 0xff} {
						changed := bytes.Clone(b)
						changed[i] ^= flip
						again, err := c.again(changed)
						if err == nil && !bytes.Equal(again, changed) {
							t.Fatalf("byte %d changed by %#x: taken, but encodes to other bytes", i, flip)
						}
						if err != nil && (!errors.Is(err, wire.ErrMalformed) || again != nil) {
							t.Fatalf("byte %d changed by %#x: %v with %x", i, flip, err, again)
						}
					}
				}
			}
		})
	}
}

// TestHugeCounts writes the largest number over every four bytes: none may lead to an allocation
// beyond the input's size.
func TestHugeCounts(t *testing.T) {
	for _, c := range codecs() {
		b := samples(c, 1)[0]
		for i := 0; i+4 <= len(b); i++ {
			for _, n := range []uint32{1 << 31, 1<<32 - 1, 1 << 20} {
				changed := bytes.Clone(b)
				binary.BigEndian.PutUint32(changed[i:], n)
				again, err := c.again(changed)
				if err == nil && !bytes.Equal(again, changed) {
					t.Fatalf("%s: %d at byte %d: taken, but encodes to other bytes", c.name, n, i)
				}
			}
		}
	}
	huge := binary.BigEndian.AppendUint32(nil, 1<<32-1)
	if n := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.ParseBatch(wire.Hash{1}, huge); err == nil {
				b.Fatal("a batch of 2^32 items is taken")
			}
		}
	}).AllocedBytesPerOp(); n > 1024 {
		t.Errorf("%d bytes allocated to refuse a count", n)
	}
}

func TestMessageOfErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"malformed header: type: 9, wanted one of [1 2 3 4 5 6 7]":                            second(wire.ParseHeader([]byte{9})),
		"malformed ALARM: slot: 1 bytes left, wanted 2":                                       second(wire.ParseAlarm(make([]byte, 9))),
		"malformed ALARM: 1 bytes after the end":                                              second(wire.ParseAlarm(make([]byte, 11))),
		"malformed batch: items: 1025 items, at most 1024 are allowed":                        second(wire.ParseBatch(wire.Hash{1}, wire.U32(1025))),
		"malformed batch: items: 3 items do not fit into 0 bytes":                             second(wire.ParseBatch(wire.Hash{1}, wire.U32(3))),
		"malformed record: 131073 bytes, at most 131072 are allowed":                          second(wire.ParseRecord(make([]byte, wire.MaxRecord+1))),
		"malformed signed command or query: body: 65536 bytes, at most 33280 are allowed":     second(wire.ParseSigned(wire.U32(65536))),
		"malformed padded bytes: length: 1000 bytes, wanted a power of two from 1024 to 4096": second(wire.Unpad(make([]byte, 1000), 4096)),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("error %v, wanted %s", err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestPad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, limit, want int }{
		{0, 1024, 1024}, {1020, 1024, 1024}, {1021, 1024, 0}, {1021, 4096, 2048}, {4092, 4096, 4096}, {4093, 4096, 0},
	} {
		if got := wire.Bucket(c.n, c.limit); got != c.want {
			t.Errorf("bucket of %d bytes is %d, wanted %d", c.n, got, c.want)
		}
		if c.want == 0 {
			continue
		}
		content := bytes.Repeat([]byte{7}, c.n)
		padded := wire.Pad(content, c.want)
		back, err := wire.Unpad(padded, c.limit)
		if err != nil || !bytes.Equal(back, content) || len(padded) != c.want {
			t.Errorf("%d bytes in %d: %v", c.n, c.want, err)
		}
		for i := 4 + c.n; i < len(padded); i++ {
			padded[i] ^= 0x10
			if _, err := wire.Unpad(padded, c.limit); err == nil {
				t.Fatalf("padding with byte %d changed is taken", i)
			}
			padded[i] ^= 0x10
		}
	}
	if wire.Pad(make([]byte, 1021), 1024) != nil {
		t.Error("1021 bytes fit into 1024 with their length")
	}
	for name, b := range map[string][]byte{"no power of two": make([]byte, 1536), "too small": make([]byte, 512), "too large": make([]byte, 8192), "length beyond the end": append([]byte{0, 0, 4, 0}, make([]byte, 1020)...)} {
		if _, err := wire.Unpad(b, 4096); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParse gives bytes to the parser that the selector names, and what is taken to what judges it.
func FuzzParse(f *testing.F) {
	all := codecs()
	for i, c := range all {
		for _, b := range samples(c, 2) {
			f.Add(byte(i), b)
		}
	}
	f.Fuzz(func(t *testing.T, selector byte, b []byte) {
		c := all[int(selector)%len(all)]
		again, err := c.again(b)
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%s: taken, but encodes to other bytes:\n%x\n%x", c.name, b, again)
		}
		if err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%s: %v is not ErrMalformed", c.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "%!") {
			t.Fatalf("%s: error is badly formatted: %v", c.name, err)
		}
		if file, err := wire.ParseGenesisFile(b); err == nil {
			if _, _, id, err := file.Open(); err != nil && id != (wire.Hash{}) {
				t.Fatal("a refused genesis has an id")
			}
		}
		if s, err := wire.ParseSigned(b); err == nil {
			_, commandErr := s.VerifyCommand()
			if _, queryErr := s.VerifyQuery(); commandErr == nil && queryErr == nil {
				t.Fatal("a command is a query too")
			}
		}
		_ = wire.CheckBinding(b, wire.Hash{}, wire.Hash{})
		_ = wire.SuiteX25519.CheckPublic(b)
	})
}
