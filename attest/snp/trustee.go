package snp

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// readTrustee reads the evidence of the Confidential Containers project: the
// report's members by name and the certificate table as an array. The report's
// bytes are put together again, so that its signature can be checked; what the
// members do not say is zero in them.
func readTrustee(raw []byte) (*Evidence, error) {
	if err := validObject(raw); err != nil {
		return nil, formatError("trustee: %w", err)
	}
	e := &Evidence{form: formTrustee}
	err := eachMember(raw, func(name string, value []byte) (err error) {
		switch name {
		case "attestation_report":
			e.Raw, err = trusteeReport(value)
		case "cert_chain":
			if !isNull(value) {
				err = e.trusteeChain(value)
			}
		}
		return err
	})
	if err == nil && e.Raw == nil {
		err = errors.New("member attestation_report is missing")
	}
	if err != nil {
		return nil, formatError("trustee: %w", err)
	}
	if e.Report, err = parseReport(e.Raw); err != nil {
		return nil, err
	}
	e.reserved = checkReserved(e.Raw, e.Report)
	return e, nil
}

// place says where a member lies in a report, and how long it is.
type place struct {
	name     string
	at, size int
	kind     byte // n: number, b: bytes, t: TCB version, v: firmware version, s: signature
	needed   bool
}

// trusteeMember returns the place of a member by its name. Newer and older spellings are both known.
func trusteeMember(name string) (p place, known bool) {
	for _, p := range [...]place{
		{"version", 0x00, 4, 'n', true},
		{"guest_svn", 0x04, 4, 'n', true},
		{"policy", 0x08, 8, 'n', true},
		{"family_id", 0x10, 16, 'b', true},
		{"image_id", 0x20, 16, 'b', true},
		{"vmpl", 0x30, 4, 'n', true},
		{"sig_algo", 0x34, 4, 'n', true},
		{"current_tcb", 0x38, 8, 't', true},
		{"plat_info", 0x40, 8, 'n', true},
		{"key_info", 0x48, 4, 'n', false},
		{"_author_key_en", 0x48, 4, 'n', false}, // older name of key_info
		{"report_data", 0x50, 64, 'b', true},
		{"measurement", 0x90, 48, 'b', true},
		{"host_data", 0xc0, 32, 'b', true},
		{"id_key_digest", 0xe0, 48, 'b', true},
		{"author_key_digest", 0x110, 48, 'b', true},
		{"report_id", 0x140, 32, 'b', true},
		{"report_id_ma", 0x160, 32, 'b', true},
		{"reported_tcb", 0x180, 8, 't', true},
		{"cpuid_fam_id", 0x188, 1, 'n', false},
		{"cpuid_mod_id", 0x189, 1, 'n', false},
		{"cpuid_step", 0x18a, 1, 'n', false},
		{"chip_id", 0x1a0, 64, 'b', true},
		{"committed_tcb", 0x1e0, 8, 't', true},
		{"current", 0x1e8, 3, 'v', false},
		{"committed", 0x1ec, 3, 'v', false},
		{"current_build", 0x1e8, 1, 'n', false}, // older: apart
		{"current_minor", 0x1e9, 1, 'n', false},
		{"current_major", 0x1ea, 1, 'n', false},
		{"committed_build", 0x1ec, 1, 'n', false},
		{"committed_minor", 0x1ed, 1, 'n', false},
		{"committed_major", 0x1ee, 1, 'n', false},
		{"launch_tcb", 0x1f0, 8, 't', true},
		{"launch_mit_vector", 0x1f8, 8, 'n', false},
		{"current_mit_vector", 0x200, 8, 'n', false},
		{"signature", SignedSize, 144, 's', true},
	} {
		if p.name == name {
			return p, true
		}
	}
	return place{}, false
}

// trusteeNeeded is the number of members without which there is no report.
const trusteeNeeded = 21

func trusteeReport(doc []byte) ([]byte, error) {
	raw := make([]byte, ReportSize)
	filled := make([]bool, ReportSize)
	needed := 0
	err := eachMember(doc, func(name string, value []byte) error {
		p, known := trusteeMember(name)
		if !known || !p.needed && isNull(value) {
			return nil
		}
		if filled[p.at] {
			return errors.New("the same field under two names")
		}
		for i := range p.size {
			filled[p.at+i] = true
		}
		if p.needed {
			needed++
		}
		return p.read(value, raw[p.at:p.at+p.size])
	})
	if err == nil && needed != trusteeNeeded {
		err = fmt.Errorf("%d of its members are missing", trusteeNeeded-needed)
	}
	if err != nil {
		return nil, fmt.Errorf("attestation_report: %w", err)
	}
	return raw, nil
}

func (p place) read(value, out []byte) error {
	switch p.kind {
	case 'b':
		return numbers(value, out)
	case 't':
		return trusteeTCB(value, out)
	case 'v':
		return trusteeBytes(value, out, map[string]int{"build": 0, "minor": 1, "major": 2})
	case 's':
		return eachMember(value, func(name string, value []byte) error {
			switch name {
			case "r":
				return numbers(value, out[:72])
			case "s":
				return numbers(value, out[72:])
			}
			return nil
		})
	}
	v, err := number(value, 8*p.size)
	var le [8]byte
	binary.LittleEndian.PutUint64(le[:], v)
	copy(out, le[:])
	return err
}

// trusteeTCB reads a TCB version by its parts. Only products with a first mutable
// code have the member fmc, and the bytes in another order.
func trusteeTCB(value, out []byte) error {
	at := map[string]int{"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
	err := eachMember(value, func(name string, value []byte) error {
		if name == "fmc" && !isNull(value) {
			at = map[string]int{"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return trusteeBytes(value, out, at)
}

// trusteeBytes reads an object of numbers of 8 bits, each to its own byte.
func trusteeBytes(value, out []byte, at map[string]int) error {
	found := 0
	err := eachMember(value, func(name string, value []byte) error {
		i, known := at[name]
		if !known {
			return nil
		}
		found++
		v, err := number(value, 8)
		out[i] = byte(v)
		return err
	})
	if err == nil && found != len(at) {
		err = fmt.Errorf("%d of its members are missing", len(at)-found)
	}
	return err
}

func (e *Evidence) trusteeChain(doc []byte) error {
	e.carried = doc
	count, unknown := 0, 0
	err := eachElement(doc, func(entry []byte) error {
		if count++; count > maxEntries {
			return fmt.Errorf("more than %d entries", maxEntries)
		}
		var kind CertKind
		var data []byte
		err := eachMember(entry, func(name string, value []byte) error {
			switch name {
			case "cert_type":
				if value[0] == '"' { // a kind without a name is an object: not known
					return json.Unmarshal(value, &kind)
				}
			case "data":
				data = make([]byte, 0, len(value)/4)
				return eachElement(value, func(v []byte) error {
					b, err := number(v, 8)
					data = append(data, byte(b))
					return err
				})
			}
			return nil
		})
		if err == nil && !e.add(kind, data) {
			unknown++
		}
		return err
	})
	if unknown > 0 {
		e.note = fmt.Sprintf("%d certificates of unknown kind ignored", unknown)
	}
	return err
}
