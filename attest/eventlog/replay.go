package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Layout says what the numbers of registers mean.
type Layout int

// The layouts known.
const (
	PCRs Layout = iota // 0 to 23 of a TPM
	RTMR               // 0 is MRTD, 1 to 4 are RTMR0 to RTMR3 (UEFI 2.10, section 38.4.1)
)

// Registers are values that hardware has signed.
type Registers struct {
	Layout Layout
	Alg    Alg
	Values map[int][]byte // each Alg.Size() bytes
}

// Replay extends every event into registers that start as the platform starts
// them, and returns those that have an event, by number. It is empty for a bank
// that the log does not have.
func (l *Log) Replay(alg Alg) map[int][]byte {
	out := make(map[int][]byte)
	h := alg.New()
	if h == nil || l.Kind != IMA && !slices.Contains(l.Algs, alg) {
		return out
	}
	for e := range l.Events() {
		if !e.Extended() {
			continue
		}
		v := out[e.Register]
		if v == nil {
			v = make([]byte, alg.Size())
			if e.Register == 0 {
				v[len(v)-1] = l.Locality
			}
			out[e.Register] = v
		}
		h.Reset()
		h.Write(v)
		h.Write(e.Digest(alg))
		h.Sum(v[:0])
	}
	return out
}

// Match is a log whose replay equals signed registers.
type Match struct {
	log       *Log
	registers Registers
	// Proved are the registers that the log explains, in order.
	Proved []int
	// Unexplained are signed registers that are not at their start value and have no event.
	Unexplained []int
	// Unsigned are registers that the log has events for and that were not signed.
	Unsigned []int
	// Entries is the number of entries of an IMA list that the register covers; a list may
	// have grown after the quote was made.
	Entries int
}

// Match replays the log and compares every register that it has an event for with
// the signed value. The error names all that differ.
func (l *Log) Match(r Registers) (*Match, error) {
	m := &Match{log: l, registers: r}
	if r.Alg.Size() == 0 {
		return nil, fmt.Errorf("event log: %v cannot be replayed", r.Alg)
	}
	if l.Kind == IMA {
		return m, m.matchIMA()
	}
	if !slices.Contains(l.Algs, r.Alg) {
		return nil, fmt.Errorf("event log: it has no digests of %v, only of %v", r.Alg, l.Algs)
	}
	replayed := l.Replay(r.Alg)
	var differ []string
	for _, i := range slices.Sorted(maps.Keys(replayed)) {
		signed, ok := r.Values[i]
		switch {
		case r.Layout == RTMR && (i == 0 || i > 4):
			differ = append(differ, fmt.Sprintf("%s cannot have events", r.name(i)))
		case !ok:
			m.Unsigned = append(m.Unsigned, i)
		case !bytes.Equal(signed, replayed[i]):
			differ = append(differ, fmt.Sprintf("%s replays to %x…, signed is %x…", r.name(i), head(replayed[i]), head(signed)))
		default:
			m.Proved = append(m.Proved, i)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(r.Values)) {
		if replayed[i] == nil && (r.Layout != RTMR || i != 0) && !r.atStart(i) {
			m.Unexplained = append(m.Unexplained, i)
		}
	}
	if len(differ) > 0 {
		return nil, fmt.Errorf("event log: %s", strings.Join(differ, "; "))
	}
	if len(m.Proved) == 0 {
		return nil, errors.New("event log: it has no event for any register that was signed")
	}
	return m, nil
}

func (r *Registers) name(i int) string {
	switch {
	case r.Layout == PCRs:
		return fmt.Sprintf("PCR %d", i)
	case i == 0:
		return "MRTD"
	}
	return fmt.Sprintf("RTMR%d", i-1)
}

// atStart reports a value that nothing was extended into: zero, and for the PCRs of
// dynamic launch ff (TCG PC Client Platform TPM Profile, table 7).
func (r *Registers) atStart(i int) bool {
	v := r.Values[i]
	zero := len(bytes.Trim(v, "\x00")) == 0
	return zero || r.Layout == PCRs && i >= 17 && i <= 22 && len(bytes.Trim(v, "\xff")) == 0
}

func (r *Registers) names(list []int) string {
	var out []string
	for _, i := range list {
		out = append(out, r.name(i))
	}
	return strings.Join(out, ", ")
}

func head(b []byte) []byte { return b[:min(len(b), 8)] }

// of returns the events extended into one register, in order.
func (m *Match) of(register int) []Event {
	if !slices.Contains(m.Proved, register) {
		return nil
	}
	var out []Event
	for e := range m.log.Events() {
		if e.Register == register && e.Extended() {
			out = append(out, e)
		}
	}
	return out
}
