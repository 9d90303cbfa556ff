package tpm

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/attest/eventlog"
)

// Verify checks evidence in any container at a time. It returns an error only for
// bytes that are not of these formats; everything else is a rule of the result, and
// a later rule is checked even when an earlier one has failed. The nonce stands in
// the claims: whoever asked for the quote compares it.
func Verify(raw []byte, o Options) (*attest.Result, error) {
	e, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	return VerifyEvidence(e, o)
}

// VerifyEvidence is Verify for evidence that is already in parts.
func VerifyEvidence(e *Evidence, o Options) (*attest.Result, error) {
	if e.Azure != nil {
		return verifyAzure(e, &o), nil
	}
	if len(e.Quotes) == 0 {
		return nil, errors.New("TPM evidence: it has no quote")
	}
	c := &check{o: &o, used: make(PCRs)}
	c.ak = e.readKey()
	if len(e.AKCert) > 0 {
		cert, err := parseCert(e.AKCert)
		if err != nil {
			c.rule("ak_certificate", "an attestation key certificate", "", err, adviceTampered)
		}
		c.ak.cert = cert
	} else if o.Collateral != nil {
		c.ak.cert = findCert(o.Collateral.Certs, c.ak)
	}
	c.attributes()
	c.trusted(e)
	c.quotes(e)
	r := &attest.Result{Claims: c.claims(), Rules: c.rules, NotChecked: c.notChecked}
	r.NotChecked = append(r.NotChecked, e.unread...)
	c.eventLog(e, r)
	return r, nil
}

// findCert looks for the certificate of the attestation key among others.
func findCert(certs [][]byte, k *ak) *x509.Certificate {
	for _, der := range certs {
		if c, err := parseCert(der); err == nil && sameKey(c.PublicKey, k.key) {
			return c
		}
	}
	return nil
}

const adviceTampered = "the evidence was changed after it was signed, or is not that of a TPM"

// check collects the rules of one verification.
type check struct {
	o          *Options
	prefix     string // of the names of rules
	ak         *ak
	rules      []attest.Rule
	notChecked []string

	attest   *Attest // the first quote that parsed
	used     PCRs    // register values that a signature covers
	instance map[string]string
}

func (c *check) rule(name, wanted, seen string, err error, advice string) {
	r := attest.Rule{Name: c.prefix + name, Wanted: wanted, Seen: seen, OK: err == nil}
	if err != nil {
		r.Seen, r.Advice = strings.ReplaceAll(err.Error(), "\n", "; "), advice
		if with := (*adviceError)(nil); errors.As(err, &with) {
			r.Advice = with.advice
		}
	}
	c.rules = append(c.rules, r)
}

// quotes makes one rule of each kind for all quotes: each must hold.
func (c *check) quotes(e *Evidence) {
	var format, signature, digest, together error
	var schemes, selected []string
	for i := range e.Quotes {
		q := &e.Quotes[i]
		a, err := ParseAttest(q.Attest)
		if err != nil {
			format = errors.Join(format, err)
		}
		scheme, err := c.signature(q)
		schemes, signature = append(schemes, scheme), errors.Join(signature, err)
		if a == nil {
			continue
		}
		if c.attest == nil {
			c.attest = a
		} else {
			together = errors.Join(together, c.attest.sameMoment(a, i+1))
		}
		used, err := c.registers(a, q)
		digest = errors.Join(digest, err, c.used.merge(used))
		selected = append(selected, a.selected())
	}
	format = errors.Join(format, together)
	c.rule("quote_format", "quotes that a TPM made itself, all over one nonce and in one start of the machine", "quotes of a TPM: "+strconv.Itoa(len(e.Quotes)), format, adviceTampered)
	c.rule("quote_signature", "quotes signed by the attestation key", strings.Join(slices.Compact(schemes), ", "), signature, adviceTampered)
	if digest == nil && c.attest == nil {
		digest = errors.New("no quote could be read")
	}
	c.rule("pcr_digest", "register values that hash to the signed digest", strings.Join(selected, "; "), digest, "give the register values that were read together with the quote")
	var bank error
	if c.used.strongest() == 0 {
		bank = errors.New("no register of SHA-256, SHA-384 or SHA-512 is covered")
	}
	c.rule("pcr_bank", "registers of a bank that is stronger than SHA-1", c.banks(), bank, "quote the SHA-256 or SHA-384 bank")
}

// sameMoment refuses a second quote over another nonce, or from after a restart: the
// registers of two starts together would be those of a machine that never was.
func (a *Attest) sameMoment(b *Attest, number int) error {
	switch {
	case !bytes.Equal(a.ExtraData, b.ExtraData):
		return fmt.Errorf("quote %d is over nonce %x, quote 1 over %x", number, b.ExtraData, a.ExtraData)
	case a.ResetCount != b.ResetCount || a.RestartCount != b.RestartCount:
		return fmt.Errorf("the machine was started again between quote 1 and quote %d (reset count %d and %d, restart count %d and %d)",
			number, a.ResetCount, b.ResetCount, a.RestartCount, b.RestartCount)
	}
	return nil
}

func (c *check) signature(q *Quote) (scheme string, err error) {
	s := &Signature{Scheme: algRSASSA, Hash: eventlog.SHA256, RSA: q.Signature}
	if !q.bare {
		if s, err = ParseSignature(q.Signature); err != nil {
			return "", err
		}
	}
	if c.ak.err != nil {
		return s.String(), c.ak.err
	}
	if p := c.ak.public; p != nil && p.Scheme != algNull && (p.Scheme != s.Scheme || p.SchemeHash != s.Hash) {
		return s.String(), fmt.Errorf("%v, which is not the scheme of the key", s)
	}
	return s.String(), s.Verify(c.ak.key, q.Attest)
}

func (c *check) registers(a *Attest, q *Quote) (PCRs, error) {
	// The digest is made with the hash of the signature (part 3, section 18.4).
	alg := eventlog.SHA256
	if !q.bare {
		s, err := ParseSignature(q.Signature)
		if err != nil {
			return nil, err
		}
		alg = s.Hash
	}
	return a.checkPCRs(alg, q.PCRs)
}

func (a *Attest) selected() string {
	var out []string
	for _, s := range a.Selection {
		var list []string
		for i := range 32 {
			if s.Mask&(1<<i) != 0 {
				list = append(list, strconv.Itoa(i))
			}
		}
		out = append(out, fmt.Sprintf("%v: %s", s.Bank, strings.Join(list, ",")))
	}
	return strings.Join(out, "; ")
}

func (c *check) banks() string {
	var out []string
	for _, bank := range slices.Sorted(maps.Keys(c.used)) {
		out = append(out, bank.String())
	}
	return strings.Join(out, ", ")
}

// eventLog replays the log of the evidence, if there is one, against the strongest bank that both have.
func (c *check) eventLog(e *Evidence, r *attest.Result) {
	if len(e.EventLog) == 0 {
		r.NotChecked = append(r.NotChecked, "event_log: none was given, so there are no facts about what was booted")
		return
	}
	l, err := eventlog.Parse(e.EventLog)
	signed := c.signedRegisters(l)
	if l != nil {
		// Weaker banks were signed too; they must say the same.
		for bank, values := range c.used {
			if bank != signed.Alg && slices.Contains(l.Algs, bank) {
				_, bankErr := l.Match(eventlog.Registers{Layout: eventlog.PCRs, Alg: bank, Values: values})
				err = errors.Join(err, bankErr)
			}
		}
		if err != nil {
			l = nil
		}
	}
	eventlog.Append(r, l, err, signed)
	r.Rules[len(r.Rules)-1].Name = c.prefix + eventlog.RuleReplay
}

func (c *check) signedRegisters(l *eventlog.Log) eventlog.Registers {
	best := c.used.strongest()
	if l != nil {
		best = 0
		for _, bank := range l.Algs {
			if c.used[bank] != nil && bank.Size() > best.Size() {
				best = bank
			}
		}
	}
	return eventlog.Registers{Layout: eventlog.PCRs, Alg: best, Values: c.used[best]}
}

// AppendEventLog replays a log that came beside the evidence against the PCRs in the
// claims of r, adds the rule event_log_replay and merges the facts.
func AppendEventLog(r *attest.Result, l *eventlog.Log, err error) {
	signed := eventlog.Registers{Layout: eventlog.PCRs, Values: make(map[int][]byte)}
	for i := range numPCRs {
		v, decodeErr := hex.DecodeString(r.Claims.Measurements[fmt.Sprintf("pcr%d", i)])
		if decodeErr == nil && len(v) > 0 {
			signed.Values[i] = v
		}
	}
	for _, alg := range []eventlog.Alg{eventlog.SHA256, eventlog.SHA384, eventlog.SHA512} {
		for _, v := range signed.Values {
			if len(v) == alg.Size() {
				signed.Alg = alg
			}
		}
	}
	eventlog.Append(r, l, err, signed)
}
