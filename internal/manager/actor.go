package manager

import (
	"slices"

	"hitoku.dev/internal/manager/store"
)

// Actor is who a call is made for, as [Manager.Authenticate] found out.
type Actor struct {
	UserID      string
	Name        string // e-mail address
	SystemAdmin bool
	// AccountID is the selected account, empty when none is selected. Roles are those held in it.
	AccountID string
	Roles     []store.Role
	SessionID string // empty for API tokens
	TokenID   string // empty for sessions
	// System is set for the manager's own commands, which hold the master key.
	System bool
}

// Peer is a node agent as its client certificate proves it.
type Peer struct {
	AccountID, ZoneID, NodeID, CertificateID string
}

// Has reports whether the actor holds a role in the selected account.
func (a *Actor) Has(r store.Role) bool { return slices.Contains(a.Roles, r) }

// may checks that an account is selected and that the actor holds the role in it.
func (a *Actor) may(r store.Role) error {
	switch {
	case a.AccountID == "":
		return newError(Forbidden, CodeNoAccount, "no account is selected; select one first")
	case !a.Has(r):
		return forbidden("this needs the role %s in the selected account", r)
	}
	return nil
}

// self checks that a person with a log-in calls, and not a program with a token.
func (a *Actor) self() error {
	if a.SessionID == "" && !a.System {
		return forbidden("this needs a log-in; an API token does not do")
	}
	return nil
}

// event begins the audit event of something that the actor does.
func (a *Actor) event(code, action, description string) *store.Event {
	e := &store.Event{
		AccountID: a.AccountID, Severity: "INFO", Code: code, ActionType: action, ActorType: "USER",
		UserID: a.UserID, UserName: a.Name, Description: description,
	}
	if a.System {
		e.ActorType = "SYSTEM"
	}
	return e
}
