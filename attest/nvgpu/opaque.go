package nvgpu

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Types of opaque fields, as NVIDIA's attestation SDK names them.
const (
	fieldDriverVersion = 3
	fieldVBIOSVersion  = 6
	fieldNVDEC0        = 11
	fieldBoardID       = 14
	fieldChipSKU       = 15
	fieldChipSKUMod    = 16
	fieldProject       = 17
	fieldProjectSKU    = 18
	fieldProjectSKUMod = 19
	fieldFWID          = 20
	fieldProtectedPCIe = 21
	fieldPDI           = 22 // of a switch: its own; of a GPU: those of the switches at its links
	fieldDisabledPorts = 23
	fieldPositionID    = 24
	fieldSwitchLocked  = 25
	fieldSwitchGPUPDIs = 26
	fieldOpaqueVersion = 34
	fieldChipInfo      = 35
	fieldFeatureFlag   = 36
)

// Values of status bytes.
const (
	statusEnabled  = 0xaa
	statusDisabled = 0x55
)

// maxOpaqueVersion is the newest meaning of the fields that is known.
const maxOpaqueVersion = 1

// opaqueVersion returns the version of the fields' meaning, 0 where none is said.
func (r *Report) opaqueVersion() (version uint64) {
	b := r.Opaque[fieldOpaqueVersion]
	for i := len(b) - 1; i >= 0; i-- {
		version = version<<8 | uint64(b[i])
	}
	if len(b) > 8 {
		return ^uint64(0)
	}
	return version
}

// DriverVersion returns the driver's version, such as "590.12"; empty for a switch.
func (r *Report) DriverVersion() string { return text(r.Opaque[fieldDriverVersion]) }

// VBIOSVersion returns the version of the device's firmware in the form
// "96.00.A5.00.01", upper case.
func (r *Report) VBIOSVersion() string {
	b := r.Opaque[fieldVBIOSVersion]
	if len(b) == 8 && b[3] != '.' && b[2] != '.' { // four bytes little-endian, then one more
		return fmt.Sprintf("%02X.%02X.%02X.%02X.%02X", b[3], b[2], b[1], b[0], b[4])
	}
	return strings.ToUpper(text(b))
}

// text returns printable ASCII without the zero bytes at its end, or hexadecimal.
func text(b []byte) string {
	s := strings.TrimRight(string(b), "\x00")
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e {
			return hex.EncodeToString(b)
		}
	}
	return strings.TrimSpace(s)
}

func status(b []byte) string {
	if len(b) == 1 && b[0] == statusEnabled {
		return "enabled"
	}
	if len(b) == 1 && b[0] == statusDisabled {
		return "disabled"
	}
	return hex.EncodeToString(b)
}

func feature(b []byte) string {
	names := []string{"spt", "mpt", "ppcie"} // single-GPU, multi-GPU and protected-PCIe passthrough
	for i, name := range names {
		if len(b) > 0 && int(b[0]) == i && len(strings.Trim(string(b[1:]), "\x00")) == 0 {
			return name
		}
	}
	return hex.EncodeToString(b)
}

// pdis writes identifiers of eight bytes each, separated by commas.
func pdis(b []byte) string {
	var out []string
	for len(b) >= 8 {
		out, b = append(out, hex.EncodeToString(b[:8])), b[8:]
	}
	if len(b) > 0 {
		out = append(out, hex.EncodeToString(b))
	}
	return strings.Join(out, ",")
}

// facts names what the opaque fields say.
func (r *Report) facts(sw bool) map[string]string {
	out := make(map[string]string)
	for kind, b := range r.Opaque {
		switch kind {
		case fieldDriverVersion:
			out["driver_version"] = r.DriverVersion()
		case fieldVBIOSVersion:
			out["vbios_version"] = r.VBIOSVersion()
		case fieldNVDEC0:
			out["nvdec0"] = status(b)
		case fieldBoardID:
			out["board_id"] = hex.EncodeToString(b)
		case fieldChipSKU:
			out["chip_sku"] = text(b)
		case fieldChipSKUMod:
			out["chip_sku_mod"] = text(b)
		case fieldProject:
			out["project"] = text(b)
		case fieldProjectSKU:
			out["project_sku"] = text(b)
		case fieldProjectSKUMod:
			out["project_sku_mod"] = text(b)
		case fieldFWID:
			out["fwid"] = hex.EncodeToString(b)
		case fieldProtectedPCIe:
			out["protected_pcie"] = status(b)
		case fieldPDI:
			if sw {
				out["device_pdi"] = pdis(b)
			} else {
				out["switch_pdis"] = pdis(b)
			}
		case fieldDisabledPorts:
			out["disabled_ports"] = hex.EncodeToString(b)
		case fieldPositionID:
			out["position_id"] = hex.EncodeToString(b)
		case fieldSwitchLocked:
			out["switch_lock_status"] = hex.EncodeToString(b)
		case fieldSwitchGPUPDIs:
			out["gpu_pdis"] = pdis(b[:min(len(b), 64)]) // eight GPUs, then ports
		case fieldChipInfo:
			name, _, _ := strings.Cut(string(b), "\x00")
			out["chip_info"] = text([]byte(name))
		case fieldFeatureFlag:
			out["feature_flag"] = feature(b)
		}
	}
	return out
}
