package api

import (
	"context"
	"net/http"
	"strings"

	"hitoku.dev/internal/wire"
)

// userAccount is one membership of a user.
type userAccount struct {
	Roles  []string `json:"roles"`
	Status string   `json:"status"`
}

func (s *Server) users() {
	const tag = "users"
	register(s, operation{method: http.MethodPost, path: "/v1/users", class: noAuth, status: http.StatusCreated, tag: tag, summary: "Sign up"},
		func(ctx context.Context, c caller, in *body[wire.SignUp]) (*body[wire.User], error) {
			return reply(s.m.SignUp(ctx, in.Body, c.remote))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/users/invite", class: userAuth, status: http.StatusCreated, tag: tag, summary: "Invite a user into the account"},
		func(ctx context.Context, c caller, in *body[wire.Invite]) (*body[wire.User], error) {
			return reply(s.m.Invite(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/users/process_invite", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Accept and reject invitations"},
		func(ctx context.Context, c caller, in *body[wire.ProcessInvite]) (*none, error) {
			return done(s.m.ProcessInvites(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/users/change_password", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Change the own password"},
		func(ctx context.Context, c caller, in *body[wire.PasswordChange]) (*none, error) {
			return done(s.m.ChangePassword(ctx, c.actor, in.Body.CurrentPassword, in.Body.NewPassword))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/user", class: userAuth, tag: tag, summary: "Who is logged in"},
		func(ctx context.Context, c caller, _ *none) (*body[wire.User], error) {
			return reply(s.m.Me(ctx, c.actor))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/users", class: userAuth, tag: tag, summary: "Users of the account"},
		func(ctx context.Context, c caller, in *struct {
			Listing
			Scope string `query:"scope" doc:"all: every user, for system administrators (extension)"`
		},
		) (*body[wire.List[wire.User]], error) {
			if strings.EqualFold(in.Scope, "all") {
				return reply(s.m.AllUsers(ctx, c.actor, in.options()))
			}
			return reply(s.m.Users(ctx, c.actor, in.options()))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/users/{id}", class: userAuth, tag: tag, summary: "A user of the account"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.User], error) {
			return reply(s.m.User(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPatch, path: "/v1/users/{id}", class: userAuth, tag: tag, summary: "Change a user"},
		func(ctx context.Context, c caller, in *withID[wire.UpdateUser]) (*body[wire.User], error) {
			return reply(s.m.UpdateUser(ctx, c.actor, in.ID, in.Body))
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/users/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Delete the own user, or any as system administrator"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeleteUser(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/users/{id}/accounts", class: userAuth, tag: tag, summary: "Accounts of a user"},
		func(ctx context.Context, c caller, in *ByID) (*body[map[string]userAccount], error) {
			users, err := s.m.UserAccounts(ctx, c.actor, in.ID)
			out := map[string]userAccount{}
			for account, u := range users {
				out[account] = userAccount{Roles: u.Roles, Status: u.UserAccountStatus}
			}
			return reply(&out, err)
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/users/{id}/accounts", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Remove a user from the account"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.RemoveMember(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/user/tokens", class: userAuth, status: http.StatusCreated, tag: tag, summary: "Make an API token (extension)"},
		func(ctx context.Context, c caller, in *body[wire.APITokenRequest]) (*body[wire.APIToken], error) {
			return reply(s.m.CreateAPIToken(ctx, c.actor, in.Body))
		})
	register(s, operation{method: http.MethodGet, path: "/v1/user/tokens", class: userAuth, tag: tag, summary: "The own API tokens (extension)"},
		func(ctx context.Context, c caller, _ *none) (*body[wire.List[wire.APIToken]], error) {
			items, err := s.m.APITokens(ctx, c.actor)
			return reply(&wire.List[wire.APIToken]{Items: items}, err)
		})
	register(s, operation{method: http.MethodDelete, path: "/v1/user/tokens/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Stop an API token (extension)"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			return done(s.m.DeleteAPIToken(ctx, c.actor, in.ID))
		})
}
