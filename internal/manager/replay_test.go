package manager

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/issue"
	"hitoku.dev/internal/manager/issue/issuetest"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// stage is a world with everything that a replay could use: two machines, a second account
// with the same build, a second zone, and a message that was not sent yet.
type stage struct {
	*world
	id     issuetest.Identity
	app    *wire.App
	build  *wire.Build
	one    *machine
	two    *machine
	target string // "enrol", "renew" or "app"
	token  string
	msg    *message
}

// prepareStage makes the honest message for a target.
func prepareStage(t *testing.T, target string) *stage {
	t.Helper()
	s := &stage{world: newWorld(t), target: target}
	s.id, s.app, s.build = s.web()
	s.token = s.joinToken()
	s.two = s.enrol(2)
	if target == "enrol" {
		s.one = s.newMachine(1, s.token)
	} else {
		s.one = s.enrol(1)
	}
	s.msg = s.honest()
	return s
}

func (s *stage) purpose() attest.Purpose {
	if s.target == "app" {
		return attest.PurposeAppTLS
	}
	return attest.PurposeNode
}

func (s *stage) honest() *message { return s.withPurpose(s.purpose()) }

// withPurpose makes a message as the honest one, for any purpose.
func (s *stage) withPurpose(p attest.Purpose) *message {
	switch s.target {
	case "enrol":
		s.must(s.one.prepare(s.token))
		return s.one.message(issuetest.Node(), p, s.one.prepared.Nonce)
	case "renew":
		return s.one.message(issuetest.Node(), p, s.one.nonce(attest.PurposeNode))
	}
	return s.one.message(s.id, p, s.one.nonce(attest.PurposeAppTLS), "web.example")
}

// send sends a message to the target, through machine one where that matters.
func (s *stage) send(msg *message) string { return s.sendFrom(s.one, msg) }

func (s *stage) sendFrom(m *machine, msg *message) string {
	switch s.target {
	case "enrol":
		return outcome(m.provision(s.token, msg))
	case "renew":
		return outcome(m.renew(msg))
	}
	return outcome(m.issue(msg))
}

// secondZone makes another zone in the account and returns a join token for it.
func (s *stage) secondZone() string {
	s.t.Helper()
	ctx := s.t.Context()
	id, err := s.m.newID()
	s.must(err)
	var text string
	s.must(s.m.update(ctx, func(tx *store.Tx) error {
		acct, err := tx.Accounts().Get(ctx, s.account)
		if err != nil {
			return err
		}
		z := &store.Zone{ID: id, AccountID: s.account, Name: "second", RefreshInterval: 60, RenewalThreshold: 50, CreatedAt: s.clock.Now()}
		if err := tx.Zones().Insert(ctx, z); err != nil {
			return err
		}
		row, err := s.m.nextZone(ctx, tx, acct, z)
		if err != nil {
			return err
		}
		row.State = store.AuthorityCurrent
		if err := tx.Authorities().Insert(ctx, row); err != nil {
			return err
		}
		if _, text, err = s.m.newJoinToken(ctx, tx, s.admin, id, store.JoinTokenSingle, 5, zoneTokenLife); err != nil {
			return err
		}
		return tx.Audit(ctx, s.admin.event("TEST", "ADMIN", "second zone"))
	}))
	return text
}

// secondAccount makes an account of the same administrator with the same approved build, and
// returns the world as seen from there.
func (s *stage) secondAccount() *world {
	s.t.Helper()
	w := *s.world
	acct, err := w.m.CreateAccount(s.t.Context(), w.admin, wire.AccountRequest{Name: "other", NodeEnrollment: &wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: true}})
	w.must(err)
	w.account = acct.AcctID
	w.admin = w.selectAccount(w.logIn("admin@example.org"), w.account)
	w.web()
	return &w
}

// TestReplayMatrix is T1: every purpose and target, each way to use evidence again, elsewhere
// or later. Only the honest cell is issued; each other one is refused by the rules named.
func TestReplayMatrix(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"enrol", "renew", "app"} {
		for _, cell := range []struct {
			name   string
			only   string // targets, all when empty
			act    func(s *stage) string
			wanted string // rules that must be among those refusing
		}{
			{"honest", "", func(s *stage) string { return s.send(s.msg) }, "issued"},
			{"same bytes", "", func(s *stage) string {
				s.send(s.msg)
				return s.send(s.msg)
			}, "key_unused nonce_fresh"},
			{"same bytes after the revocation of what they gave", "renew app", func(s *stage) string {
				s.send(s.msg)
				s.revokeLast()
				return s.send(s.msg)
			}, "key_unused nonce_fresh"},
			{"same bytes after a refusal for another reason", "app", func(s *stage) string {
				bad := s.one.message(issuetest.Identity{}, attest.PurposeAppTLS, s.msg.binding.Nonce, "web.example")
				s.send(bad)
				return s.send(s.msg)
			}, "nonce_fresh"},
			{"new key, old nonce", "", func(s *stage) string {
				s.send(s.msg)
				again := *s.msg
				again.key = testKey(s.t)
				again.binding.Subject = issuetest.SubjectHash(s.t, again.key)
				s.reseal(&again)
				return s.send(&again)
			}, "nonce_fresh"},
			{"expired nonce", "", func(s *stage) string {
				s.clock.Advance(issue.NonceLifetime)
				return s.send(s.msg)
			}, "nonce_fresh"},
			{"nonce of the manager's making, never handed out", "", func(s *stage) string {
				s.msg.binding.Nonce = bytes.Repeat([]byte{1}, 32)
				s.reseal(s.msg)
				return s.send(s.msg)
			}, "nonce_fresh"},
			{"evidence of one key, request of another", "", func(s *stage) string {
				s.msg.key = testKey(s.t)
				_, binding := s.one.Evidence(s.t, s.identity(), &s.msg.binding)
				s.msg.csr = issuetest.Request(s.t, s.msg.key, "web.example", s.names(), s.msg.quote, binding)
				return s.send(s.msg)
			}, "key_binding"},
			{"other account", "enrol", func(s *stage) string {
				s.token = s.secondAccount().joinToken()
				return s.send(s.msg)
			}, "account nonce_fresh root_trusted"},
			{"other account", "renew app", func(s *stage) string {
				return s.sendFrom(s.secondAccount().enrol(3), s.msg)
			}, "account nonce_fresh root_trusted"},
			{"other account that knows the machine", "renew app", func(s *stage) string {
				other := s.secondAccount().enrol(1)
				return s.sendFrom(other, s.msg)
			}, "account nonce_fresh root_trusted"},
			{"other node", "renew app", func(s *stage) string { return s.sendFrom(s.two, s.msg) }, "nonce_fresh same_platform"},
			{"other node, which gives its own nonce (T3)", "renew app", func(s *stage) string {
				s.msg.binding.Nonce = s.two.nonce(s.purpose())
				s.reseal(s.msg)
				return s.sendFrom(s.two, s.msg)
			}, "same_platform"},
			{"nonce prepared for another machine", "enrol", func(s *stage) string {
				s.msg.binding.Nonce = s.newMachine(3, s.token).prepared.Nonce
				s.reseal(s.msg)
				return s.send(s.msg)
			}, "nonce_fresh"},
			{"other zone", "enrol", func(s *stage) string {
				s.token = s.secondZone()
				return s.send(s.msg)
			}, "nonce_fresh"},
			{"other zone", "renew app", func(s *stage) string {
				s.token = s.secondZone()
				there := s.newMachine(3, s.token)
				there.enrol(s.token)
				return s.sendFrom(there, s.msg)
			}, "nonce_fresh same_platform"},
			{"evidence for enrolment", "renew app", func(s *stage) string {
				s.must(s.one.prepare(s.token))
				return s.send(s.one.message(s.identity(), attest.PurposeNode, s.one.prepared.Nonce, s.names()...))
			}, "nonce_fresh"},
			{"evidence for renewal", "enrol app", func(s *stage) string {
				return s.send(s.two.message(s.identity(), attest.PurposeNode, s.two.nonce(attest.PurposeNode), s.names()...))
			}, "nonce_fresh"},
			{"evidence of an application", "enrol renew", func(s *stage) string {
				return s.send(s.two.message(s.id, attest.PurposeAppTLS, s.two.nonce(attest.PurposeAppTLS), "web.example"))
			}, "node_measurement nonce_fresh purpose"},
			{"join token revoked", "enrol", func(s *stage) string {
				_, err := s.m.RotateZoneToken(s.t.Context(), s.admin, s.zone())
				s.must(err)
				return s.send(s.msg)
			}, CodeUnauthorized},
			{"node certificate revoked", "renew app", func(s *stage) string {
				old := *s.one
				s.must(s.one.prepare(s.token))
				s.one.enrol(s.token) // the machine enrols again, which ends its former certificate
				return s.sendFrom(&old, s.msg)
			}, CodeNotEnrolled},
			{"approval withdrawn", "app", func(s *stage) string {
				_, err := s.m.WithdrawBuild(s.t.Context(), s.admin, s.build.BuildID)
				s.must(err)
				return s.send(s.msg)
			}, "known_image"},
			{"build deleted", "app", func(s *stage) string {
				s.must(s.m.DeleteBuild(s.t.Context(), s.admin, s.build.BuildID))
				return s.send(s.msg)
			}, "known_image"},
			{"name withdrawn", "app", func(s *stage) string {
				app, err := s.m.UpdateApp(s.t.Context(), s.admin, s.app.AppID, wire.AppUpdate{AllowedDomains: &[]string{}})
				s.must(err)
				s.must(s.approve(s.admin, app.PendingTaskID))
				return s.send(s.msg)
			}, "names_approved"},
			{"node deactivated", "renew app", func(s *stage) string {
				s.must(s.m.DeactivateNode(s.t.Context(), s.admin, s.one.node))
				return s.send(s.msg)
			}, CodeNotEnrolled},
			{"node deactivated between handshake and request", "renew app", func(s *stage) string {
				s.must(s.m.DeactivateNode(s.t.Context(), s.admin, s.one.node))
				if s.target == "app" {
					return outcome(s.m.IssueCertificate(s.t.Context(), s.one.peer, wire.CertificateRequest{CSR: s.msg.csr}))
				}
				return outcome(s.m.RenewNodeCertificate(s.t.Context(), s.one.peer, wire.CertificateRequest{CSR: s.msg.csr}))
			}, "node_active"},
			{"machine deactivated, older join token", "enrol", func(s *stage) string {
				s.must(s.m.DeactivateNode(s.t.Context(), s.admin, s.two.node))
				s.must(s.two.prepare(s.token))
				return outcome(s.two.provision(s.token, s.two.message(issuetest.Node(), attest.PurposeNode, s.two.prepared.Nonce)))
			}, "platform_admitted"},
			{"while pending, then approved", "app", func(s *stage) string {
				b := s.world.build(s.app, 7)
				msg := s.one.message(identity(s.t, 7), attest.PurposeAppTLS, s.one.nonce(attest.PurposeAppTLS), "web.example")
				if got := s.send(msg); got != "pending" {
					return "before the approval: " + got
				}
				s.must(s.approve(s.admin, b.PendingTaskID))
				return s.send(msg)
			}, "nonce_fresh"},
		} {
			if cell.only != "" && !strings.Contains(cell.only, target) {
				continue
			}
			t.Run(target+"/"+cell.name, func(t *testing.T) {
				t.Parallel()
				s := prepareStage(t, target)
				got := cell.act(s)
				for want := range strings.FieldsSeq(cell.wanted) {
					if !strings.Contains(" "+got+" ", " "+want+" ") {
						t.Fatalf("%s, wanted %s among it", got, cell.wanted)
					}
				}
				if cell.wanted != "issued" && strings.Contains(got, "issued") {
					t.Fatal("issued")
				}
			})
		}
		for _, p := range []attest.Purpose{attest.PurposeNode, attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp} {
			t.Run(target+"/purpose "+string(p), func(t *testing.T) {
				t.Parallel()
				s := prepareStage(t, target)
				wanted := "purpose"
				if p == s.purpose() {
					wanted = "issued"
				}
				if got := s.send(s.withPurpose(p)); got != wanted {
					t.Errorf("%s, wanted %s", got, wanted)
				}
			})
		}
	}
}

func (s *stage) identity() issuetest.Identity {
	if s.target == "app" {
		return s.id
	}
	return issuetest.Node()
}

func (s *stage) names() []string {
	if s.target == "app" {
		return []string{"web.example"}
	}
	return nil
}

func (s *stage) reseal(msg *message) { s.one.seal(msg, s.identity(), s.names()...) }

// revokeLast revokes what the stage's message gave, and leaves the node's former certificate.
func (s *stage) revokeLast() {
	ctx := s.t.Context()
	hash := s.msg.binding.Subject
	s.must(s.m.update(ctx, func(tx *store.Tx) error {
		if err := s.m.revokeCertificates(ctx, tx, s.account, "test", store.Is("key_hash", hex.EncodeToString(hash[:]))); err != nil {
			return err
		}
		return tx.Audit(ctx, s.admin.event("TEST", "ADMIN", "revoked"))
	}))
}

func TestNonceIsAnsweredOnceByMany(t *testing.T) {
	t.Parallel()
	s := prepareStage(t, "app")
	const many = 8
	results := make(chan string, many)
	for range many {
		msg := *s.msg
		msg.key = testKey(t)
		msg.binding.Subject = issuetest.SubjectHash(t, msg.key)
		s.reseal(&msg)
		go func() { results <- s.send(&msg) }()
	}
	issued := 0
	for range many {
		switch got := <-results; got {
		case "issued":
			issued++
		case "nonce_fresh":
		default:
			t.Errorf("refused by %s", got)
		}
	}
	if issued != 1 {
		t.Errorf("issued %d times over one nonce", issued)
	}
}

// TestNothingIsIssuedOnALogThatWasCut is the part of S18 that concerns the authority.
func TestNothingIsIssuedOnALogThatWasCut(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"enrol", "renew", "app"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			s := prepareStage(t, target)
			// The manager starts over a database that lacks what the checkpoint remembers.
			count, _ := s.checks.Latest()
			s.must(s.checks.Save(count+1, bytes.Repeat([]byte{1}, 32)))
			s.open()
			if got := s.send(s.msg); got != "audit_log" {
				t.Errorf("%s over a database that is older than its checkpoint", got)
			}
		})
	}
}

func TestSimulationStaysInTestOnlyAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	acct, err := w.m.CreateAccount(ctx, w.admin, wire.AccountRequest{Name: "real"})
	w.must(err)
	w.account = acct.AcctID
	w.admin = w.selectAccount(w.logIn("admin@example.org"), acct.AcctID)
	token := w.joinToken()
	m := &machine{Machine: issuetest.NewMachine(t, 1), w: w}
	if got := outcome(nil, m.prepare(token)); got != CodeForbidden {
		t.Errorf("a simulated platform prepares: %s", got)
	}
	// A machine certified by the authority of another account asks as a hardware platform would.
	test := newWorld(t)
	m = test.newMachine(1, test.joinToken())
	m.w = w
	p, err := w.m.PrepareNode(ctx, token, wire.NodePrepare{AttestationType: attestationDCAP, PlatformID: m.ID()})
	w.must(err)
	if p.PCKChain != "" {
		t.Error("a platform of hardware got a simulated certificate")
	}
	m.prepared = p
	got := outcome(m.provision(token, m.message(issuetest.Node(), attest.PurposeNode, p.Nonce)))
	for _, want := range []string{"root_trusted", "node_measurement"} {
		if !strings.Contains(got, want) {
			t.Errorf("refused by %s, wanted %s among it", got, want)
		}
	}
	nodes, err := w.m.Nodes(ctx, w.admin, ListOptions{}, NodeFilter{})
	w.must(err)
	if len(nodes.Items) != 0 {
		t.Error("evidence that failed made a node")
	}
}
