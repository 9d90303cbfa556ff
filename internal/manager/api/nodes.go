package api

import (
	"context"
	"net/http"

	"hitoku.dev/internal/manager"
	"hitoku.dev/internal/wire"
)

// maxEvidence bounds requests that carry evidence.
const maxEvidence = 256 << 10

func (s *Server) nodes() {
	const tag = "nodes"
	register(s, operation{method: http.MethodGet, path: "/v1/nodes", class: userAuth, tag: tag, summary: "Compute nodes of the account"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			Name        string `query:"name"`
			Description string `query:"description"`
			SGXVersion  string `query:"sgx_version"`
			Attestation string `query:"attestation_type"`
			Status      string `query:"status"`
		},
		) (*body[wire.List[wire.Node]], error) {
			f := manager.NodeFilter{Name: in.Name, Description: in.Description, SGXVersion: in.SGXVersion, AttestationType: in.Attestation, Status: in.Status}
			return reply(s.m.Nodes(ctx, c.actor, in.options(), f))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/nodes/{id}", class: userAuth, tag: tag, summary: "A compute node"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Node], error) {
			return reply(s.m.Node(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPatch, path: "/v1/nodes/{id}", class: userAuth, tag: tag, summary: "Change name, description or labels of a node"},
		func(ctx context.Context, c caller, in *withID[wire.NodeUpdate]) (*body[wire.Node], error) {
			return reply(s.m.UpdateNode(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/nodes/{id}/certificate", class: userAuth, tag: tag, summary: "The certificate of a node"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Certificate], error) {
			return reply(s.m.NodeCertificate(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/nodes/{id}/certificate-details", class: userAuth, tag: tag, summary: "The certificate of a node, for people"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.CertificateDetails], error) {
			return reply(s.m.NodeCertificateDetails(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/nodes/{id}/deactivate", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Deactivate a node and revoke what was issued to it"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeactivateNode(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/nodes/prepare", class: joinToken, tag: tag, summary: "First step of enrolment: nonce, account root, PCK of a simulated platform (extension)", maxBody: maxEvidence},
		func(ctx context.Context, c caller, in *body[wire.NodePrepare]) (*body[wire.NodePrepared], error) {
			return reply(s.m.PrepareNode(ctx, c.token, in.Body))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/nodes", class: joinToken, tag: tag, summary: "Enrol a node with its evidence", maxBody: maxEvidence},
		func(ctx context.Context, c caller, in *body[wire.NodeProvision]) (*body[wire.TaskResult], error) {
			return reply(s.m.ProvisionNode(ctx, c.token, in.Body))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/nodes/{id}/nonces", class: agentAuth, tag: tag, summary: "A nonce for evidence (extension)"},
		func(ctx context.Context, c caller, in *withID[wire.NonceRequest]) (*body[wire.NonceReply], error) {
			if err := c.own(in.ID); err != nil {
				return nil, err
			}
			return reply(s.m.NewNonce(ctx, c.node, in.Body))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/nodes/{id}/certificate", class: agentAuth, tag: tag, summary: "Renew a node's certificate with fresh evidence (extension)", maxBody: maxEvidence},
		func(ctx context.Context, c caller, in *withID[wire.CertificateRequest]) (*body[wire.TaskResult], error) {
			if err := c.own(in.ID); err != nil {
				return nil, err
			}
			return reply(s.m.RenewNodeCertificate(ctx, c.node, in.Body))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/node/status", class: agentAuth, tag: tag, summary: "A node reports its state"},
		func(ctx context.Context, c caller, in *body[wire.NodeStatusRequest]) (*body[wire.NodeStatusReply], error) {
			return reply(s.m.ReportNodeStatus(ctx, c.node, in.Body))
		})
}

// own refuses the id of another node than the caller.
func (c *caller) own(id string) error {
	if id != c.node.NodeID {
		return &manager.Error{Kind: manager.NotFound, Code: manager.CodeNotFound, Message: "node " + id + " is not the one whose certificate was shown"}
	}
	return nil
}

func (s *Server) certificates() {
	const tag = "certificates"
	register(s, operation{method: http.MethodPost, path: "/v1/certificates", class: agentAuth, tag: tag, summary: "A node asks for an application's certificate", maxBody: maxEvidence},
		func(ctx context.Context, c caller, in *body[wire.CertificateRequest]) (*body[wire.TaskResult], error) {
			return reply(s.m.IssueCertificate(ctx, c.node, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/certificates/{id}", class: userAuth, tag: tag, summary: "A certificate"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Certificate], error) {
			return reply(s.m.Certificate(ctx, c.actor, in.ID))
		})
	type appNode struct {
		App  string `path:"id" maxLength:"64"`
		Node string `path:"node" maxLength:"64"`
	}
	register(s, operation{method: http.MethodGet, path: "/v1/apps/{id}/node/{node}/certificate", class: userAuth, tag: tag, summary: "The certificate of an application on a node"},
		func(ctx context.Context, c caller, in *appNode) (*body[wire.Certificate], error) {
			return reply(s.m.AppNodeCertificate(ctx, c.actor, in.App, in.Node))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/apps/{id}/node/{node}/certificate-details", class: userAuth, tag: tag, summary: "The same for people"},
		func(ctx context.Context, c caller, in *appNode) (*body[wire.CertificateDetails], error) {
			return reply(s.m.AppNodeCertificateDetails(ctx, c.actor, in.App, in.Node))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/zones/{id}/crl", class: noAuth, tag: tag, summary: "The revocation list of a zone, DER (extension)"},
		func(ctx context.Context, _ caller, in *ByID) (*crlReply, error) {
			der, err := s.m.RevocationList(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			return &crlReply{ContentType: "application/pkix-crl", Body: der}, nil
		})
}

type crlReply struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}
