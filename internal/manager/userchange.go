package manager

import (
	"context"
	"slices"
	"strings"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// UpdateUser changes names (one's own, or anybody's for a system administrator),
// roles and membership state (a MANAGER of the selected account), and for a
// system administrator, with user_account_status, whether a user may log in.
func (m *Manager) UpdateUser(ctx context.Context, a Actor, id string, r wire.UpdateUser) (*wire.User, error) {
	if err := a.self(); err != nil {
		return nil, err
	}
	if r.UserEmail != "" {
		return nil, newError(Unsupported, CodeNotSupported, "this manager sends no mail, so that an e-mail address cannot be changed")
	}
	var w wire.User
	err := m.update(ctx, func(tx *store.Tx) error {
		u, ms, err := visibleUser(ctx, tx, a, id)
		if err != nil {
			return err
		}
		var did []string
		if r.FirstName != nil || r.LastName != nil {
			if id != a.UserID && !a.SystemAdmin {
				return forbidden("only %s may change the own name", u.Email)
			}
			if err := rename(u, r); err != nil {
				return err
			}
			did = append(did, "name")
		}
		if r.UserAccountStatus != "" && a.SystemAdmin && (ms == nil || u.Status == store.UserPending) {
			if err := m.setStatus(ctx, tx, a, u, r.UserAccountStatus); err != nil {
				return err
			}
			did = append(did, "status "+u.Status)
		} else if r.UserAccountStatus != "" || len(r.Roles) > 0 {
			if err := changeMembership(ctx, tx, a, ms, r); err != nil {
				return err
			}
			did = append(did, "membership")
		}
		if len(did) == 0 {
			return invalid(CodeBadRequest, "nothing to change was given")
		}
		u.UpdatedAt = m.now()
		if err := tx.Users().Update(ctx, u); err != nil {
			return err
		}
		w = userInfo(u, ms)
		return tx.Audit(ctx, a.event("USER_UPDATED", "ADMIN", a.Name+" changed "+u.Email+": "+strings.Join(did, ", ")))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func rename(u *store.User, r wire.UpdateUser) error {
	for _, c := range []struct {
		name string
		from *string
		to   *string
	}{{"first_name", r.FirstName, &u.FirstName}, {"last_name", r.LastName, &u.LastName}} {
		if c.from == nil {
			continue
		}
		if err := checkText(c.name, *c.from, 100); err != nil {
			return err
		}
		*c.to = *c.from
	}
	return nil
}

// setStatus lets a user in or out of the whole instance.
func (m *Manager) setStatus(ctx context.Context, tx *store.Tx, a Actor, u *store.User, status string) error {
	switch {
	case status != store.UserActive && status != store.UserDisabled:
		return invalid(CodeInvalidValue, "status %q is neither ACTIVE nor DISABLED", status)
	case u.ID == a.UserID:
		return invalid(CodeInvalidState, "nobody may change the own status")
	}
	u.Status = status
	if status == store.UserActive {
		u.EmailVerified = true // the administrator vouches for it; the manager sends no mail
		return nil
	}
	return tx.EndSessions(ctx, u.ID, "")
}

func changeMembership(ctx context.Context, tx *store.Tx, a Actor, ms *store.Membership, r wire.UpdateUser) error {
	if err := a.may(store.Manager); err != nil {
		return err
	}
	if ms == nil {
		return invalid(CodeInvalidState, "the user is no member of the selected account; invite the user first")
	}
	if len(r.Roles) > 0 {
		roles, err := parseRoles(r.Roles)
		if err != nil {
			return err
		}
		ms.Roles = roles
	}
	switch r.UserAccountStatus {
	case "":
	case store.UserActive:
		if ms.Status == store.UserPending {
			return invalid(CodeInvalidState, "the invitation is for the user to accept")
		}
		ms.Status = store.UserActive
	case store.UserDisabled:
		ms.Status = store.UserDisabled
	default:
		return invalid(CodeInvalidValue, "user_account_status %q is neither ACTIVE nor DISABLED", r.UserAccountStatus)
	}
	if err := tx.Memberships().Update(ctx, ms); err != nil {
		return err
	}
	return keepsManager(ctx, tx, ms.AccountID)
}

// keepsManager refuses to leave an account without anybody who can run it.
func keepsManager(ctx context.Context, tx *store.Tx, account string) error {
	all, err := tx.Memberships().Find(ctx, account, store.Is("status", store.UserActive))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(ms *store.Membership) bool { return ms.Has(store.Manager) }) {
		return invalid(CodeInvalidState, "an account needs at least one active MANAGER")
	}
	return nil
}
