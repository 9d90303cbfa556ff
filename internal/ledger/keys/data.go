package keys

import (
	"fmt"

	"hitoku.dev/internal/ledger/wire"
)

// maxPadded is the longest padded batch: the next size has no room for the rest of a record.
const maxPadded = wire.MaxRecord / 2

// dataSalt is the salt of a padded batch under a header.
func dataSalt(sender [32]byte, header, padded []byte) wire.Hash {
	return mac(expand(sender, wire.Name("SALT")), wire.Name("DATA", header, padded))
}

func dataKey(sender [32]byte, salt wire.Hash) [32]byte {
	return expand(sender, wire.Name("ENTRY", salt[:]))
}

func senderKey(log [32]byte, iid wire.Hash) [32]byte {
	return expand(log, wire.Name("SENDER", iid[:]))
}

// SealData seals a batch of commands of the header's ledger, each an encoded wire.Signed, under k_log
// of the header's epoch. The same header and batch give the same bytes; anything else has another
// key. What is no command of that ledger is refused (wire.ErrMalformed), and what does not fit
// (ErrTooLarge). recorder may be nil.
func SealData(log [32]byte, h wire.Header, batch [][]byte, recorder Recorder) (wire.Data, error) {
	list, err := wire.EncodeBatch(h.Ledger, batch)
	if err != nil {
		return wire.Data{}, fmt.Errorf("DATA: %w", err)
	}
	padded := wire.Pad(list, wire.Bucket(len(list), maxPadded))
	if padded == nil || len(batch) > wire.MaxBatch {
		return wire.Data{}, fmt.Errorf("batch of %d commands and %d bytes: %w", len(batch), len(list), ErrTooLarge)
	}
	header, k := h.Encode(), senderKey(log, h.Incarnation)
	salt := dataSalt(k, header, padded)
	return wire.Data{Salt: salt, CT: newAEAD(dataKey(k, salt), recorder).seal([12]byte{}, padded, append(header, salt[:]...))}, nil
}

// OpenData opens the body of a DATA record with its header and returns the commands as their clients
// signed them, each an encoded wire.Signed. It recomputes the salt, which binds key, header and batch
// together. An error (ErrOpen, wire.ErrMalformed) is the same at every node.
func OpenData(log [32]byte, h wire.Header, d wire.Data) ([][]byte, error) {
	header, k := h.Encode(), senderKey(log, h.Incarnation)
	padded, err := newAEAD(dataKey(k, d.Salt), nil).open([12]byte{}, d.CT, append(header, d.Salt[:]...))
	if err != nil {
		return nil, fmt.Errorf("DATA: %w", err)
	}
	if dataSalt(k, header, padded) != d.Salt {
		return nil, fmt.Errorf("DATA: %w: its salt is not that of its content", ErrOpen)
	}
	list, err := wire.Unpad(padded, maxPadded)
	if err != nil {
		return nil, fmt.Errorf("DATA: %w", err)
	}
	return wire.ParseBatch(h.Ledger, list)
}
