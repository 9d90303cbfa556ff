package nvgpu

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"

	"hitoku.dev/attest"
)

// claims of one device. Measurement is the firmware id of the attestation key's
// certificate; measurements are named as RIM files number them, from "measurement_0".
func (c *check) claims() attest.Claims {
	out := attest.Claims{
		Format: FormatReport, TEE: attest.NVIDIAGPU, Nonce: bytes.Clone(c.r.Nonce[:]), PlatformID: c.platformID(),
		Facts: c.r.facts(c.isSwitch()), Measurements: make(map[string]string, len(c.r.Measurements)),
	}
	if c.isSwitch() {
		out.TEE = Switch
	}
	if chip := c.chip(); chip != "" {
		out.Facts["chip"] = chip
	}
	if c.chain != nil {
		if id, err := leafFWID(c.chain[0]); err == nil {
			out.Measurement = id
			out.Facts["fwid"] = hex.EncodeToString(id)
		}
	}
	for _, m := range c.r.Measurements {
		out.Measurements[fmt.Sprintf("measurement_%d", m.Index-1)] = hex.EncodeToString(m.Value)
	}
	return out
}

// join fills in what all devices have in common.
func join(c *attest.Claims) {
	first := &c.Devices[0]
	c.Format, c.TEE, c.Measurement, c.Nonce, c.PlatformID = first.Format, first.TEE, first.Measurement, first.Nonce, first.PlatformID
	c.Facts, c.Measurements = maps.Clone(first.Facts), maps.Clone(first.Measurements)
	for i := range c.Devices {
		d := &c.Devices[i]
		if d.TEE != first.TEE {
			c.TEE = attest.NVIDIAGPU // some of each
		}
		if !bytes.Equal(d.Measurement, c.Measurement) {
			c.Measurement = nil
		}
		if !bytes.Equal(d.Nonce, c.Nonce) {
			c.Nonce = []byte{} // no challenge holds for all
		}
		if d.PlatformID != c.PlatformID {
			c.PlatformID = ""
		}
		maps.DeleteFunc(c.Facts, func(k, v string) bool { return d.Facts[k] != v })
		maps.DeleteFunc(c.Measurements, func(k, v string) bool { return d.Measurements[k] != v })
	}
}
