package member

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/wire"
)

// tdRegisters are the registers that say what runs in a TD, in their order in
// [Measurement]. MRSEAM is not among them: the TDX module is judged by its TCB.
var tdRegisters = [...]string{"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig", "mrservicetd"}

// Measurement is how a policy names the program that made evidence.
//
// For SGX it is MRENCLAVE, 32 bytes. A TD's MRTD covers its firmware alone, and what
// the firmware started stands in other registers; so for TDX it is the SHA-256
// H(TD(mrtd, rtmr0, rtmr1, rtmr2, rtmr3, mrconfigid, mrowner, mrownerconfig,
// mrservicetd, td_attributes, xfam)) in the notation of docs/ledger-protocol.md, each
// as the report holds it, mrservicetd empty in reports of TDX 1.0. Nil for other TEEs.
func Measurement(c *attest.Claims) []byte {
	switch c.TEE {
	case attest.SGX:
		return c.Measurement
	case attest.TDX:
		items := make([][]byte, 0, len(tdRegisters)+2)
		for _, name := range tdRegisters {
			items = append(items, unhex(c.Measurements[name]))
		}
		items = append(items, unhex(c.Facts["td_attributes"]), unhex(c.Facts["xfam"]))
		sum := wire.Sum("TD", items...)
		return sum[:]
	}
	return nil
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

// programRules wants measurement, signer and security version of one line of the
// policy, and names the first of the three that no line has.
func programRules(programs []wire.Program, c *attest.Claims) []attest.Rule {
	seen := Measurement(c)
	fit := keep(programs, func(p wire.Program) bool { return len(p.Measurement) > 0 && bytes.Equal(p.Measurement, seen) })
	rules := []attest.Rule{{
		Name: "measurement", Wanted: list(programs, func(p wire.Program) string { return hex.EncodeToString(p.Measurement) }), Seen: orNone(hex.EncodeToString(seen)),
		OK: len(fit) > 0, Advice: advice(len(fit) > 0, "is this the approved build of the node? An upgrade needs a policy that lists it first"),
	}}
	if len(fit) == 0 {
		return rules
	}
	bySigner := keep(fit, func(p wire.Program) bool { return len(p.Signer) == 0 || bytes.Equal(p.Signer, c.Signer) })
	rules = append(rules, attest.Rule{
		Name: "signer", Wanted: list(fit, func(p wire.Program) string {
			if len(p.Signer) == 0 {
				return "any"
			}
			return hex.EncodeToString(p.Signer)
		}), Seen: orNone(hex.EncodeToString(c.Signer)),
		OK: len(bySigner) > 0, Advice: advice(len(bySigner) > 0, "the program was signed with another key"),
	})
	if len(bySigner) == 0 {
		return rules
	}
	bySVN := keep(bySigner, func(p wire.Program) bool { return c.SVN >= p.MinSVN })
	return append(rules, attest.Rule{
		Name: "isv_svn", Wanted: list(bySigner, func(p wire.Program) string { return fmt.Sprintf("security version %d or higher", p.MinSVN) }), Seen: fmt.Sprint(c.SVN),
		OK: len(bySVN) > 0, Advice: advice(len(bySVN) > 0, "run a newer build"),
	})
}

func keep(programs []wire.Program, want func(wire.Program) bool) []wire.Program {
	var out []wire.Program
	for _, p := range programs {
		if want(p) {
			out = append(out, p)
		}
	}
	return out
}

func list(programs []wire.Program, show func(wire.Program) string) string {
	out := make([]string, 0, len(programs))
	for _, p := range programs {
		out = append(out, show(p))
	}
	return orNone(strings.Join(out, " or "))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
