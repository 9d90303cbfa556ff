package verify

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/attest/eventlog"
	"hitoku.dev/attest/policy"
)

// judgeBytes judges bare evidence, in whatever container.
func (r *Report) judgeBytes(raw []byte, o *Options) error {
	const wanted = "evidence in a format that is known: an SGX or TDX quote, a SEV-SNP report, a Nitro document, a TPM quote, an NVIDIA GPU report, a certificate or a result"
	pieces, logs, err := find(raw)
	if err != nil {
		r.refuse("quote_format", wanted, err.Error(), "is this the right file?")
		return nil
	}
	if o.EventLog != "" {
		log, err := read(o.EventLog, nil)
		if err != nil {
			return err
		}
		logs = [][]byte{log}
	}
	main := &pieces[0]
	result, err := main.format.verify(main.raw, o)
	if err != nil {
		r.refuse("quote_format", wanted, err.Error(), "is this the right file?")
		return nil
	}
	r.Containers = main.in
	replay(result, main.format, logs)
	devices := pieces[1:]
	for _, name := range o.With {
		more, err := devicesIn(name)
		if err != nil {
			return err
		}
		devices = append(devices[:len(devices):len(devices)], more...)
	}
	for i := range devices {
		join(result, &devices[i], o)
	}
	p := o.Policy
	p.AllowSimulated = o.SimulatedRoot != nil && (p.AllowSimulated || !p.Closed)
	p.Nonce = o.Nonce
	r.Claims, r.result, r.policy = result.Claims, *result, p
	r.Verdict = policy.Judge(result, p)
	return nil
}

// replay adds the rule of an event log, if there is one.
func replay(r *attest.Result, f *format, logs [][]byte) {
	if len(logs) == 0 {
		return
	}
	var log *eventlog.Log
	err := errors.New("two event logs beside the evidence: it is not clear which one counts")
	if len(logs) == 1 {
		log, err = eventlog.Parse(logs[0])
	}
	r.NotChecked = slices.DeleteFunc(r.NotChecked, func(s string) bool { return strings.HasPrefix(s, "event_log:") })
	if f.appendLog != nil {
		f.appendLog(r, log, err)
		return
	}
	eventlog.Append(r, nil, fmt.Errorf("a %s has no registers that an event log could replay to", f.name), eventlog.Registers{})
}

// devicesIn returns the evidence of devices in a file.
func devicesIn(name string) ([]piece, error) {
	raw, err := read(name, nil)
	if err != nil {
		return nil, err
	}
	pieces, _, err := find(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return pieces, nil
}

// join verifies the evidence of a device and adds it to the result of the TEE. Its
// rules decide like all others, under the names device_1_…, device_2_….
func join(r *attest.Result, p *piece, o *Options) {
	first := len(r.Claims.Devices) + 1
	prefix := fmt.Sprintf("device_%d_", first)
	d, err := p.format.verify(p.raw, o)
	if err == nil && !d.OK() && p.format.device && o.Root != nil {
		// The root that was named may be of the TEE's maker alone.
		pinned := *o
		pinned.Root = nil
		if again, err := p.format.verify(p.raw, &pinned); err == nil && broken(again) < broken(d) {
			d = again
		}
	}
	if err != nil {
		r.Rules = append(r.Rules, attest.Rule{Name: prefix + "format", Wanted: "a " + p.format.name, Seen: err.Error(), Advice: "is this the right file?"})
		return
	}
	devices := d.Claims.Devices // of a format that may hold several, all of them are here
	if len(devices) == 0 {
		devices = []attest.Claims{d.Claims}
	}
	for _, rule := range d.Rules {
		rule.Name = renumber(rule.Name, first)
		r.Rules = append(r.Rules, rule)
	}
	for _, s := range d.NotChecked {
		r.NotChecked = append(r.NotChecked, renumber(s, first))
	}
	for i := range devices {
		prefix := fmt.Sprintf("device_%d_", first+i)
		r.Rules = append(r.Rules, apart(prefix, p.format, r.Claims.Devices, &devices[i], o))
		if len(o.Nonce) > 0 {
			rule := policy.Nonce(&devices[i], o.Nonce)
			rule.Name = prefix + rule.Name
			r.Rules = append(r.Rules, rule)
		} else {
			r.NotChecked = append(r.NotChecked, prefix+"binding: nothing binds this device to the TEE; ask both for evidence over one nonce, and name it")
		}
	}
	r.Claims.Devices = append(r.Claims.Devices, devices...)
}

// apart judges what evidence beside a TEE is worth as another piece. A device counts
// once, however often its evidence is given. A TEE beside a TEE is no device, and what
// its maker says of its TCB decides as well.
func apart(prefix string, f *format, before []attest.Claims, c *attest.Claims, o *Options) attest.Rule {
	if !f.device {
		rule := policy.TCBStatus(c, o.Policy.TCBStatuses)
		if c.TEE != attest.SGX && c.TEE != attest.TDX && c.TEE != "" { // of others the maker publishes none
			rule.OK, rule.Seen, rule.Advice = true, "the maker publishes no status", ""
		}
		rule.Name = prefix + rule.Name
		return rule
	}
	rule := attest.Rule{Name: prefix + "distinct", Wanted: "a device that was not counted already", Seen: "device " + c.PlatformID, OK: c.PlatformID != ""}
	if !rule.OK {
		rule.Seen = "a device that does not say which one it is"
	}
	for i := range before {
		if b := &before[i]; b.TEE == c.TEE && b.PlatformID == c.PlatformID && rule.OK {
			rule.OK, rule.Seen = false, fmt.Sprintf("device %s, which is number %d", c.PlatformID, i+1)
		}
	}
	if !rule.OK {
		rule.Advice = "give the newest evidence of each device, once"
	}
	return rule
}

// renumber gives the name of a rule the number of its device among all. Of several
// devices in one piece of evidence the names have numbers already, from 1.
func renumber(name string, first int) string {
	if rest, ok := strings.CutPrefix(name, "device_"); ok {
		digits, tail, _ := strings.Cut(rest, "_")
		if n, err := strconv.Atoi(digits); err == nil && n > 0 {
			return fmt.Sprintf("device_%d_%s", first+n-1, tail)
		}
	}
	return fmt.Sprintf("device_%d_%s", first, name)
}

// comment explains a suggestion in the file that it goes into.
func (r *Report) comment(s *policy.Suggestion) []string {
	out := []string{
		"Policy suggested by hitoku verify for " + r.Target + ", " + r.Verdict.Format + ".",
		"It accepts what was seen there. Nobody has approved it yet.",
	}
	for _, c := range s.Changes {
		risk := c.Risk
		if !strings.HasSuffix(risk, "?") {
			risk += "."
		}
		out = append(out, fmt.Sprintf("%s: %s. Was wanted: %s. %s%s", c.Member, c.To, c.From, strings.ToUpper(risk[:1]), risk[1:]))
	}
	return out
}
