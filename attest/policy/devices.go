package policy

import (
	"fmt"
	"maps"
	"slices"

	"hitoku.dev/attest"
)

// deviceRules judges what was verified beside the TEE.
func (p *Policy) deviceRules(c *attest.Claims) []attest.Rule {
	g := p.GPUs
	if g == nil {
		if !p.Closed || len(c.Devices) == 0 {
			return nil
		}
		return []attest.Rule{rule("devices", "no device is named", deviceNames(c), false, "name what you accept in `gpus`")}
	}
	count, others := 0, 0
	for i := range c.Devices {
		if c.Devices[i].TEE == attest.NVIDIAGPU {
			count++
		} else {
			others++
		}
	}
	wanted := fmt.Sprintf("at least %d GPUs", g.Min)
	if g.Max > 0 {
		wanted = fmt.Sprintf("%d to %d GPUs", g.Min, g.Max)
	}
	ok := count >= g.Min && (g.Max == 0 || count <= g.Max) && (others == 0 || !p.Closed)
	rules := []attest.Rule{rule("devices", wanted, deviceNames(c), ok, "give the evidence of every GPU with --with")}
	for i := range c.Devices {
		d := &c.Devices[i]
		if d.TEE != attest.NVIDIAGPU {
			continue
		}
		prefix := fmt.Sprintf("device_%d_", i+1)
		rules = append(rules, registerRules(prefix, g.Registers, d)...)
		rules = append(rules, factRules(prefix, g.Facts, d)...)
	}
	return rules
}

func deviceNames(c *attest.Claims) string {
	if len(c.Devices) == 0 {
		return "no device"
	}
	counts := make(map[string]int)
	for i := range c.Devices {
		name := string(c.Devices[i].TEE)
		if name == "" {
			name = "device of an unknown kind"
		}
		counts[name]++
	}
	var out string
	for i, name := range sorted(counts) {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%d %s", counts[name], name)
	}
	return out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
