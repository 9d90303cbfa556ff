package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"hitoku.dev/attest/eventlog"
)

// PCRs are register values by bank and number, as somebody says that they are.
type PCRs map[eventlog.Alg]map[int][]byte

// numPCRs is the number of registers of a PC client TPM.
const numPCRs = 24

func (p PCRs) set(bank eventlog.Alg, i int, value []byte) error {
	if bank.Size() == 0 || len(value) != bank.Size() {
		return fmt.Errorf("PCR %d of %v has %d bytes, wanted %d", i, bank, len(value), bank.Size())
	}
	if i < 0 || i >= numPCRs {
		return fmt.Errorf("PCR %d, wanted 0 to %d", i, numPCRs-1)
	}
	if p[bank] == nil {
		p[bank] = make(map[int][]byte, numPCRs)
	}
	if p[bank][i] != nil {
		return fmt.Errorf("PCR %d of %v is given twice", i, bank)
	}
	p[bank][i] = value
	return nil
}

// digest hashes the selected values in their order (part 3, section 18.4). It
// returns the values that went in.
func (a *Attest) digest(alg eventlog.Alg, given PCRs) ([]byte, PCRs, error) {
	used, n := make(PCRs), 0
	h := alg.New()
	if h == nil {
		return nil, nil, fmt.Errorf("%v is not known", alg)
	}
	for _, s := range a.Selection {
		for i := range 32 {
			if s.Mask&(1<<i) == 0 {
				continue
			}
			value := given[s.Bank][i]
			if value == nil {
				return nil, nil, fmt.Errorf("PCR %d of %v was signed, but its value is not given", i, s.Bank)
			}
			h.Write(value)
			if err := used.set(s.Bank, i, value); err != nil {
				return nil, nil, err
			}
			n++
		}
	}
	if n == 0 {
		return nil, nil, errors.New("no PCR is selected")
	}
	return h.Sum(nil), used, nil
}

// checkPCRs compares the signed digest with the values, and returns those that it covers.
func (a *Attest) checkPCRs(alg eventlog.Alg, given PCRs) (PCRs, error) {
	sum, used, err := a.digest(alg, given)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(sum, a.PCRDigest) {
		return nil, fmt.Errorf("the values hash to %x…, signed is %x…", sum[:8], a.PCRDigest[:min(8, len(a.PCRDigest))])
	}
	return used, nil
}

// strongest returns the bank with the longest digests, 0 when there is none but SHA-1.
func (p PCRs) strongest() eventlog.Alg {
	best := eventlog.Alg(0)
	for _, bank := range slices.Sorted(maps.Keys(p)) {
		if bank != eventlog.SHA1 && bank.Size() > best.Size() {
			best = bank
		}
	}
	return best
}

// merge adds values; one that another quote gave differently is an error.
func (p PCRs) merge(other PCRs) error {
	for bank, values := range other {
		if p[bank] == nil {
			p[bank] = make(map[int][]byte, len(values))
		}
		for i, v := range values {
			if old := p[bank][i]; old != nil && !bytes.Equal(old, v) {
				return fmt.Errorf("PCR %d of %v changed between two quotes", i, bank)
			}
			p[bank][i] = v
		}
	}
	return nil
}
