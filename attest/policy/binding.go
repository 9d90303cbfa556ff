package policy

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"hitoku.dev/attest"
)

// Binding is what evidence must have been made over (security decision S1). The
// statement itself comes from the attester and is believed only because the
// report data of the evidence are computed from it.
type Binding struct {
	// Seen is the statement beside the evidence; nil when there was none, which is refused.
	Seen *attest.Binding
	// Purpose is always compared.
	Purpose attest.Purpose
	// Subject, AccountRoot, Nonce and ConfigID are compared where they are not nil.
	Subject     *[32]byte
	AccountRoot *[32]byte
	Nonce       []byte
	ConfigID    []byte
}

// Rules compares the statement with what is wanted, and the report data with
// the statement.
func (b *Binding) Rules(c *attest.Claims) []attest.Rule {
	s := b.Seen
	if s == nil {
		return []attest.Rule{rule("binding", "a binding beside the evidence", "none", false, "ask the attester for the statement that its evidence is made over")}
	}
	data := s.ReportData()
	rules := []attest.Rule{
		rule("binding", "report data of the binding beside the evidence", "report data "+short(c.ReportData), bytes.Equal(data[:], c.ReportData), "the evidence was made over something else"),
		rule("purpose", string(b.Purpose), fmt.Sprintf("%.32q", string(s.Purpose)), s.Purpose == b.Purpose, "evidence made for one purpose is good for no other"),
	}
	if b.Subject != nil {
		rules = append(rules, rule("key_binding", "key "+short(b.Subject[:]), "key "+short(s.Subject[:]), s.Subject == *b.Subject, "the evidence speaks for another key"))
	}
	if b.AccountRoot != nil {
		rules = append(rules, rule("account", "account root "+short(b.AccountRoot[:]), "account root "+short(s.AccountRoot[:]), s.AccountRoot == *b.AccountRoot, "the evidence was made for another account"))
	}
	if b.Nonce != nil {
		rules = append(rules, rule("nonce", "nonce "+hexOrNone(b.Nonce), "nonce "+hexOrNone(s.Nonce), len(b.Nonce) > 0 && bytes.Equal(b.Nonce, s.Nonce), "ask for evidence over a new nonce"))
	}
	if b.ConfigID != nil {
		rules = append(rules, rule("config", "configuration "+hexOrNone(b.ConfigID), "configuration "+hexOrNone(s.ConfigID), bytes.Equal(b.ConfigID, s.ConfigID), "the program runs with another configuration"))
	}
	return rules
}

// short shows the first eight bytes of a digest.
func short(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	s := hex.EncodeToString(b[:min(8, len(b))])
	if len(b) > 8 {
		s += "…"
	}
	return s
}
