package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// Health is whether the node serves, and how far it is.
type Health struct {
	Status    string `json:"status" doc:"running; or following, joining, waiting_for_state, forked (until administrators have said which history counts), halted"`
	Reason    string `json:"reason,omitempty" doc:"why the node has halted, or serves nothing since the log was forked"`
	Position  uint64 `json:"position" doc:"last position of the log that was followed"`
	Committed uint64 `json:"committed" doc:"position up to which a quorum of executors has signed"`
	Epoch     uint64 `json:"epoch"`
	// Forked is also there while the node serves.
	Forked []uint16 `json:"forked,omitempty" doc:"slots whose members have signed another history than this node's log"`
}

// GenesisReply is the ledger's genesis.
type GenesisReply struct {
	Ledger  string `json:"ledger" doc:"hex, 32 bytes"`
	Genesis []byte `json:"genesis" doc:"genesis file (protocol, section 2)"`
}

// KeyReply is what a client needs before it seals.
type KeyReply struct {
	KeyInfo            []byte          `json:"key_info" doc:"KeyInfo (protocol, section 7)"`
	Signature          []byte          `json:"signature" doc:"64 bytes, by the incarnation's key"`
	Control            wire.Control    `json:"control" doc:"control records (protocol, section 9), evidence in them"`
	OrderAssurance     order.Assurance `json:"order_assurance"`
	CryptoBoxKey       string          `json:"crypto_box_key,omitempty" doc:"hex, X25519 key for requests in Anonify's form, where the genesis allows them"`
	CryptoBoxSignature []byte          `json:"crypto_box_signature,omitempty" doc:"64 bytes, by the incarnation's key over CRYPTOBOX(ledger, iid, key)"`
}

// Members are those of the epoch in force.
type Members struct {
	Epoch    uint64   `json:"epoch"`
	T        string   `json:"t" doc:"hex"`
	Position uint64   `json:"position" doc:"of the COMMIT"`
	Policy   uint64   `json:"policy" doc:"version of the policy in force"`
	Members  []Member `json:"members"`
	Pending  []Member `json:"pending" doc:"incarnations that wait to be added"`
}

// Member is an incarnation in a slot.
type Member struct {
	Slot         uint16 `json:"slot"`
	Kind         string `json:"kind" doc:"executor or vault"`
	Incarnation  string `json:"iid" doc:"hex"`
	Measurement  string `json:"measurement" doc:"hex, as the evidence in the JOIN says"`
	JoinPosition uint64 `json:"join_position"`
	Refused      string `json:"refused,omitempty" doc:"why the policy refuses one that is pending"`
}

// Signature is an executor's.
type Signature struct {
	Incarnation string `json:"iid" doc:"hex"`
	Signature   []byte `json:"signature" doc:"64 bytes"`
}

// CheckpointReply is what makes a position committed (protocol, section 6).
type CheckpointReply struct {
	Checkpoint     []byte          `json:"checkpoint"`
	Signatures     []Signature     `json:"signatures"`
	Count          uint32          `json:"count" doc:"commands of the position asked for"`
	Before         []byte          `json:"before" doc:"Q before the position"`
	After          [][]byte        `json:"after" doc:"roots of the later checkpoint positions up to the checkpoint's"`
	OrderAssurance order.Assurance `json:"order_assurance"`
	OrderProof     []byte          `json:"order_proof,omitempty"`
}

func (s *Server) public() {
	const tag = "ledger"
	register(s, route{method: "GET", path: healthPath, tag: tag, summary: "Whether the node serves; 503 while it does not"}, s.health)
	register(s, route{method: "GET", path: "/api/v1/genesis", tag: tag, summary: "The ledger's genesis"}, s.genesis)
	register(s, route{method: "GET", path: "/api/v1/enclave_encryption_key", tag: tag, summary: "The key to seal requests to, with the evidence for it"}, s.key)
	register(s, route{method: "GET", path: "/api/v1/control", tag: tag, summary: "The records from which anybody can follow the membership"},
		func(context.Context, *call, *none) (*wire.Control, error) {
			c := s.r.Control()
			return &c, nil
		})
	register(s, route{method: "GET", path: "/api/v1/members", tag: tag, summary: "Members of the epoch in force, and who waits to be added"}, s.members)
	register(s, route{method: "GET", path: "/api/v1/policies", tag: tag, summary: "Versions of the policy, and what became of the one handed to this node last"}, s.policies)
	register(s, route{
		method: "GET", path: "/api/v1/checkpoints/{position}", tag: tag, summary: "The first checkpoint at or after a position that a quorum has signed",
		parameters: []parameter{{"position", "path", "a checkpoint position"}},
	}, s.checkpoint)
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(s.document) // who has gone learns nothing
	})
	s.mux.HandleFunc("GET /metrics", s.metrics)
}

func (s *Server) health(_ context.Context, c *call, _ *none) (*Health, error) {
	st := s.r.Status()
	h := Health{Status: "running", Position: st.Position, Committed: st.Committed, Epoch: st.Epoch, Forked: st.Forked}
	switch {
	case st.Halted != nil:
		h.Status, h.Reason = "halted", st.Halted.Error()
	case st.Cut != nil:
		h.Status, h.Reason = "forked", st.Cut.Error()
	case st.Running && (st.Kind == wire.KindVault || st.Committed > 0):
		return &h, nil
	case st.Member:
		h.Status = "waiting_for_state"
	default:
		h.Status = "following"
		s.r.View(func(c *control.State) {
			if c.Incarnation(st.ID) != nil {
				h.Status = "joining"
			}
		})
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusServiceUnavailable)
	return nil, write(c.w, h)
}

func (s *Server) genesis(context.Context, *call, *none) (*GenesisReply, error) {
	return &GenesisReply{Ledger: hexOf(s.ledger), Genesis: s.r.Control().Genesis}, nil
}

func (s *Server) key(ctx context.Context, _ *call, _ *none) (*KeyReply, error) {
	info, signature, err := s.r.KeyInfo()
	if err != nil {
		return nil, err
	}
	assurance, _, err := s.o.Operator.Order(ctx)
	if err != nil {
		return nil, err
	}
	out := KeyReply{KeyInfo: info.Encode(), Signature: signature[:], Control: s.r.Control(), OrderAssurance: assurance}
	if key, sig, ok := s.r.BoxKey(); ok {
		out.CryptoBoxKey, out.CryptoBoxSignature = hexOf(key), sig[:]
	}
	return &out, nil
}

// described is an incarnation with what is judged.
type described struct {
	in   control.Incarnation
	join wire.Join
}

func (s *Server) members(context.Context, *call, *none) (*Members, error) {
	var out Members
	var members, pending []described
	var policy wire.Policy
	var now uint64
	s.r.View(func(c *control.State) {
		e := c.Epoch()
		policy, now = c.Policy(c.Position()+1), c.Time()
		out = Members{Epoch: e.Number, T: hexOf(e.T), Position: e.Position, Policy: policy.Version, Members: []Member{}, Pending: []Member{}}
		for _, m := range e.Members {
			in := c.Incarnation(m.Incarnation)
			members = append(members, described{*in, c.Join(in)})
		}
		for _, in := range c.Pending() {
			pending = append(pending, described{*in, c.Join(in)})
		}
	})
	for _, d := range members {
		m, _ := s.member(d, policy, now)
		out.Members = append(out.Members, m)
	}
	for _, d := range pending {
		m, v := s.member(d, policy, now)
		if err := v.Err(); err != nil {
			m.Refused = err.Error()
		}
		out.Pending = append(out.Pending, m)
	}
	return &out, nil
}

// member describes an incarnation. Judging costs some signatures, so that it is done
// without the replica's lock.
func (s *Server) member(d described, p wire.Policy, now uint64) (Member, attest.Verdict) {
	v := member.Judge(d.join, d.in.JoinTime, p, now)
	m := Member{Slot: d.in.Slot, Kind: "executor", Incarnation: hexOf(d.in.ID), JoinPosition: d.in.JoinPosition}
	if d.in.Kind == wire.KindVault {
		m.Kind = "vault"
	}
	for _, r := range v.Rules {
		if r.Name == "measurement" {
			m.Measurement = r.Seen
		}
	}
	return m, v
}

func (s *Server) checkpoint(ctx context.Context, c *call, _ *none) (*CheckpointReply, error) {
	position, err := strconv.ParseUint(c.r.PathValue("position"), 10, 64)
	if err != nil {
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "position: wanted a number")
	}
	cert, ok := s.r.Certificate(position)
	if !ok {
		return nil, Fail(http.StatusNotFound, CodeNotFound, "position %d is no checkpoint position, is not committed yet, or is not kept any more", position)
	}
	assurance, proof, err := s.o.Operator.Order(ctx)
	if err != nil {
		return nil, err
	}
	out := certificate(cert)
	out.OrderAssurance, out.OrderProof = assurance, proof
	return out, nil
}

func certificate(cert replica.Certificate) *CheckpointReply {
	out := CheckpointReply{Checkpoint: cert.Checkpoint.Encode(), Count: cert.Count, Before: cert.Before[:], After: [][]byte{}, Signatures: []Signature{}}
	for _, x := range cert.Signatures {
		out.Signatures = append(out.Signatures, Signature{hexOf(x.Incarnation), x.Signature[:]})
	}
	for _, h := range cert.After {
		out.After = append(out.After, h[:])
	}
	return &out
}

func hexOf(h [32]byte) string { return hex.EncodeToString(h[:]) }
