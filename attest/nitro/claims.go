package nitro

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"hitoku.dev/attest"
)

// Debug reports whether the enclave runs in debug mode: its console can be read, and
// the registers that measure it are zero. One of PCR0 to PCR2 that is zero or missing
// is enough to say so.
func (d *Document) Debug() bool {
	for i := range 3 {
		if len(bytes.Trim(d.PCRs[i], "\x00")) == 0 {
			return true
		}
	}
	return false
}

// Instance returns the part of the module id that names the EC2 instance, such as
// "i-0de38b2b6853cc9e8"; the rest changes whenever an enclave starts.
func (d *Document) Instance() string {
	name, _, _ := strings.Cut(d.ModuleID, "-enc")
	return name
}

func (d *Document) claims() attest.Claims {
	c := attest.Claims{
		Format: FormatDocument, TEE: attest.Nitro,
		Measurement: d.PCRs[0], ReportData: d.UserData, Nonce: d.Nonce,
		Debug: d.Debug(), PlatformID: d.Instance(), IssuedAt: d.Timestamp,
		Facts:        map[string]string{"module_id": d.ModuleID},
		Measurements: make(map[string]string, len(d.PCRs)),
	}
	for i, pcr := range d.PCRs {
		c.Measurements[fmt.Sprintf("pcr%d", i)] = hex.EncodeToString(pcr)
	}
	if d.PublicKey != nil {
		hash := sha256.Sum256(d.PublicKey)
		c.Facts["public_key"] = hex.EncodeToString(d.PublicKey)
		c.Facts["public_key_sha256"] = hex.EncodeToString(hash[:])
	}
	return c
}
