package eventlog

import (
	"encoding/binary"
	"unicode/utf16"
)

// GUIDs of variables as they stand in memory (EFI_GLOBAL_VARIABLE and
// EFI_IMAGE_SECURITY_DATABASE_GUID; UEFI 2.10, sections 3.3 and 32.6.1).
const (
	efiGlobal        = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"
	efiImageSecurity = "\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f"
)

// variable reads UEFI_VARIABLE_DATA (TCG PFP, section 10.2.6): GUID, number of
// characters, number of bytes, name in UTF-16, value. Everything must fit exactly.
func variable(data []byte) (guid, name string, value []byte, ok bool) {
	const header = 16 + 8 + 8
	if len(data) < header {
		return "", "", nil, false
	}
	chars, size := binary.LittleEndian.Uint64(data[16:]), binary.LittleEndian.Uint64(data[24:])
	rest := data[header:]
	if chars > uint64(len(rest))/2 || size != uint64(len(rest))-2*chars || chars > 64 {
		return "", "", nil, false
	}
	units := make([]uint16, chars)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(rest[2*i:])
	}
	return string(data[:16]), string(utf16.Decode(units)), rest[2*chars:], true
}

func isVariable(e *Event, guid, name string) bool {
	g, n, _, ok := variable(e.Data)
	return ok && g == guid && n == name
}

func variableValue(e *Event) []byte {
	_, _, value, _ := variable(e.Data)
	return value
}
