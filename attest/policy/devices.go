package policy

import (
	"fmt"
	"maps"
	"slices"

	"hitoku.dev/attest"
)

// nvidiaSwitch is the kind that attest/nvgpu gives to NVSwitches.
const nvidiaSwitch attest.TEE = "nvidia-switch"

// isDevice reports whether evidence of a kind is a device's, which is then judged for itself.
func isDevice(t attest.TEE) bool { return t == attest.NVIDIAGPU || t == nvidiaSwitch }

// class is what a policy says about one kind of devices.
type class struct {
	kind   attest.TEE
	member string // of a policy file, and name of the rule
	wanted *Devices
}

func (p *Policy) classes() []class {
	return []class{{attest.NVIDIAGPU, "gpus", p.GPUs}, {nvidiaSwitch, "switches", p.Switches}}
}

// deviceRules judges what was verified beside the TEE, or the devices themselves.
func (p *Policy) deviceRules(c *attest.Claims) []attest.Rule {
	var rules []attest.Rule
	unnamed := len(c.Devices)
	for _, class := range p.classes() {
		count := class.count(c)
		if class.wanted == nil {
			continue
		}
		unnamed -= count
		rules = append(rules, class.judge(count, c))
		for i := range c.Devices {
			if d := &c.Devices[i]; d.TEE == class.kind {
				prefix := fmt.Sprintf("device_%d_", i+1)
				rules = append(rules, registerRules(prefix, class.wanted.Registers, d)...)
				rules = append(rules, factRules(prefix, class.wanted.Facts, d)...)
			}
		}
	}
	if p.Closed && unnamed > 0 && !isDevice(c.TEE) {
		rules = append(rules, rule("devices", "no device but those that are named", deviceNames(c), false, "name what you accept in `gpus` or `switches`"))
	}
	return rules
}

func (k *class) count(c *attest.Claims) (n int) {
	for i := range c.Devices {
		if c.Devices[i].TEE == k.kind {
			n++
		}
	}
	return n
}

func (k *class) judge(count int, c *attest.Claims) attest.Rule {
	w := k.wanted
	wanted := fmt.Sprintf("at least %d %s", w.Min, k.member)
	if w.Max > 0 {
		wanted = fmt.Sprintf("%d to %d %s", w.Min, w.Max, k.member)
	}
	return rule(k.member, wanted, deviceNames(c), count >= w.Min && (w.Max == 0 || count <= w.Max), "give the evidence of every device with --with")
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
