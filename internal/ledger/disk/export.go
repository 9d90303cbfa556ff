package disk

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/state"
)

// An exported file is a head (its header with epoch and position ‖ 12 bytes nonce ‖ 48 bytes file key,
// sealed under the epoch's snapshot key, aad the header) and a body: a stream under the file key. The
// body is bound to ledger and position, not to the epoch, so that the head alone can be made anew.

// HeadSize is the length in bytes of an exported file's head.
const HeadSize = headerSize + wrapSize

// Head is what is readable of an exported file without keys. It is not to be believed before Import.
type Head struct {
	Ledger   [32]byte
	Epoch    uint64
	Position uint64
}

// Export writes a state as one sealed stream for who has the epoch's snapshot key. The epochs of s are in it.
func (d *Dir) Export(w io.Writer, epoch uint64, snap [32]byte, s Saved) error {
	return Exporter{d.o.Ledger, d.o.Random, d.o.Recorder}.Export(w, epoch, snap, s)
}

// Exporter writes exported files; it needs no folder.
type Exporter struct {
	Ledger   [32]byte
	Random   io.Reader
	Recorder keys.Recorder // may be nil
}

// Export writes a state as one sealed stream for who has the epoch's snapshot key. The epochs of s are in it.
func (e Exporter) Export(w io.Writer, epoch uint64, snap [32]byte, s Saved) error {
	if s.Tree == nil {
		s.Tree = new(state.Tree)
	}
	if len(s.Control) > MaxControl || len(s.Epochs) > maxEpochs {
		return fmt.Errorf("export position %d: %d bytes of control state and %d epochs: %w", s.Position, len(s.Control), len(s.Epochs), ErrLimit)
	}
	key, err := randomKey(e.Random)
	if err != nil {
		return fmt.Errorf("export position %d: %w", s.Position, err)
	}
	defer clear(key[:])
	head, err := e.head(epoch, s.Position, snap, key)
	if err != nil {
		return fmt.Errorf("export position %d: %w", s.Position, err)
	}
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("export position %d: %w", s.Position, err)
	}
	out := newStreamWriter(w, newAEAD(key, e.Recorder), domainExport, exportContext(e.Ledger, s.Position))
	err = writeState(out, &s, s.Epochs, func() error { return nil })
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		return fmt.Errorf("export position %d: %w", s.Position, err)
	}
	return nil
}

func (e Exporter) head(epoch, position uint64, snap, key [32]byte) ([]byte, error) {
	h := header{kindExport, e.Ledger, epoch, position}.encode()
	wrap, err := sealRandom(e.Random, newAEAD(snap, e.Recorder), key[:], h)
	return slices.Concat(h, wrap), err
}

func exportContext(ledger [32]byte, position uint64) []byte {
	return header{kind: kindExport, ledger: ledger, position: position}.encode()
}

// ReadHead reads the head of an exported file from its first HeadSize bytes. Errors are [ErrTampered]
// when it is none, and [ErrForeign] when it is not of this ledger.
func ReadHead(b []byte, ledger [32]byte) (Head, error) {
	if len(b) < HeadSize {
		return Head{}, tampered("%d bytes, wanted a head of %d", len(b), HeadSize)
	}
	h, err := parseHeader(b, kindExport, ledger)
	return Head{h.ledger, h.number, h.position}, err
}

// Rewrap makes the head of an exported file anew: for the snapshot key of another epoch, with the same body.
func (e Exporter) Rewrap(head []byte, snap [32]byte, epoch uint64, next [32]byte) ([]byte, error) {
	old, key, err := openHead(head, snap, e.Ledger)
	if err != nil {
		return nil, fmt.Errorf("rewrap: %w", err)
	}
	defer clear(key[:])
	out, err := e.head(epoch, old.Position, next, key)
	if err != nil {
		return nil, fmt.Errorf("rewrap position %d: %w", old.Position, err)
	}
	return out, nil
}

func openHead(b []byte, snap, ledger [32]byte) (h Head, key [32]byte, err error) {
	if h, err = ReadHead(b, ledger); err != nil {
		return h, key, err
	}
	if len(b) != HeadSize {
		return h, key, tampered("head of %d bytes, wanted %d", len(b), HeadSize)
	}
	k, err := openRandom(newAEAD(snap, nil), b[headerSize:], b[:headerSize])
	if err != nil {
		return h, key, err
	}
	defer clear(k)
	return h, [32]byte(k), nil
}

// Import reads an exported file of at most limit bytes with the snapshot key of the epoch in its head.
// Errors are [ErrTampered], [ErrForeign] and [ErrLimit], and those of r.
func Import(r io.Reader, ledger, snap [32]byte, limit int64) (Head, *Saved, error) {
	in := bufio.NewReaderSize(&limited{r, limit}, 64<<10)
	b := make([]byte, HeadSize)
	if _, err := io.ReadFull(in, b); err != nil {
		return Head{}, nil, fmt.Errorf("import: %w", cut(err, 0))
	}
	h, key, err := openHead(b, snap, ledger)
	if err != nil {
		return h, nil, fmt.Errorf("import: %w", err)
	}
	s, err := readState(newStreamReader(in, newAEAD(key, nil), domainExport, exportContext(ledger, h.Position)), true)
	if err == nil && s.Position != h.Position {
		err = tampered("position %d, the head says %d", s.Position, h.Position)
	}
	if err != nil {
		return h, nil, fmt.Errorf("import position %d: %w", h.Position, err)
	}
	return h, s, nil
}

// limited gives ErrLimit where more than left bytes are read.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		var one [1]byte
		n, err := l.r.Read(one[:])
		if n > 0 {
			return 0, ErrLimit
		}
		return 0, err
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
