package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// fileKind is the byte in a file's header that says what it is.
type fileKind uint8

const (
	kindBase fileKind = iota + 1
	kindLog
	kindRing
	kindExport
	kindBlob
	kindControl
)

// magic begins every file; the 1 is the format's version.
var magic = [16]byte([]byte("hitoku-ledger/1\n"))

const headerSize = 16 + 1 + 32 + 8 + 8

// header begins every file, readable without keys: magic ‖ u8 kind ‖ ledger ‖ u64 number ‖ u64 position.
// number is a generation or an epoch. All of it is bound to the sealed rest.
type header struct {
	kind     fileKind
	ledger   [32]byte
	number   uint64
	position uint64
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerSize), magic[:]...)
	b = append(b, byte(h.kind))
	b = append(b, h.ledger[:]...)
	b = binary.BigEndian.AppendUint64(b, h.number)
	return binary.BigEndian.AppendUint64(b, h.position)
}

// parseHeader reads the first headerSize bytes of b and checks kind and ledger.
func parseHeader(b []byte, kind fileKind, ledger [32]byte) (header, error) {
	if len(b) < headerSize {
		return header{}, tampered("%d bytes, wanted a header of %d", len(b), headerSize)
	}
	if !bytes.HasPrefix(b, magic[:]) || fileKind(b[16]) != kind {
		return header{}, tampered("the header is not that of kind %d, format 1", kind)
	}
	h := header{
		kind: kind, ledger: [32]byte(b[17:]),
		number: binary.BigEndian.Uint64(b[49:]), position: binary.BigEndian.Uint64(b[57:]),
	}
	if h.ledger != ledger {
		return h, fmt.Errorf("%w: it names %x, wanted %x", ErrForeign, h.ledger, ledger)
	}
	return h, nil
}

// Names of files. A number is written with 16 hexadecimal digits.
const (
	prefixBase = "base-"
	prefixLog  = "log-"
	prefixRing = "ring-"
	suffixPart = ".part"
)

func numbered(prefix string, n uint64) string { return fmt.Sprintf("%s%016x", prefix, n) }

// numberOf returns the number in a file's name, if it has that prefix.
func numberOf(prefix, name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil && numbered(prefix, n) == name
}
