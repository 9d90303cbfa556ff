package tpm

import (
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"

	"hitoku.dev/attest"
)

// claims says what the quotes cover. The registers are those of the strongest bank.
func (c *check) claims() attest.Claims {
	out := attest.Claims{Format: Format, TEE: attest.TPM, PlatformID: c.ak.platform, Facts: make(map[string]string)}
	out.Measurements, out.Measurement = c.measurements()
	maps.Copy(out.Facts, c.instance)
	if c.attest != nil {
		out.Nonce = c.attest.ExtraData
		c.counters(out.Facts)
	}
	return out
}

// measurements names registers pcr0 to pcr23; the first is the measurement of the claims.
func (c *check) measurements() (all map[string]string, first []byte) {
	values := c.used[c.used.strongest()]
	all = make(map[string]string, len(values))
	for i, v := range values {
		all[fmt.Sprintf("pcr%d", i)] = hex.EncodeToString(v)
	}
	return all, values[0]
}

// counters are facts that every quote signs.
func (c *check) counters(facts map[string]string) {
	a := c.attest
	facts["tpm_firmware_version"] = fmt.Sprintf("%016x", a.Firmware)
	facts["tpm_clock"] = strconv.FormatUint(a.Clock, 10)
	facts["tpm_clock_safe"] = strconv.FormatBool(a.Safe)
	facts["tpm_reset_count"] = strconv.FormatUint(uint64(a.ResetCount), 10)
	facts["tpm_restart_count"] = strconv.FormatUint(uint64(a.RestartCount), 10)
}
