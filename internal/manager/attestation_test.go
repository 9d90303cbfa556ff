package manager

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/issue/issuetest"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

func (w *world) attestation(a Actor, u wire.AttestationUpdate) (*wire.Account, error) {
	return w.m.UpdateAccount(w.t.Context(), a, w.account, wire.AccountUpdate{Attestation: &u})
}

func to[T any](v T) *T { return &v }

func TestAttestationRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	acct, err := w.m.Account(t.Context(), w.admin, w.account, false)
	w.must(err)
	if r := acct.Attestation; r == nil || !slices.Equal(r.TCBStatuses, []string{"UpToDate"}) || r.MinTCBEvaluation != 0 || r.AcceptBareBinding {
		t.Errorf("a new account's rules: %+v", r)
	}
	acct, err = w.attestation(w.admin, wire.AttestationUpdate{
		TCBStatuses: to([]string{"SWHardeningNeeded", "UpToDate", "ConfigurationNeeded", "SWHardeningNeeded"}), MinTCBEvaluation: to(17), AcceptBareBinding: to(true),
	})
	w.must(err)
	want := wire.AttestationRules{TCBStatuses: []string{"UpToDate", "ConfigurationNeeded", "SWHardeningNeeded"}, MinTCBEvaluation: 17, AcceptBareBinding: true}
	if r := acct.Attestation; !slices.Equal(r.TCBStatuses, want.TCBStatuses) || r.MinTCBEvaluation != 17 || !r.AcceptBareBinding {
		t.Errorf("rules %+v, wanted %+v", r, want)
	}
	// A change of one rule leaves the others.
	acct, err = w.attestation(w.admin, wire.AttestationUpdate{TCBStatuses: &[]string{}})
	w.must(err)
	if r := acct.Attestation; !slices.Equal(r.TCBStatuses, []string{"UpToDate"}) || r.MinTCBEvaluation != 17 || !r.AcceptBareBinding {
		t.Errorf("rules %+v", r)
	}
	for name, u := range map[string]wire.AttestationUpdate{
		"a lower number":   {MinTCBEvaluation: to(16)},
		"a typing error":   {MinTCBEvaluation: to(170000)},
		"a status unknown": {TCBStatuses: to([]string{"Fine"})},
		"Revoked":          {TCBStatuses: to([]string{"Revoked"})},
		"TCBNotSupported":  {TCBStatuses: to([]string{"UpToDate", "TCBNotSupported"})},
	} {
		_, err := w.attestation(w.admin, u)
		refused(t, name, err, Invalid, CodeInvalidValue)
	}
	_, err = w.attestation(w.admin, wire.AttestationUpdate{})
	refused(t, "nothing", err, Invalid, CodeBadRequest)
	_, err = w.attestation(w.member("w@example.org", "WRITER"), wire.AttestationUpdate{MinTCBEvaluation: to(18)})
	refused(t, "a WRITER", err, Forbidden, CodeForbidden)

	events, err := w.m.AuditEvents(t.Context(), w.admin, ListOptions{}, "", "", 0, 0)
	w.must(err)
	var told []string
	for _, e := range events.Items {
		if strings.Contains(e.Description, "changed the account") {
			told = append(told, e.Severity+": "+e.Description)
		}
	}
	all := strings.Join(told, "\n")
	if !strings.Contains(all, "WARNING") || !strings.Contains(all, "lowest TCB evaluation number 17") || !strings.Contains(all, "evidence without a nonce accepted true") ||
		!strings.Contains(all, "accepted TCB statuses UpToDate, ConfigurationNeeded, SWHardeningNeeded") {
		t.Errorf("audit events:\n%s", all)
	}
}

// One person alone cannot let more evidence pass where two are needed for an approval.
func TestAttestationRulesAndFourEyes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boss := w.member("boss@example.org", "MANAGER")
	_, err := w.m.UpdateAccount(t.Context(), boss, w.account, wire.AccountUpdate{FourEyes: to(true)})
	w.must(err)
	for name, u := range map[string]wire.AttestationUpdate{
		"without a nonce": {AcceptBareBinding: to(true)},
		"another status":  {TCBStatuses: to([]string{"OutOfDate"})},
	} {
		_, err := w.attestation(boss, u)
		refused(t, name, err, Forbidden, CodeForbidden)
	}
	_, err = w.attestation(boss, wire.AttestationUpdate{MinTCBEvaluation: to(1), AcceptBareBinding: to(false), TCBStatuses: to([]string{"UpToDate"})})
	w.must(err)
	_, err = w.attestation(w.admin, wire.AttestationUpdate{AcceptBareBinding: to(true)})
	w.must(err)
}

// What the account demands decides about the next certificate.
func TestAttestationRulesDecide(t *testing.T) {
	t.Parallel()
	s := prepareStage(t, "app")
	bare := func(purpose attest.Purpose) *message {
		msg := &message{key: testKey(t)}
		var data [64]byte
		hash := issuetest.SubjectHash(t, msg.key)
		copy(data[:], hash[:])
		id, names := s.id, []string{"web.example"}
		if purpose == attest.PurposeNode {
			id, names = issuetest.Node(), nil
		}
		msg.quote = s.one.Quote(t, id, data)
		msg.csr = issuetest.Request(t, msg.key, "web.example", names, msg.quote, nil)
		return msg
	}
	want := func(what, outcome, seen string) {
		t.Helper()
		if seen != outcome {
			t.Errorf("%s: %s, wanted %s", what, seen, outcome)
		}
	}
	want("bare binding without leave", "binding", s.send(bare(attest.PurposeAppTLS)))
	_, err := s.attestation(s.admin, wire.AttestationUpdate{AcceptBareBinding: to(true)})
	s.must(err)
	msg := bare(attest.PurposeAppTLS)
	want("bare binding with leave", "issued", s.send(msg))
	want("its key again", "key_unused", s.send(msg))
	want("a node's renewal without a nonce", "binding", outcome(s.one.renew(bare(attest.PurposeNode))))
	_, err = s.attestation(s.admin, wire.AttestationUpdate{AcceptBareBinding: to(false)})
	s.must(err)
	want("bare binding after it was taken back", "binding", s.send(bare(attest.PurposeAppTLS)))

	want("honest", "issued", s.send(s.honest()))
	_, err = s.attestation(s.admin, wire.AttestationUpdate{MinTCBEvaluation: to(1000)})
	s.must(err)
	want("collateral too old for the account", "tcb_evaluation", s.send(s.honest()))
	want("a node's too", "tcb_evaluation", outcome(s.one.renew(s.one.message(issuetest.Node(), attest.PurposeNode, s.one.nonce(attest.PurposeNode)))))
}

// An account that is deactivated, or accepts less, while evidence is verified gives no more certificates.
func TestRenewalSeesTheAccountAsItIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change wire.AccountUpdate
		want   string
	}{
		"deactivated":   {wire.AccountUpdate{AccountStatus: store.AccountDeactivated}, CodeInvalidState},
		"stricter":      {wire.AccountUpdate{Attestation: &wire.AttestationUpdate{MinTCBEvaluation: to(1000)}}, "tcb_evaluation"},
		"other changes": {wire.AccountUpdate{FourEyes: to(true)}, "issued"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w *world
			armed := false
			w = newWorld(t, func(o *Options) {
				now := o.Now
				o.Now = func() time.Time {
					if armed { // the first look at the clock is while the account is read
						armed = false
						_, err := w.m.UpdateAccount(t.Context(), w.admin, w.account, c.change)
						w.must(err)
					}
					return now()
				}
			})
			one := w.enrol(1)
			msg := one.message(issuetest.Node(), attest.PurposeNode, one.nonce(attest.PurposeNode))
			armed = true
			got := outcome(w.m.RenewNodeCertificate(t.Context(), one.peer, wire.CertificateRequest{CSR: msg.csr, NodeID: one.node}))
			if armed || got != c.want {
				t.Errorf("%s, wanted %s; the change was made: %v", got, c.want, !armed)
			}
		})
	}
}
