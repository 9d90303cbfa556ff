package disk

import (
	"bytes"
	"errors"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/state"
)

// bytesFile is a file that holds bytes.
type bytesFile struct{ *bytes.Reader }

func (f bytesFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (f bytesFile) Close() error                       { return nil }
func (f bytesFile) Sync() error                        { return nil }
func (f bytesFile) Size() (int64, error)               { return f.Reader.Size(), nil }

func example(t testing.TB) *Saved {
	tree, err := new(state.Tree).With(
		state.Change{Key: []byte("a"), Value: []byte("1")}, state.Change{Key: []byte("ab")}, state.Change{Key: []byte("b"), Value: []byte("22")})
	if err != nil {
		t.Fatal(err)
	}
	return &Saved{Position: 3, Chain: [32]byte{1}, Control: []byte("control"), Tree: tree}
}

func never() error { return nil }

func plainState(t testing.TB, epochs ...keys.Epoch) []byte {
	var b bytes.Buffer
	if err := writeState(&b, example(t), epochs, never); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzState: what is read is what would be written.
func FuzzState(f *testing.F) {
	f.Add(plainState(f))
	f.Add(plainState(f, keys.Epoch{Number: 1}, keys.Epoch{Number: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readState(bytes.NewReader(b), true)
		if err != nil {
			if !errors.Is(err, ErrTampered) {
				t.Fatal(err)
			}
			return
		}
		var again bytes.Buffer
		if err := writeState(&again, s, s.Epochs, never); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), b) {
			t.Fatalf("%x is read, %x is written", b, again.Bytes())
		}
	})
}

func FuzzChanges(f *testing.F) {
	s := example(f)
	next, err := s.Tree.With(state.Change{Key: []byte("a"), Deleted: true}, state.Change{Key: []byte("c"), Value: []byte("3")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendChanges(nil, s.Tree, &Saved{Position: 4, Tree: next}, nil))
	f.Add(appendChanges(nil, s.Tree, &Saved{Position: 4, Tree: next}, []byte("new control")))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := readChanges(bytes.NewReader(b), s)
		if (err == nil) != (out != nil) || err != nil && !errors.Is(err, ErrTampered) {
			t.Fatal(out, err)
		}
	})
}

func exampleLog(t testing.TB, a *aead) []byte {
	s := example(t)
	h := header{kindLog, [32]byte{}, 1, s.Position}
	w := &logWriter{aead: a}
	b := append(h.encode(), make([]byte, 32)...)
	r, err := openLog(bytesFile{bytes.NewReader(b)}, nil, 1, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	w.chain = r.chain
	for p := s.Position + 1; p < 8; p++ {
		w.step(appendChanges(nil, s.Tree, &Saved{Position: p, Tree: s.Tree}, nil), p)
	}
	return append(b, w.pending...)
}

func FuzzLog(f *testing.F) {
	a := newAEAD([32]byte{7}, nil)
	b := exampleLog(f, a)
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(b[:logHeaderSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := applyLog(bytesFile{bytes.NewReader(b)}, a, 1, [32]byte{}, example(t), nil)
		switch {
		case err == nil && s.Position > 7:
			t.Fatal(s.Position)
		case err != nil && !errors.Is(err, ErrTampered) && !errors.Is(err, ErrForeign) && !errors.Is(err, errNotLinked):
			t.Fatal(err)
		}
		if r, err := openLog(bytesFile{bytes.NewReader(b)}, nil, 1, [32]byte{}); err == nil {
			for _, err = r.skip(); err == nil; _, err = r.skip() {
			}
		}
	})
}

func FuzzBase(f *testing.F) {
	a := newAEAD([32]byte{7}, nil)
	h := header{kindBase, [32]byte{}, 1, 3}.encode()
	b := bytes.NewBuffer(bytes.Clone(h))
	w := newStreamWriter(b, a, domainBase, h)
	if err := errors.Join(writeState(w, example(f), nil, never), w.Close()); err != nil {
		f.Fatal(err)
	}
	good := b.Bytes()
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := readBase(bytesFile{bytes.NewReader(b)}, a, 1, [32]byte{})
		if (err == nil) != bytes.Equal(b, good) {
			t.Fatalf("%v", err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzImport(f *testing.F) {
	var b bytes.Buffer
	if err := (Exporter{Random: zeros{}}).Export(&b, 2, [32]byte{2}, *example(f)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, err := Import(bytes.NewReader(in), [32]byte{}, [32]byte{2}, 1<<20)
		if (err == nil) != bytes.Equal(in, b.Bytes()) {
			t.Fatal(err)
		}
		_, _ = ReadHead(in, [32]byte{}) // must not panic
	})
}

func FuzzRing(f *testing.F) {
	content := append(make([]byte, 64+3), 1)
	content = appendEpoch(content, keys.Epoch{Number: 9})
	f.Add(content)
	file := header{kindRing, [32]byte{}, 1, 2}.encode()
	f.Add(append(append(file, make([]byte, 15)...), append([]byte{1}, make([]byte, 200)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if gens, epochs, err := parseRingContent([]uint64{1, 2}, b); err == nil && (len(gens) != 2 || len(b) != 68+len(epochs)*epochSize) {
			t.Fatal(gens, epochs)
		}
		if r, err := parseRing(b, [32]byte{}); err == nil {
			if _, _, err := r.open([32]byte{}, [32]byte{}); err == nil {
				t.Fatal("opened")
			}
		}
	})
}

func FuzzBlobAndControl(f *testing.F) {
	f.Add(append(header{kind: kindBlob}.encode(), make([]byte, 64)...))
	f.Add(append(header{kind: kindControl}.encode(), make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := blobKeyID(b, [32]byte{}); err == nil {
			if _, err := openBlob(b, [32]byte{1}); err == nil {
				t.Fatal("opened")
			}
		}
		if _, _, _, err := openControl(b, [32]byte{1}, [32]byte{}); err == nil {
			t.Fatal("opened")
		}
	})
}
