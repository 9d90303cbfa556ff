package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Names of facts. A fact that cannot be proved is absent, never guessed.
const (
	FactSecureBoot       = "secure_boot"            // "enabled", "disabled"
	FactPK               = "secure_boot_pk_sha256"  // SHA-256 of the variable's value, hexadecimal; likewise
	FactKEK              = "secure_boot_kek_sha256" //
	FactDB               = "secure_boot_db_sha256"  //
	FactDBX              = "secure_boot_dbx_sha256" //
	FactSeparators       = "uefi_separators"        // "complete", "incomplete", "repeated", "error"
	FactExitBootServices = "exit_boot_services"     // "succeeded", "failed", "invoked", "absent"
	FactBootDigests      = "boot_digests"           // digests of what firmware and boot loader started, comma-separated, in order
	FactKernelCmdline    = "kernel_cmdline"
	FactFirmwareVersion  = "firmware_version"
	FactGCETechnology    = "gce_technology" // "none", "sev", "sev-es", "tdx", "sev-snp"
	FactIMAEntries       = "ima_entries"
	FactIMAViolations    = "ima_violations"
)

// Facts replays the log against signed registers and returns what follows. The
// error says which registers differ; then there are no facts at all.
func (l *Log) Facts(r Registers) (map[string]string, error) {
	m, err := l.Match(r)
	if err != nil {
		return nil, err
	}
	return m.Facts(), nil
}

// Facts returns what the proved registers say. It is empty for SHA-1.
func (m *Match) Facts() map[string]string {
	out := make(map[string]string)
	if m.registers.Alg == SHA1 {
		return out
	}
	if m.log.Kind == IMA {
		m.imaFacts(out)
		return out
	}
	// PCRs 1 and 7 are merged into RTMR0, 2 to 6 into RTMR1 (UEFI 2.10, table 38.1).
	keys, boot, exit := 7, 4, 5
	if m.registers.Layout == RTMR {
		keys, boot, exit = 1, 2, 2
	}
	m.secureBoot(keys, out)
	m.separators(out)
	m.bootServices(boot, exit, out)
	if m.registers.Layout == RTMR {
		m.dstack(out)
		return out
	}
	m.firmware(out)
	m.commandLine(out)
	return out
}

// text is the digest of a known string, which proves it whatever the log calls it.
func (m *Match) text(s string) []byte { return m.registers.Alg.sum([]byte(s)) }

func (m *Match) digest(e *Event) []byte { return e.Digest(m.registers.Alg) }

// separatorOf tells a separator by its digest: 1 for one that ends the firmware's
// part, -1 for the one that says that measuring failed (TCG PFP, section 10.4.1).
func (m *Match) separatorOf(e *Event) int {
	d := m.digest(e)
	switch {
	case bytes.Equal(d, m.text("\x00\x00\x00\x00")), bytes.Equal(d, m.text("\xff\xff\xff\xff")):
		return 1
	case bytes.Equal(d, m.text("\x01\x00\x00\x00")):
		return -1
	}
	return 0
}

// beforeSeparator returns what firmware extended before it gave up control.
func (m *Match) beforeSeparator(register int) []Event {
	events := m.of(register)
	for i := range events {
		if m.separatorOf(&events[i]) == 1 {
			return events[:i]
		}
	}
	return nil
}

// secureBoot reads the variables that firmware measures in this order, one after
// another: SecureBoot, PK, KEK, db, dbx. All of them must be covered, and nothing
// after SecureBoot may be hidden; in PCR 7 nothing before it either. In RTMR0 the
// machine's configuration comes first, whose data are not in the log; it cannot
// stand in for the run of five.
func (m *Match) secureBoot(register int, out map[string]string) {
	events := m.beforeSeparator(register)
	alg := m.registers.Alg
	first := slices.IndexFunc(events, func(e Event) bool { return isVariable(&e, efiGlobal, "SecureBoot") && e.Covered(alg) })
	if first < 0 || len(events)-first < 5 {
		return
	}
	hidden := func(e Event) bool { return !e.Covered(alg) }
	if slices.ContainsFunc(events[first:], hidden) || m.registers.Layout == PCRs && slices.ContainsFunc(events[:first], hidden) {
		return
	}
	names := []struct{ fact, guid, name string }{
		{FactPK, efiGlobal, "PK"}, {FactKEK, efiGlobal, "KEK"}, {FactDB, efiImageSecurity, "db"}, {FactDBX, efiImageSecurity, "dbx"},
	}
	found := make(map[string]string)
	for i, want := range names {
		e := &events[first+1+i]
		if !isVariable(e, want.guid, want.name) {
			return
		}
		found[want.fact] = fmt.Sprintf("%x", sha256.Sum256(variableValue(e)))
	}
	state := string(variableValue(&events[first]))
	for i := range events[first+1:] { // measured anew when it changes
		e := &events[first+1+i]
		if isVariable(e, efiGlobal, "SecureBoot") && string(variableValue(e)) != state {
			return
		}
	}
	switch state {
	case "\x01":
		found[FactSecureBoot] = "enabled"
	case "\x00", "":
		found[FactSecureBoot] = "disabled"
	default:
		return
	}
	for k, v := range found {
		out[k] = v
	}
}

// separators judges the registers in which firmware must leave exactly one.
func (m *Match) separators(out map[string]string) {
	registers := []int{0, 1, 2, 3, 4, 5, 6, 7}
	if m.registers.Layout == RTMR {
		registers = []int{1, 2}
	}
	state := "complete"
	for _, r := range registers {
		if !slices.Contains(m.Proved, r) {
			return
		}
		n, failed := 0, false
		for _, e := range m.of(r) {
			switch m.separatorOf(&e) {
			case 1:
				n++
			case -1:
				// Some variables have the same bytes; it is no failure where a separator stands too.
				failed = true
			}
		}
		switch {
		case n == 0 && failed:
			out[FactSeparators] = "error"
			return
		case n == 0 && state != "repeated":
			state = "incomplete"
		case n > 1:
			state = "repeated"
		}
	}
	out[FactSeparators] = state
}

const (
	callingApplication = "Calling EFI Application from Boot Option"
	returningFromApp   = "Returning from EFI Application from Boot Option"
	exitInvoked        = "Exit Boot Services Invocation"
	exitSucceeded      = "Exit Boot Services Returned with Success"
	exitFailed         = "Exit Boot Services Returned with Failure"
)

// bootServices reads what was started and how boot services ended. An action is
// known by its digest, a partition table by its covered data; what is left are the
// programs (Authenticode digests), whose data the log does not have.
func (m *Match) bootServices(boot, exit int, out map[string]string) {
	if slices.Contains(m.Proved, exit) {
		state := "absent"
		for _, e := range m.of(exit) {
			switch d := m.digest(&e); {
			case bytes.Equal(d, m.text(exitSucceeded)):
				state = "succeeded"
			case bytes.Equal(d, m.text(exitFailed)) && state != "succeeded":
				state = "failed"
			case bytes.Equal(d, m.text(exitInvoked)) && state == "absent":
				state = "invoked"
			}
		}
		out[FactExitBootServices] = state
	}
	if !slices.Contains(m.Proved, boot) {
		return
	}
	known := [][]byte{m.text(callingApplication), m.text(returningFromApp), m.text(exitInvoked), m.text(exitSucceeded), m.text(exitFailed)}
	var digests []string
	for _, e := range m.of(boot) {
		d := m.digest(&e)
		isKnown := slices.ContainsFunc(known, func(k []byte) bool { return bytes.Equal(k, d) })
		if isKnown || m.separatorOf(&e) != 0 || bytes.HasPrefix(e.Data, []byte("EFI PART")) && e.Covered(m.registers.Alg) {
			continue
		}
		digests = append(digests, hex.EncodeToString(d))
	}
	if len(digests) > 0 {
		out[FactBootDigests] = strings.Join(digests, ",")
	}
}

// firmware reads the version that PCR 0 begins with, and what Google's firmware says of the machine.
func (m *Match) firmware(out map[string]string) {
	events, alg := m.beforeSeparator(0), m.registers.Alg
	if len(events) < 1 || !events[0].Covered(alg) {
		return
	}
	version, ok := utf16Text(events[0].Data)
	if !ok {
		return
	}
	out[FactFirmwareVersion] = version
	if !strings.HasPrefix(version, "GCE Virtual Firmware v") || len(events) < 2 || !events[1].Covered(alg) {
		return
	}
	info, ok := bytes.CutPrefix(events[1].Data, []byte("GCE NonHostInfo\x00"))
	technologies := []string{"none", "sev", "sev-es", "tdx", "sev-snp"}
	if ok && len(info) > 0 && int(info[0]) < len(technologies) {
		out[FactGCETechnology] = technologies[info[0]]
	}
}

// utf16Text reads printable little-endian UTF-16, with its final zero or without.
func utf16Text(b []byte) (string, bool) {
	if len(b)%2 != 0 || len(b) < 4 {
		return "", false
	}
	units := make([]uint16, 0, len(b)/2)
	for i := 0; i < len(b); i += 2 {
		units = append(units, uint16(b[i])|uint16(b[i+1])<<8)
	}
	if units[len(units)-1] == 0 {
		units = units[:len(units)-1]
	}
	text := string(utf16.Decode(units))
	return text, printable(text)
}

func (m *Match) imaFacts(out map[string]string) {
	n, violations := 0, 0
	for e := range m.log.Events() {
		if n++; n > m.Entries {
			break
		}
		if e.Violation() {
			violations++
		}
	}
	out[FactIMAEntries], out[FactIMAViolations] = strconv.Itoa(m.Entries), strconv.Itoa(violations)
}
