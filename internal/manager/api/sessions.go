package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"hitoku.dev/internal/manager"
	"hitoku.dev/internal/wire"
)

// authReply carries the session both ways: as JSON and as a cookie.
type authReply struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      wire.AuthReply
}

type logoutReply struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

type discoverReply struct {
	AuthMethods []authMethod `json:"auth_methods"`
}

type authMethod struct {
	Password *struct{} `json:"password,omitempty"`
}

func (s *Server) sessions(version string) {
	const tag = "sessions"
	register(s, operation{method: http.MethodPost, path: "/v1/sys/auth", class: noAuth, tag: tag, summary: "Log in with e-mail and password (HTTP Basic)"},
		func(ctx context.Context, c caller, in *struct {
			Authorization string `header:"Authorization" doc:"Basic base64(email:password)"`
		},
		) (*authReply, error) {
			email, password, err := basic(in.Authorization)
			if err != nil {
				return nil, err
			}
			r, err := s.m.LogIn(ctx, email, password, c.remote)
			if err != nil {
				return nil, err
			}
			return &authReply{SetCookie: []http.Cookie{cookie(r.AccessToken, time.Unix(r.SessionInfo.SessionExpiresAt, 0))}, Body: *r}, nil
		})
	register(s, operation{method: http.MethodPost, path: "/v1/sys/auth/discover", class: noAuth, tag: tag, summary: "How a user can log in"},
		func(context.Context, caller, *none) (*body[discoverReply], error) {
			return &body[discoverReply]{Body: discoverReply{AuthMethods: []authMethod{{Password: &struct{}{}}}}}, nil
		})
	register(s, operation{method: http.MethodPost, path: "/v1/sys/session/refresh", class: userAuth, tag: tag, summary: "Extend the session"},
		func(ctx context.Context, c caller, _ *none) (*body[wire.SessionReply], error) {
			return session(s.m.Refresh(ctx, c.actor))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/sys/session/terminate", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Log out"},
		func(ctx context.Context, c caller, _ *none) (*logoutReply, error) {
			if err := s.m.LogOut(ctx, c.actor); err != nil {
				return nil, err
			}
			return &logoutReply{SetCookie: []http.Cookie{cookie("", time.Unix(1, 0))}}, nil
		})
	register(s, operation{method: http.MethodPost, path: "/v1/sys/session/select_account/{id}", class: userAuth, tag: tag, summary: "Select the account that the session works in"},
		func(ctx context.Context, c caller, in *ByID) (*body[wire.SessionReply], error) {
			return session(s.m.SelectAccount(ctx, c.actor, in.ID))
		})
	register(s, operation{method: http.MethodPost, path: "/v1/accounts/select_account/{id}", class: userAuth, status: http.StatusNoContent, tag: tag, summary: "Select an account (earlier form)"},
		func(ctx context.Context, c caller, in *ByID) (*none, error) {
			_, err := s.m.SelectAccount(ctx, c.actor, in.ID)
			return done(err)
		})
	register(s, operation{method: http.MethodGet, path: "/v1/sys/version", class: noAuth, tag: tag, summary: "Version of the manager"},
		func(context.Context, caller, *none) (*body[wire.Version], error) {
			return &body[wire.Version]{Body: wire.Version{Version: version}}, nil
		})
}

func session(info *wire.Session, err error) (*body[wire.SessionReply], error) {
	if err != nil {
		return nil, err
	}
	return &body[wire.SessionReply]{Body: wire.SessionReply{SessionInfo: *info}}, nil
}

// basic reads an HTTP Basic header (RFC 7617).
func basic(header string) (email, password string, err error) {
	bad := &manager.Error{Kind: manager.Unauthenticated, Code: manager.CodeUnauthorized, Message: "log-in needs Authorization: Basic base64(email:password)"}
	encoded, ok := strings.CutPrefix(header, basicPrefix)
	if !ok {
		return "", "", bad
	}
	raw, decodeErr := base64.StdEncoding.DecodeString(encoded)
	if decodeErr != nil {
		return "", "", bad
	}
	email, password, ok = strings.Cut(string(raw), ":")
	if !ok {
		return "", "", bad
	}
	return email, password, nil
}
