package eventlog

import (
	"slices"
	"testing"
)

func TestFacts(t *testing.T) {
	t.Parallel()
	for state, want := range map[byte]string{1: "enabled", 0: "disabled"} {
		facts := newWorld(t, SHA1, SHA256).boot(state).facts(SHA256)
		for name, value := range map[string]string{
			FactSecureBoot: want, FactSeparators: "complete", FactExitBootServices: "succeeded", FactKernelCmdline: cmdline,
			FactFirmwareVersion: "GCE Virtual Firmware v1", FactGCETechnology: "sev-snp",
			FactPK: hexSum("platform key"), FactKEK: hexSum("key exchange key"), FactDB: hexSum("allowed"), FactDBX: hexSum("forbidden"),
			FactBootDigests: hexSum("MZ shim"),
		} {
			if facts[name] != value {
				t.Errorf("%s is %q, wanted %q", name, facts[name], value)
			}
		}
	}
	if facts := newWorld(t, SHA1, SHA256).boot(1).facts(SHA1); len(facts) > 0 {
		t.Errorf("facts from SHA-1: %v", facts)
	}
}

func hexSum(s string) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, b := range SHA256.sum([]byte(s)) {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}

// secureBootOff is what the firmware of a machine without Secure Boot extends.
func secureBootOff(w *world, register int) { w.variables(register, 0).separator(register) }

// TestSecureBootCannotBeMadeUp are logs of machines without Secure Boot, edited so
// that they replay and say the opposite. None may state that it is enabled.
func TestSecureBootCannotBeMadeUp(t *testing.T) {
	t.Parallel()
	on := efiVariable(efiGlobal, "SecureBoot", []byte{1})
	off := efiVariable(efiGlobal, "SecureBoot", []byte{0})
	for name, measure := range map[string]func(w *world){
		"data changed": func(w *world) {
			w.extendAs(7, evVariable, off, on)
			w.extend(7, evVariable, efiVariable(efiGlobal, "PK", nil)).separator(7)
		},
		"true event called an action, false one measured by the OS after it": func(w *world) {
			w.extendAs(7, evAction, off, []byte("DMA Protection Disabled")).separator(7).variables(7, 1)
		},
		"separator called something else": func(w *world) {
			w.variables(7, 0)
			w.extendAs(7, evAction, make([]byte, 4), []byte("nothing")).variables(7, 1).separator(7)
		},
		"true event hidden before a false run": func(w *world) {
			w.extendAs(7, evApplication, off, []byte("path")).variables(7, 1).separator(7)
		},
		"true event hidden after a false run": func(w *world) {
			w.variables(7, 1).extendAs(7, evApplication, off, []byte("path")).separator(7)
		},
		"both states":  func(w *world) { w.variables(7, 1).extend(7, evVariable, off).separator(7) },
		"no separator": func(w *world) { w.variables(7, 1) },
		"no keys":      func(w *world) { w.extend(7, evVariable, on).separator(7) },
		"wrong order": func(w *world) {
			w.extend(7, evVariable, efiVariable(efiGlobal, "PK", nil)).extend(7, evVariable, on)
			w.extend(7, evVariable, efiVariable(efiGlobal, "KEK", nil)).extend(7, evVariable, efiVariable(efiImageSecurity, "db", nil))
			w.extend(7, evVariable, efiVariable(efiImageSecurity, "dbx", nil)).separator(7)
		},
		"another GUID": func(w *world) {
			w.extend(7, evVariable, efiVariable(efiImageSecurity, "SecureBoot", []byte{1})).variables(6, 1).separator(7)
		},
		"two bytes": func(w *world) {
			w.extend(7, evVariable, efiVariable(efiGlobal, "SecureBoot", []byte{1, 1})).extend(7, evVariable, efiVariable(efiGlobal, "PK", nil))
			w.extend(7, evVariable, efiVariable(efiGlobal, "KEK", nil)).extend(7, evVariable, efiVariable(efiImageSecurity, "db", nil))
			w.extend(7, evVariable, efiVariable(efiImageSecurity, "dbx", nil)).separator(7)
		},
		"another register": func(w *world) { w.variables(1, 1).separator(1); secureBootOff(w, 7) },
	} {
		w := newWorld(t, SHA256)
		measure(w)
		if facts := w.facts(SHA256); facts[FactSecureBoot] == "enabled" {
			t.Errorf("%s: %v", name, facts)
		}
	}
}

// TestSecureBootInRTMR0: the host chooses ACPI tables, whose digest is in the log
// without their data. A table with the bytes of a variable must not stand in for it.
func TestSecureBootInRTMR0(t *testing.T) {
	t.Parallel()
	on := efiVariable(efiGlobal, "SecureBoot", []byte{1})
	w := newWorld(t, SHA384).extendAs(1, 0x8000000b, []byte("hand-off block"), []byte("TdxTable"))
	w.extendAs(1, evTable, efiVariable(efiGlobal, "SecureBoot", []byte{0}), []byte("ACPI DATA")) // the true event, renamed
	for _, name := range []string{"PK", "KEK", "db", "dbx"} {
		w.extendAs(1, evTable, []byte(name), []byte("ACPI DATA"))
	}
	w.separator(1).extend(1, evVariable, on) // the table, called a variable
	w.variables(1, 1)
	facts, err := w.parse().Facts(w.rtmrs())
	if err != nil || facts[FactSecureBoot] != "" {
		t.Errorf("%v %v", facts, err)
	}
	honest := newWorld(t, SHA384).extendAs(1, 0x8000000b, []byte("hand-off block"), []byte("TdxTable")).variables(1, 1).separator(1)
	if facts, err = honest.parse().Facts(honest.rtmrs()); err != nil || facts[FactSecureBoot] != "enabled" {
		t.Errorf("%v %v", facts, err)
	}
}

func TestCommandLineCannotBeMadeUp(t *testing.T) {
	t.Parallel()
	const evil = "/vmlinuz init=/bin/sh"
	for name, measure := range map[string]func(w *world){
		"label exchanged": func(w *world) { w.grub("kernel_cmdline: ", "linux "+cmdline).grub("grub_cmd: ", "/other") },
		"two commands": func(w *world) {
			w.grub("grub_cmd: ", "linux "+cmdline).grub("kernel_cmdline: ", cmdline).grub("grub_cmd: ", "linux "+evil).grub("grub_cmd: ", evil)
		},
		"true command hidden": func(w *world) {
			w.grub("grub_cmd: ", "linux "+cmdline).grub("kernel_cmdline: ", cmdline)
			w.extendAs(8, evIPL, []byte("linux "+evil), []byte("/boot/file\x00")).extendAs(8, evIPL, []byte(evil), []byte("x"))
		},
		"chain loaded": func(w *world) {
			w.grub("grub_cmd: ", "linux "+cmdline).grub("kernel_cmdline: ", cmdline).grub("grub_cmd: ", "chainloader /evil.efi")
		},
		"never given to the kernel": func(w *world) { w.grub("grub_cmd: ", "linux "+cmdline) },
		"before the command":        func(w *world) { w.grub("kernel_cmdline: ", cmdline).grub("grub_cmd: ", "linux "+cmdline) },
		"not a linux command":       func(w *world) { w.grub("grub_cmd: ", "multiboot "+cmdline).grub("kernel_cmdline: ", cmdline) },
		"control characters":        func(w *world) { w.grub("grub_cmd: ", "linux a\x1b[2J").grub("kernel_cmdline: ", "a\x1b[2J") },
		"label unknown":             func(w *world) { w.grub("cmd: ", "linux "+cmdline).grub("kernel_cmdline: ", cmdline) },
		"wide text changed":         func(w *world) { w.extendAs(12, evIPL, append(wide(evil), 0, 0), append(wide(cmdline), 0, 0)) },
		"wide text twice": func(w *world) {
			w.extend(12, evIPL, append(wide(evil), 0, 0)).extend(12, evIPL, append(wide(cmdline), 0, 0))
		},
		"two sources": func(w *world) {
			w.grub("grub_cmd: ", "linux "+evil).grub("kernel_cmdline: ", evil).extend(12, evIPL, append(wide(cmdline), 0, 0))
		},
	} {
		w := newWorld(t, SHA256)
		measure(w)
		if facts := w.facts(SHA256); facts[FactKernelCmdline] != "" {
			t.Errorf("%s: %q", name, facts[FactKernelCmdline])
		}
	}
	for name, measure := range map[string]func(w *world){
		"old GRUB": func(w *world) {
			w.extendAs(8, evIPL, []byte("linux "+cmdline+"\x00"), []byte("grub_cmd linux "+cmdline+"\x00"))
			w.extendAs(8, evIPL, []byte(cmdline+"\x00"), []byte("grub_kernel_cmdline "+cmdline+"\x00"))
		},
		"systemd-stub":     func(w *world) { w.extend(12, evIPL, append(wide(cmdline), 0, 0)) },
		"old systemd-boot": func(w *world) { w.extendAs(8, evIPL, append(wide(cmdline), 0, 0), append(wide(cmdline), 0)) },
	} {
		w := newWorld(t, SHA256)
		measure(w)
		if facts := w.facts(SHA256); facts[FactKernelCmdline] != cmdline {
			t.Errorf("%s: %q", name, facts[FactKernelCmdline])
		}
	}
	quoted := newWorld(t, SHA256).grub("grub_cmd: ", `linux /k dm=1 a"b`).grub("kernel_cmdline: ", `/k "dm=1 a\"b"`)
	if facts := quoted.facts(SHA256); facts[FactKernelCmdline] != `/k "dm=1 a\"b"` {
		t.Errorf("quoted: %q", facts[FactKernelCmdline])
	}
}

func TestSeparatorsAndBootServices(t *testing.T) {
	t.Parallel()
	all := func(w *world) *world {
		for i := range 8 {
			w.separator(i)
		}
		return w
	}
	failed := func(w *world, registers ...int) *world {
		for i := range 8 {
			if slices.Contains(registers, i) {
				w.extend(i, evSeparator, []byte{1, 0, 0, 0})
			} else {
				w.separator(i)
			}
		}
		return w
	}
	for name, tc := range map[string]struct {
		w           *world
		separators  string
		exit        string
		bootDigests bool
	}{
		"all":           {all(newWorld(t, SHA256)), "complete", "absent", false},
		"twice":         {all(newWorld(t, SHA256)).separator(3), "repeated", "absent", false},
		"called else":   {all(newWorld(t, SHA256)).extendAs(3, evAction, make([]byte, 4), nil), "repeated", "absent", false},
		"missing":       {all(newWorld(t, SHA256)).registersOnly(6), "", "absent", false},
		"failed":        {failed(newWorld(t, SHA256), 2), "error", "absent", false},
		"invoked":       {all(newWorld(t, SHA256)).extendAs(5, evIPL, []byte(exitInvoked), nil), "complete", "invoked", false},
		"exit failed":   {all(newWorld(t, SHA256)).extend(5, evAction, []byte(exitFailed)), "complete", "failed", false},
		"second try":    {all(newWorld(t, SHA256)).extend(5, evAction, []byte(exitFailed)).extend(5, evAction, []byte(exitSucceeded)), "complete", "succeeded", false},
		"program":       {all(newWorld(t, SHA256)).extend(4, evApplication, []byte("MZ with its preimage")), "complete", "absent", true},
		"false GPT":     {all(newWorld(t, SHA256)).extendAs(4, 0x80000006, []byte("MZ"), []byte("EFI PART")), "complete", "absent", true},
		"no separator":  {failedOne(t), "incomplete", "absent", false},
		"variable as 1": {all(newWorld(t, SHA256).extend(1, 0x80000002, []byte{1, 0, 0, 0})), "complete", "absent", false},
	} {
		facts := tc.w.facts(SHA256)
		if facts[FactSeparators] != tc.separators || facts[FactExitBootServices] != tc.exit || (facts[FactBootDigests] != "") != tc.bootDigests {
			t.Errorf("%s: %v", name, facts)
		}
	}
}

// registersOnly forgets a register as if it were not part of the quote.
func (w *world) registersOnly(without int) *world {
	delete(w.registers[SHA256], without)
	return w
}

func failedOne(t *testing.T) *world {
	w := newWorld(t, SHA256).extend(3, evAction, []byte("text"))
	for _, i := range []int{0, 1, 2, 4, 5, 6, 7} {
		w.separator(i)
	}
	return w
}

func TestFirmwareFacts(t *testing.T) {
	t.Parallel()
	version := append(wide("GCE Virtual Firmware v1"), 0, 0)
	info := append([]byte("GCE NonHostInfo\x00"), 4)
	for name, tc := range map[string]struct {
		w                   *world
		version, technology string
	}{
		"honest":          {newWorld(t, SHA256).extend(0, 8, version).extend(0, 0x11, info).separator(0), "GCE Virtual Firmware v1", "sev-snp"},
		"after separator": {newWorld(t, SHA256).separator(0).extend(0, 8, version).extend(0, 0x11, info), "", ""},
		"changed":         {newWorld(t, SHA256).extend(0, 8, version).extendAs(0, 0x11, append([]byte("GCE NonHostInfo\x00"), 0), info).separator(0), "GCE Virtual Firmware v1", ""},
		"other firmware":  {newWorld(t, SHA256).extend(0, 8, wide("EDK II")).extend(0, 0x11, info).separator(0), "EDK II", ""},
		"unknown":         {newWorld(t, SHA256).extend(0, 8, version).extend(0, 0x11, append([]byte("GCE NonHostInfo\x00"), 9)).separator(0), "GCE Virtual Firmware v1", ""},
		"control":         {newWorld(t, SHA256).extend(0, 8, wide("a\x07")).separator(0), "", ""},
	} {
		if facts := tc.w.facts(SHA256); facts[FactFirmwareVersion] != tc.version || facts[FactGCETechnology] != tc.technology {
			t.Errorf("%s: %v", name, facts)
		}
	}
}
