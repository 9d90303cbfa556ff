package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

const imaPCR = 10

// Templates of IMA (Linux, security/integrity/ima/ima_template.c) that can be read.
const (
	imaNG  = "ima-ng"  // digest and name
	imaSig = "ima-sig" // digest, name, signature
)

// isBinaryIMA looks at the first entry: PCR, SHA-1 of the template data, name of the template.
func isBinaryIMA(raw []byte) bool {
	if len(raw) < 34 || binary.LittleEndian.Uint32(raw) != imaPCR {
		return false
	}
	n := binary.LittleEndian.Uint32(raw[24:])
	return n == 6 && string(raw[28:34]) == imaNG || n == 7 && len(raw) >= 35 && string(raw[28:35]) == imaSig
}

func isASCIIIMA(raw []byte) bool {
	fields := bytes.SplitN(raw[:min(len(raw), 64)], []byte(" "), 4)
	return len(fields) == 4 && string(fields[0]) == "10" && len(fields[1]) == 40 &&
		(string(fields[2]) == imaNG || string(fields[2]) == imaSig)
}

func (l *Log) readIMA() error {
	l.Algs = []Alg{SHA1, SHA256, SHA384, SHA512} // the template data are there: any bank can be made
	return l.walkIMA(func(Event) error { return nil })
}

func (l *Log) walkIMA(yield func(Event) error) error {
	if isBinaryIMA(l.raw) {
		return l.walkBinaryIMA(yield)
	}
	return l.walkASCIIIMA(yield)
}

func (l *Log) walkBinaryIMA(yield func(Event) error) error {
	c := cursor{b: l.raw}
	for i := 1; c.off < len(c.b); i++ {
		register, err := c.u32()
		if err == nil && register != imaPCR {
			err = fmt.Errorf("register %d, wanted %d", register, imaPCR)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		digest, err := c.take(SHA1.Size())
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		template, err := c.sized()
		if err == nil && string(template) != imaNG && string(template) != imaSig {
			err = fmt.Errorf("template %.20q, known are %s and %s", template, imaNG, imaSig)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		data, err := c.sized()
		if err == nil {
			err = l.yieldIMA(digest, data, yield)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

// yieldIMA checks that the entry's SHA-1 is that of its data; zero marks a violation.
func (l *Log) yieldIMA(digest, data []byte, yield func(Event) error) error {
	e := Event{Register: imaPCR, Data: data, digests: digest, log: l}
	if !e.Violation() && !bytes.Equal(SHA1.sum(data), digest) {
		return errors.New("its digest is not that of its data")
	}
	return yield(e)
}

// Violation reports an IMA entry whose file was written while it was measured, so
// that its digest means nothing.
func (e *Event) Violation() bool {
	return e.log.Kind == IMA && bytes.Equal(e.digests, make([]byte, len(e.digests)))
}

// imaDigest is the hash of the template data in any bank; of a violation it is all ff.
func (e *Event) imaDigest(alg Alg) []byte {
	if alg.Size() == 0 {
		return nil
	}
	if e.Violation() {
		return bytes.Repeat([]byte{0xff}, alg.Size())
	}
	return alg.sum(e.Data)
}

// walkASCIIIMA builds the template data of each line anew:
// 10 <SHA-1> ima-ng <algorithm>:<digest> <name>, with a signature at the end for ima-sig.
func (l *Log) walkASCIIIMA(yield func(Event) error) error {
	var data []byte
	rest := l.raw
	for i := 1; len(rest) > 0; i++ {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return fmt.Errorf("line %d: %w", i, errShort)
		}
		rest = after
		digest, fields, err := splitIMA(line)
		if err == nil {
			if data, err = appendTemplate(data[:0], fields); err == nil {
				err = l.yieldIMA(digest, data, yield)
			}
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", i, err)
		}
	}
	return nil
}

// imaFields are the fields of a line after its digest.
type imaFields struct {
	digest, name, signature []byte
	signed                  bool
}

func splitIMA(line []byte) (digest []byte, f imaFields, err error) {
	register, rest, _ := bytes.Cut(line, []byte(" "))
	sum, rest, _ := bytes.Cut(rest, []byte(" "))
	template, rest, _ := bytes.Cut(rest, []byte(" "))
	digest = make([]byte, SHA1.Size())
	if string(register) != "10" || len(sum) != 40 {
		return nil, f, errors.New("it does not begin with 10 and a SHA-1 digest")
	}
	if _, err := hex.Decode(digest, sum); err != nil {
		return nil, f, err
	}
	f.signed = string(template) == imaSig
	if !f.signed && string(template) != imaNG {
		return nil, f, fmt.Errorf("template %.20q, known are %s and %s", template, imaNG, imaSig)
	}
	var ok bool
	if f.digest, f.name, ok = bytes.Cut(rest, []byte(" ")); !ok {
		return nil, f, errShort
	}
	if f.signed { // the last field, perhaps empty
		i := bytes.LastIndexByte(f.name, ' ')
		if i < 0 {
			return nil, f, errShort
		}
		f.name, f.signature = f.name[:i], f.name[i+1:]
	}
	return digest, f, nil
}

func appendTemplate(out []byte, f imaFields) ([]byte, error) {
	alg, value, ok := bytes.Cut(f.digest, []byte(":"))
	if !ok {
		return nil, errors.New("the file's digest has no algorithm")
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(alg)+2+hex.DecodedLen(len(value))))
	out = append(append(out, alg...), ':', 0)
	out, err := hex.AppendDecode(out, value)
	if err != nil {
		return nil, err
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(f.name)+1))
	out = append(append(out, f.name...), 0)
	if !f.signed {
		return out, nil
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(hex.DecodedLen(len(f.signature))))
	return hex.AppendDecode(out, f.signature)
}

// matchIMA looks for the entry after which the list replays to PCR 10. What was
// added to the list after the quote is not covered.
func (m *Match) matchIMA() error {
	signed, ok := m.registers.Values[imaPCR]
	alg := m.registers.Alg
	if !ok || len(signed) != alg.Size() || m.registers.Layout != PCRs {
		return fmt.Errorf("event log: an IMA list is measured into PCR %d, which was not signed", imaPCR)
	}
	v, h, n := make([]byte, alg.Size()), alg.New(), 0
	for e := range m.log.Events() {
		n++
		h.Reset()
		h.Write(v)
		h.Write(e.Digest(alg))
		if v = h.Sum(v[:0]); bytes.Equal(v, signed) {
			m.Entries = n
		}
	}
	if m.Entries == 0 {
		return fmt.Errorf("event log: no part of the IMA list replays to PCR %d, signed is %x…", imaPCR, head(signed))
	}
	m.Proved = []int{imaPCR}
	return nil
}
