package issue

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
	"hitoku.dev/internal/manager/ca"
)

// Node states that a decision knows.
const (
	NodeActive      = "ACTIVE"
	NodeDeactivated = "DEACTIVATED"
)

// Node is the enrolled node through which a request came.
type Node struct {
	ID         string
	ZoneID     string
	Active     bool
	State      string // for people
	PlatformID string // lower-case hexadecimal, as proved at enrolment
	// PlatformKey is the key that certified a simulated platform at enrolment; see PlatformKey.
	PlatformKey string
	Labels      map[string]string
}

// Build is the build that the evidence's measurement belongs to.
type Build struct {
	ID          string
	Whitelisted bool
	State       string // for people
	TaskID      string // the open approval task
	// Digest is over the build as it is now, Approved over what the approver saw.
	Digest, Approved string
	Measurement      []byte
	Signer           []byte
	ProdID, SVN      uint16
	Configs          []string // ids of attached and approved configurations, lower-case hexadecimal
}

// App is the application of the build.
type App struct {
	ID      string
	Name    string
	Domains []string // approved
	// DomainTask is the open task about domains, and Asked the names that it would approve.
	DomainTask string
	Asked      []string
	Labels     map[string]string // required of nodes
	Lifetime   time.Duration     // of certificates, 0 for the default
}

// AppState is the snapshot for a request for an application's certificate.
type AppState struct {
	At          time.Time
	Account     Account
	TrustDomain string
	Node        Node
	Nonce       *Nonce // nil when the store has none that fits
	KeyUsed     bool   // a certificate over the key exists
	Build       *Build // nil when no build has the measurement
	App         *App   // nil when Build is
}

// DecideApp judges a request for an application's certificate.
func DecideApp(req *Request, e *attest.Result, s *AppState) *Decision {
	d := &decider{rules: slices.Clone(req.Rules)}
	d.evidence(e, &s.Account)
	freshness := d.binding(req, e, attest.PurposeAppTLS, &s.Account, s.KeyUsed)
	d.nonce(req, s.Nonce, s.At, attest.PurposeAppTLS, s.Node.ID, "", "")
	d.node(&e.Claims, &s.Node)
	d.platformKey(&e.Claims, s.Node.PlatformKey, PlatformKey(req.Quote))
	d.build(req, &e.Claims, s)
	if s.Build != nil {
		d.names(req, s.App)
		d.labels(s)
	}
	out := d.decide("certificate for " + req.CommonName)
	out.Freshness = freshness
	if out.Outcome == Issue {
		out.Leaf = appLeaf(req, s)
	}
	return out
}

func appLeaf(req *Request, s *AppState) ca.Leaf {
	life := s.App.Lifetime
	if life <= 0 {
		life = ca.AppLifetime
	}
	longest := ca.MaxLifetime
	if s.Account.TestOnly {
		longest = ca.MaxSimulatedLife
	}
	names := req.Names()
	return ca.Leaf{
		Use: ca.ForApp, Public: req.Public, CommonName: names[0], DNSNames: names,
		ID: ca.AppID(s.TrustDomain, s.App.ID, s.Build.ID), Lifetime: min(life, longest),
	}
}

func (d *decider) node(c *attest.Claims, n *Node) {
	d.rule("node_active", "an active node", n.State, n.Active, "enrol the node again with a new join token")
	d.add(policy.Platform(c, n.PlatformID))
}

func (d *decider) build(req *Request, c *attest.Claims, s *AppState) {
	const known = "a measurement that an approved build has"
	measurement := hex.EncodeToString(c.Measurement)
	b := s.Build
	if b == nil || s.App == nil {
		d.rule("known_image", known, "measurement "+measurement+", which no build of this account has", false,
			"register the image with `hitoku image create` and approve it")
		return
	}
	d.curable("known_image", known, fmt.Sprintf("build %s of application %s, %s", b.ID, s.App.Name, b.State),
		b.Whitelisted && equal(b.Measurement, c.Measurement), pendingTask(b), "approve the build's task, or register the image again")
	if b.Whitelisted {
		d.rule("build_unchanged", "the build as it was approved, digest "+b.Approved, "digest "+b.Digest, b.Digest != "" && b.Digest == b.Approved,
			"somebody must look at the build and approve it again")
	}
	d.add(policy.Signer(c, [][]byte{b.Signer}))
	d.add(policy.ProdID(c, b.ProdID))
	d.rule("isv_svn", fmt.Sprint(b.SVN), fmt.Sprint(c.SVN), b.SVN == c.SVN, "convert with the registered security version")
	if req.Binding != nil && len(req.Binding.ConfigID) != 0 {
		id := hex.EncodeToString(req.Binding.ConfigID)
		d.rule("config", "a configuration attached to this build: "+list(b.Configs), id, slices.Contains(b.Configs, id), "attach the configuration to the build and have it approved")
	}
}

func pendingTask(b *Build) string {
	if b.Whitelisted {
		return ""
	}
	return b.TaskID
}

func (d *decider) names(req *Request, a *App) {
	names := req.Names()
	form := "names in lower case without wildcards"
	var bad error
	for _, n := range names {
		if bad = ca.CheckDNSName(n); bad != nil {
			break
		}
	}
	seen := list(names)
	if bad != nil {
		seen = bad.Error()
	}
	d.rule("names_form", form, seen, bad == nil && len(names) > 0, "configure the certificate's subject and alternative names")
	if bad != nil || len(names) == 0 {
		return
	}
	var missing []string
	task := a.DomainTask
	for _, n := range names {
		if slices.Contains(a.Domains, n) {
			continue
		}
		missing = append(missing, n)
		if !slices.Contains(a.Asked, n) {
			task = ""
		}
	}
	seen = list(names)
	if len(missing) > 0 {
		seen = list(missing) + " not approved"
	}
	d.curable("names_approved", "names approved for application "+a.Name+": "+list(a.Domains), seen, len(missing) == 0, task,
		"add them to the application's allowed domains and approve the task")
}

func (d *decider) labels(s *AppState) {
	for _, key := range slices.Sorted(maps.Keys(s.App.Labels)) {
		want := s.App.Labels[key]
		got, ok := s.Node.Labels[key]
		seen := "no label " + key
		if ok {
			seen = key + ":" + got
		}
		d.rule("node_label", key+":"+want, seen, ok && got == want, "label the node, or run on one that has the label")
	}
}
