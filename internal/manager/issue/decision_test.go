package issue

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue/issuetest"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	accountID = "11111111-2222-4333-8444-555555555555"
	nodeID    = "51111111-2222-4333-8444-555555555555"
)

// world is one request with everything around it; tests change a part and see what is refused.
type world struct {
	auth     *authority.Authority
	machine  *issuetest.Machine
	key      *ecdsa.PrivateKey
	id       issuetest.Identity
	binding  attest.Binding
	bare     bool // CCM's own form instead of the binding
	common   string
	names    []string
	app      *AppState
	node     *NodeState
	trust    *authority.Authority // whose root is trusted, auth when nil
	hardware bool                 // the root is trusted as a hardware root
}

func newWorld(t testing.TB, purpose attest.Purpose) *world {
	t.Helper()
	auth, err := authority.New(rand.Reader, now)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{auth: auth, machine: issuetest.NewMachine(t, 1), key: newKey(t), common: "app.example", names: []string{"app.example", "b.example"}}
	w.machine.Certify(t, auth, now)
	w.id = issuetest.Identity{Measurement: [32]byte{1}, Signer: [32]byte{2}, ProdID: 3, SVN: 4}
	root := [32]byte{9}
	w.binding = attest.Binding{Purpose: purpose, Subject: issuetest.SubjectHash(t, w.key), Nonce: slices.Repeat([]byte{7}, 32), AccountRoot: root}
	account := Account{ID: accountID, TestOnly: true, RootSPKI: root}
	nonce := &Nonce{Value: w.binding.Nonce, Purpose: purpose, Expires: now.Add(time.Minute)}
	domain := ca.TrustDomain(accountID, "manager.example")
	if purpose == attest.PurposeNode {
		w.id, w.common, w.names = issuetest.Node(), "machine 1", nil
		nonce.PlatformID, nonce.ZoneID, nonce.PlatformKey = w.machine.ID(), "zone", w.machine.Key(t)
		w.node = &NodeState{
			At: now, Account: account, TrustDomain: domain, ZoneID: "zone", NodeID: nodeID, Nonce: nonce, Measurements: [][]byte{authority.NodeMeasurement[:]},
			Token: &JoinToken{Known: true, State: "in force", Expires: now.Add(time.Hour), UsesLimit: 1, Created: now},
		}
		return w
	}
	nonce.NodeID = nodeID
	w.app = &AppState{
		At: now, Account: account, TrustDomain: domain, Nonce: nonce,
		Node: Node{ID: nodeID, Active: true, State: NodeActive, PlatformID: w.machine.ID(), PlatformKey: w.machine.Key(t), Labels: map[string]string{"region": "eu"}},
		Build: &Build{
			ID: "build", Whitelisted: true, State: "WHITELISTED", Digest: "d", Approved: "d", Measurement: bytes.Clone(w.id.Measurement[:]), Signer: bytes.Clone(w.id.Signer[:]),
			ProdID: 3, SVN: 4,
		},
		App: &App{ID: "app", Name: "web", Domains: []string{"app.example", "b.example"}, Labels: map[string]string{"region": "eu"}},
	}
	return w
}

func (w *world) request(t testing.TB) (*Request, *attest.Result) {
	t.Helper()
	var text string
	var quote, der []byte
	if w.bare {
		hash := issuetest.SubjectHash(t, w.key)
		quote = w.machine.Quote(t, w.id, [64]byte(append(hash[:], make([]byte, 32)...)))
	} else {
		quote, der = w.machine.Evidence(t, w.id, &w.binding)
	}
	text = issuetest.Request(t, w.key, w.common, w.names, quote, der)
	req, err := ParseRequest(text)
	if err != nil {
		t.Fatal(err)
	}
	return req, w.verify(t, req.Quote)
}

func (w *world) verify(t testing.TB, quote []byte) *attest.Result {
	t.Helper()
	trust := w.trust
	if trust == nil {
		trust = w.auth
	}
	collateral, err := trust.Collateral(now)
	if err != nil {
		t.Fatal(err)
	}
	result, err := dcap.Verify(quote, dcap.Options{Root: trust.Root(), Collateral: collateral, At: now, Simulated: !w.hardware})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (w *world) decide(t testing.TB) *Decision {
	t.Helper()
	req, result := w.request(t)
	if w.node != nil {
		return DecideNode(req, result, w.node)
	}
	return DecideApp(req, result, w.app)
}

func names(rules []attest.Rule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, r.Name)
	}
	return out
}

func TestHonestRequestsAreIssued(t *testing.T) {
	t.Parallel()
	d := newWorld(t, attest.PurposeAppTLS).decide(t)
	if d.Outcome != Issue || d.Freshness != "nonce" {
		t.Fatalf("%s: %s", d.Outcome, d.Reason)
	}
	if l := d.Leaf; l.Use != ca.ForApp || l.CommonName != "app.example" || !slices.Equal(l.DNSNames, []string{"app.example", "b.example"}) ||
		l.Lifetime != ca.AppLifetime || l.ID.String() != "spiffe://"+accountID+".manager.example/app/app/build/build" {
		t.Errorf("leaf %+v", l)
	}
	for _, want := range []string{
		"csr_signature", "quote_signature", "nonce_fresh", "purpose", "key_binding", "account", "node_active", "same_platform", "known_image",
		"build_unchanged", "signer", "isv_prod_id", "isv_svn", "debug", "tcb_level", "names_approved", "evidence_kind", "key_unused", "node_label",
	} {
		if !slices.Contains(names(d.Rules), want) {
			t.Errorf("rule %s was not applied", want)
		}
	}
	d = newWorld(t, attest.PurposeNode).decide(t)
	if d.Outcome != Issue || d.Leaf.Use != ca.ForNode || len(d.Leaf.DNSNames) != 0 {
		t.Fatalf("node: %s: %s, leaf %+v", d.Outcome, d.Reason, d.Leaf)
	}
}

func TestAppRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, w *world)
		rules  []string
	}{
		{"purpose node", func(t *testing.T, w *world) { w.binding.Purpose = attest.PurposeNode }, []string{"purpose"}},
		{"purpose app, which applications can ask for", func(t *testing.T, w *world) { w.binding.Purpose = attest.PurposeApp }, []string{"purpose"}},
		{"evidence over another key", func(t *testing.T, w *world) { w.key = newKey(t) }, []string{"key_binding"}},
		{"binding to another account", func(t *testing.T, w *world) { w.binding.AccountRoot = [32]byte{8} }, []string{"account"}},
		{"key with a certificate", func(t *testing.T, w *world) { w.app.KeyUsed = true }, []string{"key_unused"}},
		{"nonce answered before", func(t *testing.T, w *world) { w.app.Nonce = nil }, []string{"nonce_fresh"}},
		{"another nonce", func(t *testing.T, w *world) { w.binding.Nonce = make([]byte, 32) }, []string{"nonce_fresh"}},
		{"nonce at its end", func(t *testing.T, w *world) { w.app.Nonce.Expires = now }, []string{"nonce_fresh"}},
		{"nonce of another node", func(t *testing.T, w *world) { w.app.Nonce.NodeID = "other" }, []string{"nonce_fresh"}},
		{"nonce of an enrolment", func(t *testing.T, w *world) { w.app.Nonce.PlatformID = "x" }, []string{"nonce_fresh"}},
		{"nonce for another purpose", func(t *testing.T, w *world) { w.app.Nonce.Purpose = attest.PurposeNode }, []string{"nonce_fresh"}},
		{"node deactivated", func(t *testing.T, w *world) { w.app.Node.Active, w.app.Node.State = false, NodeDeactivated }, []string{"node_active"}},
		{"request of another machine", func(t *testing.T, w *world) {
			w.machine = issuetest.NewMachine(t, 2)
			w.machine.Certify(t, w.auth, now)
		}, []string{"same_platform", "platform_key"}},
		{"another machine that claims the same id", func(t *testing.T, w *world) {
			w.machine = issuetest.NewMachine(t, 1)
			w.machine.Certify(t, w.auth, now)
		}, []string{"platform_key"}},
		{"platform id of the node unknown", func(t *testing.T, w *world) { w.app.Node.PlatformID = "" }, []string{"same_platform"}},
		{"machine of another authority", func(t *testing.T, w *world) {
			w.trust, _ = authority.New(rand.Reader, now)
		}, []string{"root_trusted", "pck_revocation"}},
		{"platform revoked", func(t *testing.T, w *world) { w.auth.Revoke(w.machine.PPID, now) }, []string{"pck_revocation"}},
		{"simulated evidence under a hardware root", func(t *testing.T, w *world) { w.hardware = true }, []string{"root_trusted"}},
		{"simulated evidence outside a test-only account", func(t *testing.T, w *world) { w.app.Account.TestOnly = false }, []string{"evidence_kind"}},
		{"debug enclave", func(t *testing.T, w *world) { w.id.Debug = true }, []string{"debug"}},
		{"unknown measurement", func(t *testing.T, w *world) { w.app.Build, w.app.App = nil, nil }, []string{"known_image"}},
		{"measurement of another build", func(t *testing.T, w *world) { w.id.Measurement = [32]byte{5} }, []string{"known_image"}},
		{"build rejected", func(t *testing.T, w *world) { w.app.Build.Whitelisted, w.app.Build.State = false, "REJECTED" }, []string{"known_image"}},
		{"build changed since", func(t *testing.T, w *world) { w.app.Build.Digest = "e" }, []string{"build_unchanged"}},
		{"build without a digest", func(t *testing.T, w *world) { w.app.Build.Digest, w.app.Build.Approved = "", "" }, []string{"build_unchanged"}},
		{"other signer", func(t *testing.T, w *world) { w.id.Signer = [32]byte{6} }, []string{"signer"}},
		{"other product", func(t *testing.T, w *world) { w.id.ProdID = 1 }, []string{"isv_prod_id"}},
		{"other version", func(t *testing.T, w *world) { w.id.SVN = 9 }, []string{"isv_svn"}},
		{"configuration not attached", func(t *testing.T, w *world) { w.binding.ConfigID = make([]byte, 32) }, []string{"config"}},
		{"name not approved", func(t *testing.T, w *world) { w.names = []string{"bank.example"} }, []string{"names_approved"}},
		{"common name not approved", func(t *testing.T, w *world) { w.common = "bank.example" }, []string{"names_approved"}},
		{"below an approved name", func(t *testing.T, w *world) { w.names = []string{"x.app.example"} }, []string{"names_approved"}},
		{"wildcard", func(t *testing.T, w *world) {
			w.names = []string{"*.example"}
			w.app.App.Domains = append(w.app.App.Domains, "*.example")
		}, []string{"names_form"}},
		{"upper case", func(t *testing.T, w *world) { w.common = "App.example" }, []string{"names_form"}},
		{"no name", func(t *testing.T, w *world) { w.common, w.names = "", nil }, []string{"names_form"}},
		{"label missing", func(t *testing.T, w *world) { w.app.Node.Labels = nil }, []string{"node_label"}},
		{"CCM's binding without leave", func(t *testing.T, w *world) { w.bare = true }, []string{"binding"}},
		{"CCM's binding, key used", func(t *testing.T, w *world) { w.bare, w.app.Account.BareBinding, w.app.KeyUsed = true, true, true }, []string{"key_unused"}},
		{"several at once", func(t *testing.T, w *world) {
			w.app.Nonce, w.app.Node.Active, w.names = nil, false, []string{"bank.example"}
		}, []string{"nonce_fresh", "node_active", "names_approved"}},
		// A task cures its own rule only.
		{"build pending, node deactivated", func(t *testing.T, w *world) {
			w.app.Build.Whitelisted, w.app.Build.TaskID, w.app.Node.Active = false, "task", false
		}, []string{"node_active", "known_image"}},
		{"name asked for, another not", func(t *testing.T, w *world) {
			w.names, w.app.App.DomainTask, w.app.App.Asked = []string{"new.example", "bank.example"}, "task", []string{"new.example"}
		}, []string{"names_approved"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, attest.PurposeAppTLS)
			tt.change(t, w)
			d := w.decide(t)
			if d.Outcome != Denied || !slices.Equal(names(d.Failed()), tt.rules) {
				t.Fatalf("%s by %v, wanted DENIED by %v: %s", d.Outcome, names(d.Failed()), tt.rules, d.Reason)
			}
			if d.Leaf.Public != nil || d.TaskID != "" {
				t.Error("a denied request has a leaf or a task")
			}
			for _, r := range d.Failed() {
				if r.Wanted == "" || r.Seen == "" || !strings.Contains(d.Reason, r.Name) {
					t.Errorf("rule %+v, reason %q", r, d.Reason)
				}
			}
		})
	}
}

func TestAppVariants(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(w *world)
		check  func(t *testing.T, d *Decision)
	}{
		{"build waits for its task", func(w *world) {
			w.app.Build.Whitelisted, w.app.Build.State, w.app.Build.TaskID = false, "PENDING", "task-1"
		}, isPending("task-1")},
		{"name waits for its task", func(w *world) {
			w.names, w.app.App.DomainTask, w.app.App.Asked = []string{"new.example"}, "task-2", []string{"new.example"}
		}, isPending("task-2")},
		{"configuration attached", func(w *world) {
			w.binding.ConfigID = slices.Repeat([]byte{0xab}, 32)
			w.app.Build.Configs = []string{hex.EncodeToString(w.binding.ConfigID)}
		}, isIssued("nonce", ca.AppLifetime)},
		{"CCM's binding with leave", func(w *world) { w.bare, w.app.Account.BareBinding, w.app.Nonce = true, true, nil }, isIssued("none", ca.AppLifetime)},
		{"longer life", func(w *world) { w.app.App.Lifetime = 3 * 24 * time.Hour }, isIssued("nonce", 3*24*time.Hour)},
		{"too long a life for the simulation", func(w *world) { w.app.App.Lifetime = ca.MaxLifetime }, isIssued("nonce", ca.MaxSimulatedLife)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, attest.PurposeAppTLS)
			tt.change(w)
			tt.check(t, w.decide(t))
		})
	}
}

func isPending(task string) func(*testing.T, *Decision) {
	return func(t *testing.T, d *Decision) {
		if d.Outcome != Pending || d.TaskID != task || d.Leaf.Public != nil || !strings.Contains(d.Reason, task) {
			t.Errorf("%s on %q: %s", d.Outcome, d.TaskID, d.Reason)
		}
	}
}

func isIssued(freshness string, life time.Duration) func(*testing.T, *Decision) {
	return func(t *testing.T, d *Decision) {
		if d.Outcome != Issue || d.Freshness != freshness || d.Leaf.Lifetime != life {
			t.Errorf("%s, freshness %q, life %s: %s", d.Outcome, d.Freshness, d.Leaf.Lifetime, d.Reason)
		}
	}
}

func TestNodeRefusals(t *testing.T) {
	t.Parallel()
	renewal := func(w *world) {
		w.node.Token = nil
		w.node.Nonce = &Nonce{Value: w.binding.Nonce, NodeID: nodeID, Purpose: attest.PurposeNode, Expires: now.Add(time.Minute)}
		w.node.Known = &EnrolledNode{ID: nodeID, Active: true, State: NodeActive, PlatformID: w.machine.ID()}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, w *world)
		rules  []string // none: issued
	}{
		{"renewal", func(t *testing.T, w *world) { renewal(w) }, nil},
		{"the same machine again", func(t *testing.T, w *world) {
			w.node.Known = &EnrolledNode{ID: nodeID, Active: true, PlatformID: w.machine.ID(), ZoneID: "zone", PlatformKey: w.machine.Key(t)}
		}, nil},
		{"deactivated, then a new token", func(t *testing.T, w *world) {
			w.node.Known = &EnrolledNode{ID: nodeID, PlatformID: w.machine.ID(), Deactivated: now.Add(-time.Minute)}
		}, nil},
		{"deactivated, older token", func(t *testing.T, w *world) {
			w.node.Known = &EnrolledNode{ID: nodeID, PlatformID: w.machine.ID(), Deactivated: now.Add(time.Minute)}
		}, []string{"platform_admitted"}},
		{"unknown token", func(t *testing.T, w *world) { w.node.Token.Known, w.node.Token.State = false, "unknown" }, []string{"join_token"}},
		{"token expired", func(t *testing.T, w *world) { w.node.Token.Expires = now }, []string{"join_token_time"}},
		{"token used up", func(t *testing.T, w *world) { w.node.Token.Uses = 1 }, []string{"join_token_uses"}},
		{"application as a node", func(t *testing.T, w *world) { w.id = issuetest.Identity{Measurement: [32]byte{1}} }, []string{"node_measurement"}},
		{"purpose app-tls", func(t *testing.T, w *world) { w.binding.Purpose = attest.PurposeAppTLS }, []string{"purpose"}},
		{"nonce for another platform", func(t *testing.T, w *world) { w.node.Nonce.PlatformID = "ff" }, []string{"nonce_fresh"}},
		{"nonce for another zone", func(t *testing.T, w *world) { w.node.Nonce.ZoneID = "other" }, []string{"nonce_fresh"}},
		{"platform with another key than it prepared with", func(t *testing.T, w *world) { w.node.Nonce.PlatformKey = "ff" }, []string{"platform_key"}},
		{"another machine that claims the same id", func(t *testing.T, w *world) {
			w.node.Known = &EnrolledNode{ID: nodeID, Active: true, PlatformID: w.machine.ID(), ZoneID: "zone", PlatformKey: "ff"}
		}, []string{"platform_key"}},
		{"machine of another zone", func(t *testing.T, w *world) {
			w.node.Known = &EnrolledNode{ID: nodeID, Active: true, PlatformID: w.machine.ID(), ZoneID: "other"}
		}, []string{"platform_zone"}},
		{"nonce answered before", func(t *testing.T, w *world) { w.node.Nonce = nil }, []string{"nonce_fresh"}},
		{"evidence over another key", func(t *testing.T, w *world) { w.key = newKey(t) }, []string{"key_binding"}},
		{"other account", func(t *testing.T, w *world) { w.binding.AccountRoot = [32]byte{8} }, []string{"account"}},
		{"DNS name", func(t *testing.T, w *world) { w.names = []string{"bank.example"} }, []string{"node_names"}},
		{"configuration", func(t *testing.T, w *world) { w.binding.ConfigID = make([]byte, 32) }, []string{"config"}},
		{"no binding, although the account allows it to applications", func(t *testing.T, w *world) { w.bare, w.node.Account.BareBinding = true, true }, []string{"binding"}},
		{"simulated outside a test-only account", func(t *testing.T, w *world) { w.node.Account.TestOnly, w.node.Approved = false, true }, []string{"evidence_kind"}},
		{
			"failing evidence never enrols, also in a test-only account", func(t *testing.T, w *world) { w.trust, _ = authority.New(rand.Reader, now) },
			[]string{"root_trusted", "pck_revocation"},
		},
		{"renewal by another machine", func(t *testing.T, w *world) {
			renewal(w)
			w.node.Known.PlatformID = "ff"
		}, []string{"same_platform"}},
		{"renewal after deactivation", func(t *testing.T, w *world) {
			renewal(w)
			w.node.Known.Active, w.node.Known.State = false, NodeDeactivated
		}, []string{"node_active"}},
		{"renewal with the nonce of an enrolment", func(t *testing.T, w *world) {
			renewal(w)
			w.node.Nonce.NodeID, w.node.Nonce.PlatformID = "", w.machine.ID()
		}, []string{"nonce_fresh"}},
		{"renewal with the old key", func(t *testing.T, w *world) {
			renewal(w)
			w.node.KeyUsed = true
		}, []string{"key_unused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, attest.PurposeNode)
			tt.change(t, w)
			d := w.decide(t)
			want := Denied
			if tt.rules == nil {
				want = Issue
			}
			if d.Outcome != want || !slices.Equal(names(d.Failed()), tt.rules) {
				t.Fatalf("%s by %v, wanted %s by %v: %s", d.Outcome, names(d.Failed()), want, tt.rules, d.Reason)
			}
		})
	}
}

func TestNodeWaitsForAPersonOutsideTestOnlyAccounts(t *testing.T) {
	t.Parallel()
	// Hardware evidence cannot be made here, so the verified result is turned into one.
	for _, tt := range []struct {
		approved bool
		task     string
		outcome  Outcome
		wantTask string
	}{{false, "", Pending, NewTask}, {false, "task", Pending, "task"}, {true, "", Issue, ""}} {
		w := newWorld(t, attest.PurposeNode)
		w.node.Account.TestOnly, w.node.Approved, w.node.TaskID = false, tt.approved, tt.task
		req, result := w.request(t)
		result.Claims.Simulated = false
		d := DecideNode(req, result, w.node)
		if d.Outcome != tt.outcome || d.TaskID != tt.wantTask {
			t.Errorf("%+v: %s on %q: %s", tt, d.Outcome, d.TaskID, d.Reason)
		}
	}
}

func TestNothingVerifiedIsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, attest.PurposeAppTLS)
	req, result := w.request(t)
	result.Rules = nil
	if d := DecideApp(req, result, w.app); d.Outcome != Denied {
		t.Errorf("%s although no rule was applied to the evidence", d.Outcome)
	}
}

func TestEveryFlippedByteOfEvidenceIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, attest.PurposeAppTLS)
	quote, binding := w.machine.Evidence(t, w.id, &w.binding)
	collateral, err := w.auth.Collateral(now)
	if err != nil {
		t.Fatal(err)
	}
	verifier := dcap.NewVerifier(w.auth.Root(), collateral, true)
	issued := func(quote, binding []byte) bool {
		// The enemy has the key, so the request itself is well signed.
		req, err := ParseRequest(issuetest.Request(t, w.key, w.common, w.names, quote, binding))
		if err != nil {
			return false
		}
		result, err := verifier.Verify(req.Quote, now)
		if err != nil {
			return false
		}
		return DecideApp(req, result, w.app).Outcome == Issue
	}
	if !issued(quote, binding) {
		t.Fatal("the honest request is refused")
	}
	parsed, err := dcap.ParseQuote(quote)
	if err != nil {
		t.Fatal(err)
	}
	// The PEM text of the certificates at the end has spellings; dcap's own tests flip it.
	for i := range len(quote) - len(parsed.CertData) {
		bad := slices.Clone(quote)
		bad[i] ^= 0x01
		if issued(bad, binding) {
			t.Fatalf("byte %d of the quote flipped: issued", i)
		}
	}
	for i := range binding {
		bad := slices.Clone(binding)
		bad[i] ^= 0x01
		if issued(quote, bad) {
			t.Fatalf("byte %d of the binding flipped: issued", i)
		}
	}
}
