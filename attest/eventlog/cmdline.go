package eventlog

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// commandLine reads the kernel's command line from what GRUB measures into PCR 8,
// or systemd's loaders into PCR 8 or 12 as the only event.
//
// GRUB measures bare strings; what it calls them ("grub_cmd", "kernel_cmdline") is
// not covered. So every event of the register must be a covered string, exactly one
// must be a command that loads something, that must be "linux …", and its arguments
// must follow as an event of their own: no label decides anything.
func (m *Match) commandLine(out map[string]string) {
	found := make(map[string]bool)
	for _, register := range []int{8, 12} {
		if events := m.of(register); len(events) == 1 {
			if text, ok := m.wideString(&events[0]); ok {
				found[text] = true
			}
		}
	}
	if text, ok := m.grubKernel(m.of(8)); ok {
		found[text] = true
	}
	if len(found) == 1 {
		for text := range found {
			out[FactKernelCmdline] = text
		}
	}
}

// wideString reads a covered UTF-16 string. What is measured ends in a zero character;
// an old systemd-boot logs half of it only.
func (m *Match) wideString(e *Event) (string, bool) {
	data := e.Data
	if len(data)%2 == 1 && data[len(data)-1] == 0 {
		data = append(data[:len(data):len(data)], 0)
	}
	text, ok := utf16Text(data)
	return text, ok && bytes.Equal(m.registers.Alg.sum(data), m.digest(e))
}

func (m *Match) grubKernel(events []Event) (string, bool) {
	var lines []string
	for i := range events {
		line, ok := m.grubLine(&events[i])
		if !ok {
			return "", false
		}
		lines = append(lines, line)
	}
	loads := func(line string) bool { return slices.Contains(grubLoaders(), firstWord(line)) }
	i := slices.IndexFunc(lines, loads)
	if i < 0 || slices.ContainsFunc(lines[i+1:], loads) {
		return "", false
	}
	command, args, _ := strings.Cut(lines[i], " ")
	if !strings.HasPrefix(command, "linux") || args == "" {
		return "", false
	}
	for _, line := range lines[i+1:] {
		if unquote(line) == args && printable(line) {
			return line, true
		}
	}
	return "", false
}

// unquote undoes what GRUB does to arguments with spaces before it hands them to the
// kernel: quotes around them, and a backslash before quotes and backslashes.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			continue
		}
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// grubLoaders are GRUB's commands that load something that can be booted.
func grubLoaders() []string {
	return []string{"linux", "linux16", "linuxefi", "kernel", "multiboot", "multiboot2", "module", "module2", "chainloader", "xen_hypervisor", "ntldr", "freedos"}
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// grubLine takes the label and the final zero off, if what is left is what was
// measured: the line, in older releases with the zero.
func (m *Match) grubLine(e *Event) (string, bool) {
	for _, label := range []string{"grub_cmd: ", "kernel_cmdline: ", "grub_cmd ", "grub_kernel_cmdline "} {
		line, ok := bytes.CutPrefix(e.Data, []byte(label))
		if !ok {
			continue
		}
		bare, ended := bytes.CutSuffix(line, []byte{0})
		alg := m.registers.Alg
		if d := m.digest(e); ended && (bytes.Equal(alg.sum(bare), d) || bytes.Equal(alg.sum(line), d)) {
			return string(bare), true
		}
	}
	return "", false
}

// printable reports text that can be shown to a person as it is.
func printable(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) < 0
}
