package api

import (
	"context"
	"net/http"

	"hitoku.dev/internal/wire"
)

func (s *Server) registries() {
	const tag = "registries"
	register(s, operation{method: http.MethodGet, path: "/v1/registry", class: userAuth, tag: tag, summary: "Saved image registries"},
		func(ctx context.Context, c caller, _ *none) (*body[[]wire.Registry], error) {
			items, err := s.m.Registries(ctx, c.actor)
			return reply(&items, err)
		})
	register(s, operation{method: http.MethodPost, path: "/v1/registry", class: userAuth, tag: tag, summary: "Save a registry's credentials"},
		func(ctx context.Context, c caller, in *body[wire.RegistryRequest]) (*body[wire.Registry], error) {
			return reply(s.m.CreateRegistry(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/registry/{id}", class: userAuth, tag: tag, summary: "A saved registry"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.Registry], error) {
			return reply(s.m.Registry(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPatch, path: "/v1/registry/{id}", class: userAuth, tag: tag, summary: "Change a saved registry (RFC 6902 subset)"},
		func(ctx context.Context, c caller, in *withID[[]wire.PatchOp]) (*body[wire.Registry], error) {
			return reply(s.m.UpdateRegistry(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/registry/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Forget a registry"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeleteRegistry(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/registry/app/{id}", class: userAuth, tag: tag, summary: "The saved registries of an application's images"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.AppRegistries], error) {
			return reply(s.m.AppRegistries(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/image/registry", class: userAuth, tag: tag, summary: "The saved registry of an image"},
		func(ctx context.Context, c caller, in *struct {
			ImageName string `query:"image_name" required:"true" maxLength:"512"`
		},
		) (*body[wire.ImageRegistry], error) {
			return reply(s.m.ImageRegistry(ctx, c.actor, in.ImageName))
		})
}

func (s *Server) audit() {
	register(s, operation{method: http.MethodGet, path: "/v1/audit_logs", class: userAuth, tag: "audit", summary: "The audit log of the account"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			ActionType string `query:"action_type"`
			ActorType  string `query:"actor_type"`
			From       int64  `query:"from" doc:"seconds since 1970"`
			To         int64  `query:"to" doc:"seconds since 1970"`
		},
		) (*body[wire.List[wire.AuditEvent]], error) {
			return reply(s.m.AuditEvents(ctx, c.actor, in.options(), in.ActionType, in.ActorType, in.From, in.To))
		})
}
