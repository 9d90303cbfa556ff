package issue

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
	"hitoku.dev/internal/manager/ca"
)

// JoinToken is the token that a node came with, as the store has it.
type JoinToken struct {
	Known     bool // the secret is right and the token was not withdrawn
	State     string
	Expires   time.Time
	UsesLimit int // 0: no limit
	Uses      int
	Created   time.Time
}

// EnrolledNode is what is known of the machine before this request.
type EnrolledNode struct {
	ID          string
	Active      bool
	State       string // for people
	PlatformID  string
	PlatformKey string // see PlatformKey
	ZoneID      string
	Deactivated time.Time // zero unless it was
}

// NodeState is the snapshot for a request for a compute node's certificate: enrolment, or
// renewal when Token is nil.
type NodeState struct {
	At          time.Time
	Account     Account
	TrustDomain string
	ZoneID      string
	NodeID      string // the id that the node has or will get
	Nonce       *Nonce // nil when the store has none that fits
	KeyUsed     bool
	Token       *JoinToken
	// Known is the node of this platform, or the one that asks for renewal; nil for a new one.
	Known *EnrolledNode
	// Measurements are the reference values of node agents.
	Measurements [][]byte
	// Approved is set once a person approved this platform; TaskID is the open task. Neither
	// matters in a test-only account.
	Approved bool
	TaskID   string
}

// DecideNode judges a request for a compute node's certificate.
func DecideNode(req *Request, e *attest.Result, s *NodeState) *Decision {
	d := &decider{rules: slices.Clone(req.Rules)}
	if s.Token != nil {
		d.joinToken(s.Token, s.At)
	}
	d.evidence(e, &s.Account)
	if req.Binding == nil {
		d.rule("binding", "a binding of purpose, key, nonce and account", "no binding beside the evidence", false, "use Hitoku's node agent")
	} else {
		d.binding(req, e, attest.PurposeNode, &s.Account, s.KeyUsed)
		if c := req.Binding.ConfigID; len(c) != 0 {
			d.rule("config", "no configuration", hex.EncodeToString(c), false, "")
		}
	}
	if s.Token == nil {
		d.nonce(req, s.Nonce, s.At, attest.PurposeNode, s.NodeID, "", "")
	} else {
		d.nonce(req, s.Nonce, s.At, attest.PurposeNode, "", s.ZoneID, e.Claims.PlatformID)
	}
	d.platform(&e.Claims, s)
	key := PlatformKey(req.Quote)
	if s.Nonce != nil {
		d.platformKey(&e.Claims, s.Nonce.PlatformKey, key)
	}
	if s.Known != nil {
		d.platformKey(&e.Claims, s.Known.PlatformKey, key)
	}
	measured := policy.Measurement(&e.Claims, s.Measurements)
	measured.Name, measured.Advice = "node_measurement", "use the node agent of this release"
	d.add(measured)
	d.rule("node_names", "no name besides the node's own", list(req.DNSNames), len(req.DNSNames) == 0, "node certificates carry no DNS names")
	if s.Token != nil && !s.Account.TestOnly && !s.Approved {
		d.approval(&e.Claims, s)
	}
	out := d.decide("node certificate")
	out.Freshness = "nonce"
	if out.Outcome == Issue {
		out.Leaf = ca.Leaf{
			Use: ca.ForNode, Public: req.Public, CommonName: s.NodeID, Lifetime: ca.NodeLifetime,
			ID: ca.NodeID(s.TrustDomain, s.ZoneID, s.NodeID),
		}
	}
	return out
}

func (d *decider) joinToken(t *JoinToken, at time.Time) {
	const advice = "make a new one with `hitoku node token`"
	d.rule("join_token", "a join token of this zone that is in force", t.State, t.Known, advice)
	if !t.Known {
		return
	}
	d.rule("join_token_time", "before "+t.Expires.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339), at.Before(t.Expires), advice)
	limit := "no limit"
	if t.UsesLimit > 0 {
		limit = fmt.Sprintf("at most %d", t.UsesLimit)
	}
	d.rule("join_token_uses", limit, fmt.Sprintf("%d before this one", t.Uses), t.UsesLimit == 0 || t.Uses < t.UsesLimit, advice)
}

func (d *decider) platform(c *attest.Claims, s *NodeState) {
	k := s.Known
	if c.PlatformID == "" {
		d.rule("platform_id", "evidence that names its platform", "no platform id", false, "machines that hide their identity cannot be enrolled")
		return
	}
	d.rule("platform_id", "evidence that names its platform", c.PlatformID, true, "")
	if k == nil {
		return
	}
	d.add(policy.Platform(c, k.PlatformID))
	if s.Token == nil {
		d.rule("node_active", "an active node", k.State, k.Active, "enrol the node again with a new join token")
		return
	}
	if k.Deactivated.IsZero() {
		d.rule("platform_zone", "a platform that is in no other zone of the account", "node "+k.ID+" of zone "+k.ZoneID, k.ZoneID == s.ZoneID, "deactivate that node first")
	} else {
		d.rule("platform_admitted", "a join token made after the node was deactivated at "+k.Deactivated.UTC().Format(time.RFC3339),
			"one made at "+s.Token.Created.UTC().Format(time.RFC3339), s.Token.Created.After(k.Deactivated), "an administrator makes a new join token to admit the machine again")
	}
}

// approval asks for a person outside test-only accounts (security decision S20).
func (d *decider) approval(c *attest.Claims, s *NodeState) {
	task := s.TaskID
	if task == "" {
		task = NewTask
	}
	d.curable("node_approved", "an approval of platform "+c.PlatformID, "none yet", false, task, "")
}

// NewTask stands in Decision.TaskID for a task that the caller makes.
const NewTask = "(new)"
