package api

import (
	"context"
	"net/http"
	"strings"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/wire"
)

func (s *Server) accounts() {
	const tag = "accounts"
	register(s, operation{method: http.MethodGet, path: "/v1/accounts", class: userAuth, tag: tag, summary: "Accounts of the user"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			Scope string `query:"scope" doc:"all: every account, for system administrators"`
		},
		) (*body[wire.List[wire.Account]], error) {
			return reply(s.m.Accounts(ctx, c.actor, in.options(), strings.EqualFold(in.Scope, "all")))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/accounts", class: userAuth, tag: tag, summary: "Create an account"},
		func(ctx context.Context, c caller, in *body[wire.AccountRequest]) (*body[wire.Account], error) {
			return reply(s.m.CreateAccount(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/accounts/{id}", class: userAuth, tag: tag, summary: "An account"},
		func(ctx context.Context, c caller, in *struct {
			ByID
			WithTotals bool `query:"with_totals"`
		},
		) (*body[wire.Account], error) {
			return reply(s.m.Account(ctx, c.actor, in.ID, in.WithTotals))
		})
	register(s, operation{method: http.MethodPatch, path: "/v1/accounts/{id}", class: userAuth, tag: tag, summary: "Change an account"},
		func(ctx context.Context, c caller, in *withID[wire.AccountUpdate]) (*body[wire.Account], error) {
			return reply(s.m.UpdateAccount(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/accounts/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Delete an account with all in it"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeleteAccount(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/accounts/{id}/root", class: userAuth, tag: tag, summary: "The account root (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.RootReply], error) {
			return reply(s.m.AccountRoot(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/accounts/{id}/root/renew", class: userAuth, tag: tag, summary: "Give the account root a new certificate over the same key (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.RootReply], error) {
			return reply(s.m.RenewAccountRoot(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/accounts/{id}/simulated-root", class: userAuth, tag: tag, summary: "The simulated TEE's root of a test-only account (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.RootReply], error) {
			return reply(s.m.SimulatedRoot(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/accounts/{id}/simulated-collateral", class: userAuth, tag: tag, summary: "What the simulated TEE's authority of a test-only account has signed (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*body[dcap.Collateral], error) {
			return reply(s.m.SimulatedCollateral(ctx, c.actor, in.ID))
		})
}

// nextCertificate is the reply of POST /v1/zones/{id}/certificates.
type nextCertificate struct {
	Certificate string `json:"next_certificate"`
}

func (s *Server) zones() {
	const tag = "zones"
	type token struct {
		ID    string `path:"id" maxLength:"64"`
		Token string `path:"token_id" maxLength:"64"`
	}
	register(s, operation{method: http.MethodGet, path: "/v1/zones", class: userAuth, tag: tag, summary: "Zones of the account"},
		func(ctx context.Context, c caller, _ *none) (*body[[]wire.Zone], error) {
			items, err := s.m.Zones(ctx, c.actor)
			return reply(&items, err)
		})
	register(s, operation{method: http.MethodGet, path: "/v1/zones/{id}", class: userAuth, tag: tag, summary: "A zone"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Zone], error) {
			return reply(s.m.Zone(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/zones/{id}/token", class: userAuth, tag: tag, summary: "The zone's current join token"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.ZoneToken], error) {
			return reply(s.m.ZoneToken(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/zones/{id}/token/rotate", class: userAuth, tag: tag, summary: "Stop all join tokens of the zone and make a new one (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.ZoneToken], error) {
			return reply(s.m.RotateZoneToken(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/zones/{id}/join-tokens", class: userAuth, status: http.StatusCreated, tag: tag, summary: "Make a join token (extension)"},
		func(ctx context.Context, c caller, in *withID[wire.JoinTokenRequest]) (*body[wire.JoinToken], error) {
			return reply(s.m.CreateJoinToken(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/zones/{id}/join-tokens", class: userAuth, tag: tag, summary: "Join tokens of the zone (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.List[wire.JoinToken]], error) {
			items, err := s.m.JoinTokens(ctx, c.actor, in.ID)
			return reply(&wire.List[wire.JoinToken]{Items: items}, err)
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/zones/{id}/join-tokens/{token_id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Stop a join token (extension)"},
		func(ctx context.Context, c caller, in *token) (*none, error) {
			return done(s.m.RevokeJoinToken(ctx, c.actor, in.ID, in.Token))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/zones/{id}/certificates", class: userAuth, tag: tag, summary: "Current, next and previous CA certificate"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.ZoneCertificates], error) {
			return reply(s.m.ZoneCertificates(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/zones/{id}/certificates", class: userAuth, tag: tag, summary: "Make the next CA certificate"},
		func(ctx context.Context, c caller, in *ByID) (*body[nextCertificate], error) {
			pem, err := s.m.NextZoneCertificate(ctx, c.actor, in.ID)
			return reply(&nextCertificate{Certificate: pem}, err)
		})
	register(s, operation{method: http.MethodPost, path: "/v1/zones/{id}/certificates/rotate", class: userAuth, tag: tag, summary: "Make the next CA certificate the current one"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.ZoneCertificates], error) {
			return reply(s.m.RotateZone(ctx, c.actor, in.ID))
		})
}
