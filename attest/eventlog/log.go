package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
)

// Limits of what is read.
const (
	MaxSize       = 4 << 20 // of an IMA list, in bytes
	maxTCG        = 1 << 20 // of a binary log with its padding
	maxJSON       = 160 << 10
	maxEvents     = 4096 // of a binary log; an IMA list has no limit but its size
	maxJSONEvents = 512
	maxBanks      = 8
	maxRegister   = 23
)

// Kind is the format of a log.
type Kind string

// The formats that Parse knows. A CC event log (CCEL) has the bytes of a
// crypto-agile log; only the numbers of its registers mean something else.
const (
	TCG     Kind = "tcg"      // TCG PC Client Platform Firmware Profile, crypto-agile; also CCEL
	TCGSHA1 Kind = "tcg-sha1" // TCG_PCClientPCREvent, SHA-1 alone
	Dstack  Kind = "dstack"   // JSON array of {imr, event_type, digest, event, event_payload}
	IMA     Kind = "ima"      // Linux binary_runtime_measurements or ascii_runtime_measurements
)

// Log is a log that was read completely. It keeps a reference to the bytes.
type Log struct {
	Kind Kind
	// Algs are the banks that the log has digests for, as its header names them.
	Algs []Alg
	// Padding is the number of bytes after the last event, all 00 or all ff.
	Padding int
	// Locality is that of TPM2_Startup as the log tells it; it is where PCR 0 begins.
	Locality byte

	raw    []byte
	sizes  []bank
	events []Event // dstack only
}

// bank is an algorithm with the length of its digests, which the header may give
// for one that is not known here.
type bank struct {
	alg  Alg
	size int
}

// Event is one entry of a log. Nothing in it but the digests and the register is
// covered by a replay.
type Event struct {
	// Register is the PCR (-1 for a remark on none), or in a CC event log the measurement register: 0 is MRTD, 1 to 4 are RTMR0 to 3.
	Register int
	Type     uint32 // EV_… of the TCG profile; 0x08000001 marks dstack's own
	Data     []byte
	Name     string // dstack's name of the event
	// Version of dstack's encoding, 1 or 2; 0 elsewhere.
	Version int

	digests []byte // (algorithm, digest) pairs as they stand in the log; one bare digest in a SHA-1 log
	log     *Log
}

// Event types that have a meaning here. Being unsigned they only decide whether an
// event was extended, which the replay then proves or refutes.
const (
	evNoAction      = 0x00000003
	evDstackRuntime = 0x08000001
)

// Recognise reports whether Parse would try raw. It looks at the first bytes only.
func Recognise(raw []byte) bool { return kindOf(raw) != "" }

func kindOf(raw []byte) Kind {
	switch {
	case isAgile(raw):
		return TCG
	case isJSONLog(raw):
		return Dstack
	case isBinaryIMA(raw), isASCIIIMA(raw):
		return IMA
	case isLegacy(raw):
		return TCGSHA1
	}
	return ""
}

// Parse reads a log of any kind completely and refuses what is cut short or has
// bytes that belong to nothing. The log refers to raw, which must not change.
func Parse(raw []byte) (*Log, error) {
	l := &Log{Kind: kindOf(raw), raw: raw}
	limit := maxTCG
	switch l.Kind {
	case Dstack:
		limit = maxJSON
	case IMA:
		limit = MaxSize
	case "":
		return nil, errors.New("event log: the beginning is that of no known format (TCG, CCEL, dstack JSON, IMA)")
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("event log: %d bytes, at most %d allowed for this format", len(raw), limit)
	}
	var err error
	switch l.Kind {
	case TCG:
		err = l.readAgile()
	case TCGSHA1:
		err = l.readLegacy()
	case Dstack:
		err = l.readJSON()
	case IMA:
		err = l.readIMA()
	}
	if err != nil {
		return nil, fmt.Errorf("event log (%s): %w", l.Kind, err)
	}
	return l, nil
}

// Events yields every entry in order, those that were never extended included.
// Data refers to the log's bytes; of a textual IMA list it is overwritten by the next step.
func (l *Log) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		stop := errors.New("stop")
		step := func(e Event) error {
			if !yield(e) {
				return stop
			}
			return nil
		}
		switch l.Kind {
		case TCG, TCGSHA1:
			_ = l.walkTCG(step) // Parse has walked the same bytes without an error
		case IMA:
			_ = l.walkIMA(step)
		default:
			for _, e := range l.events {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// Extended reports whether the event claims to have been extended into its register.
func (e *Event) Extended() bool { return e.Type != evNoAction || e.log.Kind == IMA }

// Digest returns what was extended in the bank alg, nil when the log has none for it.
func (e *Event) Digest(alg Alg) []byte {
	switch e.log.Kind {
	case IMA:
		return e.imaDigest(alg)
	case TCGSHA1:
		if alg == SHA1 {
			return e.digests
		}
		return nil
	}
	for rest := e.digests; len(rest) > 2; {
		id := Alg(rest[0]) | Alg(rest[1])<<8
		size := e.log.sizeOf(id)
		if size == 0 || len(rest) < 2+size {
			return nil
		}
		if id == alg {
			return rest[2 : 2+size]
		}
		rest = rest[2+size:]
	}
	return nil
}

func (l *Log) sizeOf(alg Alg) int {
	for _, b := range l.sizes {
		if b.alg == alg {
			return b.size
		}
	}
	return 0
}

// Covered reports whether the event's data is what was measured: its digest is that of
// its data, or for dstack's own events that of name and data in their encoding.
func (e *Event) Covered(alg Alg) bool {
	digest := e.Digest(alg)
	if len(digest) == 0 || alg.Size() == 0 {
		return false
	}
	if e.log.Kind == Dstack && e.Type == evDstackRuntime {
		want, err := e.dstackDigest()
		return err == nil && bytes.Equal(digest, want)
	}
	return bytes.Equal(digest, alg.sum(e.Data))
}
