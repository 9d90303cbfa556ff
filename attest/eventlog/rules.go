package eventlog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"hitoku.dev/attest"
)

// RuleReplay is the name of the rule that Append makes.
const RuleReplay = "event_log_replay"

// Append replays a log against registers of a verified quote, adds the rule
// event_log_replay to r, and merges the facts into its claims when it holds. A fact
// that the claims have already stays. With a nil log the rule says why: err.
func Append(r *attest.Result, l *Log, err error, signed Registers) {
	rule := attest.Rule{Name: RuleReplay, Wanted: "a log that replays to the signed registers"}
	var m *Match
	if l == nil {
		if err == nil {
			err = errors.New("no log was given")
		}
	} else if m, err = l.Match(signed); err == nil {
		err = m.complete()
	}
	if err != nil {
		rule.Seen = err.Error()
		rule.Advice = "take the log from the machine that made the quote, without a restart between them; a log that was edited cannot be repaired"
		r.Rules = append(r.Rules, rule)
		return
	}
	rule.OK, rule.Seen = true, fmt.Sprintf("%s replays to %s (%s)", l.Kind, signed.names(m.Proved), signed.Alg)
	r.Rules = append(r.Rules, rule)
	note := func(list []int, why string) {
		if len(list) > 0 {
			r.NotChecked = append(r.NotChecked, "event log: "+signed.names(list)+" "+why)
		}
	}
	note(m.Unexplained, "was changed by software whose log was not given")
	note(m.Unsigned, "has events, but is not part of the quote")
	if signed.Alg == SHA1 {
		r.NotChecked = append(r.NotChecked, "event log: no facts, since the registers are of SHA-1")
	}
	if r.Claims.Facts == nil {
		r.Claims.Facts = make(map[string]string)
	}
	for name, value := range m.Facts() {
		if _, there := r.Claims.Facts[name]; !there {
			r.Claims.Facts[name] = value
		}
	}
}

// AppendTDX is Append for the result of a TDX quote, whose claims have rtmr0 to rtmr3.
func AppendTDX(r *attest.Result, l *Log, err error) {
	signed, regErr := RTMRs(&r.Claims)
	if regErr != nil {
		l, err = nil, regErr
	}
	Append(r, l, err, signed)
}

// RTMRs reads the registers of a TDX machine from the claims of its quote.
func RTMRs(c *attest.Claims) (Registers, error) {
	r := Registers{Layout: RTMR, Alg: SHA384, Values: make(map[int][]byte, 5)}
	if c.TEE != attest.TDX && !strings.HasPrefix(c.Format, "tdx-") {
		return r, fmt.Errorf("event log: the evidence is of format %q, wanted a TDX quote", c.Format)
	}
	for i := 1; i <= 4; i++ {
		v, err := hex.DecodeString(c.Measurements[fmt.Sprintf("rtmr%d", i-1)])
		if err != nil || len(v) != SHA384.Size() {
			return r, fmt.Errorf("event log: the claims have no rtmr%d", i-1)
		}
		r.Values[i] = v
	}
	return r, nil
}

// complete refuses a log that leaves out what firmware always logs. What software
// extends later (RTMR3, PCRs from 8) may be missing.
func (m *Match) complete() error {
	if m.log.Kind == IMA {
		return nil
	}
	var missing []int
	for _, i := range m.Unexplained {
		if m.registers.Layout == RTMR && i <= 3 || m.registers.Layout == PCRs && i <= 7 {
			missing = append(missing, i)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("event log: it has no event for %s, which is not at its start value", m.registers.names(missing))
	}
	return nil
}
