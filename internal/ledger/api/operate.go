package api

import (
	"context"
	"net/http"

	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// EpochReply is the epoch that a call was made in.
type EpochReply struct {
	Epoch uint64 `json:"epoch"`
}

// Backup is what a vault holds after a backup.
type Backup struct {
	Slot     uint16 `json:"slot" doc:"of the vault"`
	Position uint64 `json:"position" doc:"of the newest backup that it holds"`
	From     uint64 `json:"from" doc:"oldest epoch whose keys it holds"`
	To       uint64 `json:"to" doc:"newest epoch whose keys it holds"`
	Complete bool   `json:"complete" doc:"backup and keys lead to the newest position"`
	Error    string `json:"error,omitempty" doc:"why it does not answer, or holds nothing"`
}

// Backups are the vaults' answers.
type Backups struct {
	Vaults []Backup `json:"vaults"`
}

// Recovery is what came of a recovery.
type Recovery struct {
	Recovered bool   `json:"recovered" doc:"false: the node had its state already"`
	Position  uint64 `json:"position" doc:"executed position"`
}

// PolicyRequest is a new policy.
type PolicyRequest struct {
	Update []byte `json:"update" doc:"PolicyUpdate (protocol, section 2), signed by administrators"`
}

// PolicyReply says that a policy is on its way.
type PolicyReply struct {
	Epoch   uint64 `json:"epoch"`
	Version uint64 `json:"version" doc:"of the policy; GET /api/v1/policies says what becomes of it"`
}

// Policies are the policies that the log has taken, and what became of the one handed to this node last.
type Policies struct {
	InForce    uint64      `json:"in_force" doc:"version in force at the next position"`
	Newest     uint64      `json:"newest" doc:"version that the log has taken last"`
	ActiveFrom uint64      `json:"active_from" doc:"position from which that one is in force"`
	Last       *PolicyFate `json:"last,omitempty"`
}

// PolicyFate is what became of a policy that was handed to this node.
type PolicyFate struct {
	Version  uint64 `json:"version"`
	Status   string `json:"status" doc:"waiting, taken or refused"`
	Position uint64 `json:"position,omitempty" doc:"of its record, when it was taken"`
	Reason   string `json:"reason,omitempty" doc:"why it was refused"`
}

// Approvals are administrators' signatures over the present proposal.
type Approvals struct {
	Approvals []Approval `json:"approvals"`
}

// Approval is one administrator's.
type Approval struct {
	Index     uint8  `json:"index" doc:"of the administrator in the policy in force"`
	Signature []byte `json:"signature" doc:"64 bytes, Ed25519 over the proposal's message"`
}

// Removal names a member that shall go.
type Removal struct {
	Slot uint16 `json:"slot"`
}

// Proposal is a change of members that waits for administrators.
type Proposal struct {
	Epoch   uint64          `json:"epoch" doc:"that would begin"`
	T       string          `json:"t" doc:"hex, T of the epoch in force"`
	Adds    []ProposalSlot  `json:"adds"`
	Removes []ProposalLeave `json:"removes"`
	Message []byte          `json:"message" doc:"what each administrator signs (APPROVE, protocol, section 4)"`
	Have    int             `json:"have" doc:"approvals so far"`
	Need    int             `json:"need"`
	Void    bool            `json:"void,omitempty" doc:"most executors could not open the keys of the epoch in force: there are new ones, and what stood in it alone is void"`
}

// ProposalSlot is a member that would be added.
type ProposalSlot struct {
	Slot         uint16 `json:"slot"`
	Incarnation  string `json:"iid" doc:"hex"`
	JoinPosition uint64 `json:"join_position"`
	Released     uint64 `json:"released" doc:"epoch whose snapshot key it would be given, 0 for none"`
}

// ProposalLeave is a member that would be removed.
type ProposalLeave struct {
	Slot        uint16 `json:"slot"`
	Incarnation string `json:"iid" doc:"hex"`
	Reason      uint8  `json:"reason" doc:"1 replaced, 2 clone, 3 evidence too old, 4 alarm, 5 administrators, 6 policy"`
	Position    uint64 `json:"position"`
}

func (s *Server) administration() {
	const tag = "administration"
	post := func(path, summary string, status int) route {
		return route{method: "POST", path: "/api/v1/" + path, tag: tag, summary: summary, admin: true, status: status}
	}
	register(s, post("key_rotation", "Begin a new epoch with fresh keys", http.StatusAccepted),
		func(context.Context, *call, *none) (*EpochReply, error) {
			epoch, err := s.r.Rotate()
			return &EpochReply{epoch}, err
		})
	register(s, post("register_report", "Put fresh evidence of this node on the log", http.StatusAccepted),
		func(ctx context.Context, _ *call, _ *none) (*EpochReply, error) {
			if err := s.o.Operator.Rejoin(ctx); err != nil {
				return nil, err
			}
			return &EpochReply{s.r.Status().Epoch}, nil
		})
	register(s, post("backup", "Give the vaults the committed state, and ask what they hold", http.StatusOK),
		func(ctx context.Context, _ *call, _ *none) (*Backups, error) {
			list, err := s.o.Operator.Backup(ctx)
			if err != nil {
				return nil, err
			}
			return &Backups{append([]Backup{}, list...)}, nil
		})
	register(s, post("recover", "Get the state from a vault, where this node has none", http.StatusOK),
		func(ctx context.Context, _ *call, _ *none) (*Recovery, error) {
			out, err := s.o.Operator.Recover(ctx)
			return &out, err
		})
	register(s, post("policy", "Put a signed policy on the log", http.StatusAccepted), s.policy)
	register(s, post("approvals", "Hand over administrators' signatures over the proposal", http.StatusOK), s.approve)
	register(s, post("removals", "Propose that a slot's member be removed; administrators approve it", http.StatusAccepted),
		func(_ context.Context, _ *call, in *Removal) (*EpochReply, error) {
			if err := s.r.Remove(in.Slot); err != nil {
				return nil, refusal(err)
			}
			return &EpochReply{s.r.Status().Epoch}, nil
		})
	register(s, route{method: "GET", path: "/api/v1/proposal", tag: tag, summary: "The change of members that waits for administrators", admin: true}, s.proposal)
}

// refusal keeps the text of what the domain refuses to do; such texts name slots and epochs.
func refusal(err error) error {
	if e := errorOf(err); e.Code != CodeInternal {
		return e
	}
	return Fail(http.StatusConflict, CodeConflict, "%v", err)
}

func (s *Server) policy(_ context.Context, _ *call, in *PolicyRequest) (*PolicyReply, error) {
	u, err := wire.ParsePolicyUpdate(in.Update)
	if err != nil {
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "update: %v", err)
	}
	p, err := wire.ParsePolicy(u.Policy)
	if err != nil {
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "update: %v", err)
	}
	if err := s.r.UpdatePolicy(u); err != nil {
		return nil, refusal(err)
	}
	return &PolicyReply{s.r.Status().Epoch, p.Version}, nil
}

func (s *Server) policies(context.Context, *call, *none) (*Policies, error) {
	p := s.r.Policies()
	out := &Policies{InForce: p.InForce, Newest: p.Newest, ActiveFrom: p.ActiveFrom}
	if p.Last != nil {
		out.Last = (*PolicyFate)(p.Last)
	}
	return out, nil
}

func (s *Server) approve(_ context.Context, _ *call, in *Approvals) (*Proposal, error) {
	if len(in.Approvals) == 0 || len(in.Approvals) > wire.MaxAdmins {
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "approvals: wanted 1 to %d", wire.MaxAdmins)
	}
	list := make([]wire.AdminSignature, len(in.Approvals))
	for i, a := range in.Approvals {
		if len(a.Signature) != 64 {
			return nil, Fail(http.StatusBadRequest, CodeBadRequest, "signature %d: wanted 64 bytes", i)
		}
		list[i] = wire.AdminSignature{Index: a.Index, Signature: [64]byte(a.Signature)}
	}
	p, waiting := s.r.Proposal()
	if err := s.r.Approve(list); err != nil {
		return nil, refusal(err)
	}
	if now, ok := s.r.Proposal(); ok {
		p = now
	} else if !waiting { // it came up and was approved between two looks
		return nil, Fail(http.StatusConflict, CodeConflict, "nothing waits for approval any more")
	}
	return proposalOf(p), nil
}

func (s *Server) proposal(context.Context, *call, *none) (*Proposal, error) {
	p, ok := s.r.Proposal()
	if !ok {
		return nil, Fail(http.StatusNotFound, CodeNotFound, "nothing waits for approval at this node")
	}
	return proposalOf(p), nil
}

func proposalOf(p replica.Proposal) *Proposal {
	out := Proposal{Epoch: p.Epoch, T: hexOf(p.T), Message: p.Message, Have: p.Have, Need: p.Need, Void: p.Void, Adds: []ProposalSlot{}, Removes: []ProposalLeave{}}
	for _, a := range p.Adds {
		out.Adds = append(out.Adds, ProposalSlot{a.Slot, hexOf(a.Incarnation), a.JoinPosition, a.Released})
	}
	for _, x := range p.Removes {
		out.Removes = append(out.Removes, ProposalLeave{x.Slot, hexOf(x.Incarnation), x.Reason, x.Position})
	}
	return &out
}
