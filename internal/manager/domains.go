package manager

import (
	"context"
	"errors"
	"slices"
	"strings"

	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
)

const maxDomainsPerApp = 100

// checkDomains returns the names in order, without repetitions.
func checkDomains(names []string) ([]string, error) {
	if len(names) > maxDomainsPerApp {
		return nil, invalid(CodeInvalidValue, "allowed_domains has %d names, at most %d are allowed", len(names), maxDomainsPerApp)
	}
	out := make([]string, 0, len(names))
	for _, n := range names {
		n = strings.ToLower(strings.TrimSpace(n))
		if err := ca.CheckDNSName(n); err != nil {
			return nil, invalid(CodeInvalidName, "allowed_domains: %v", err)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func approvedDomains(ctx context.Context, tx *store.Tx, app *store.App) ([]string, error) {
	rows, err := tx.Domains().Find(ctx, app.AccountID, store.Is("app_id", app.ID))
	names := make([]string, 0, len(rows))
	for _, d := range rows {
		names = append(names, d.Name)
	}
	slices.Sort(names)
	return names, err
}

// difference returns what next has more than old, and what it lacks.
func difference(next, old []string) (added, removed []string) {
	added, removed = []string{}, []string{}
	for _, n := range next {
		if !slices.Contains(old, n) {
			added = append(added, n)
		}
	}
	for _, n := range old {
		if !slices.Contains(next, n) {
			removed = append(removed, n)
		}
	}
	return added, removed
}

// askDomains sets the domains that an application asks for, and makes the task for what
// changes. The caller stores the application.
func (m *Manager) askDomains(ctx context.Context, tx *store.Tx, a Actor, app *store.App, names []string) error {
	approved, err := approvedDomains(ctx, tx, app)
	if err != nil {
		return err
	}
	if app.PendingTaskID != "" {
		if slices.Equal(names, app.AllowedDomains) {
			return nil
		}
		return invalid(CodeInvalidState, "a change of the domains of %s is still pending; decide on task %s first", app.Name, app.PendingTaskID)
	}
	added, removed := difference(names, approved)
	app.AllowedDomains = names
	if len(added)+len(removed) == 0 {
		return nil
	}
	for _, n := range added {
		if err := ownedByOther(ctx, tx, app, n); err != nil {
			return err
		}
	}
	t, err := m.newTask(store.TaskDomain, a, app.ID, "Domain Whitelist for app: "+app.Name, domainSubject(app, added, removed))
	if err != nil {
		return err
	}
	t.AppID, app.PendingTaskID = app.ID, t.ID
	return tx.Tasks().Insert(ctx, t)
}

// ownedByOther refuses a domain that belongs to another application (S19).
func ownedByOther(ctx context.Context, tx *store.Tx, app *store.App, name string) error {
	d, err := tx.Domains().Get(ctx, app.AccountID, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case d.AppID == app.ID:
		return nil
	}
	owner := d.AppID
	if o, err := tx.Apps().Get(ctx, app.AccountID, d.AppID); err == nil {
		owner = o.Name
	}
	return invalid(CodeUnique, "the domain %s belongs to the application %s; one domain belongs to one application", name, owner)
}

func domainSubject(app *store.App, added, removed []string) subject {
	return subject{"account_id": app.AccountID, "app_id": app.ID, "app_name": app.Name, "domains_added": strings.Join(added, " "), "domains_removed": strings.Join(removed, " ")}
}

// presentDomains is the subject of a domain task as things are now.
func presentDomains(ctx context.Context, tx *store.Tx, app *store.App) (subject, error) {
	approved, err := approvedDomains(ctx, tx, app)
	if err != nil {
		return nil, err
	}
	added, removed := difference(app.AllowedDomains, approved)
	return domainSubject(app, added, removed), nil
}

// decideDomains carries out a decision on an application's domains.
func (m *Manager) decideDomains(ctx context.Context, tx *store.Tx, t *store.Task, approved bool) error {
	app, err := tx.Apps().Get(ctx, t.AccountID, t.AppID)
	if err != nil {
		return err
	}
	app.PendingTaskID, app.UpdatedAt = "", m.now()
	names, err := approvedDomains(ctx, tx, app)
	if err != nil {
		return err
	}
	if !approved {
		app.AllowedDomains = names
		return tx.Apps().Update(ctx, app)
	}
	added, removed := difference(app.AllowedDomains, names)
	for _, n := range added {
		if err := ownedByOther(ctx, tx, app, n); err != nil {
			return err
		}
		if err := tx.Domains().Insert(ctx, &store.Domain{AccountID: app.AccountID, Name: n, AppID: app.ID, TaskID: t.ID, CreatedAt: m.now()}); err != nil {
			return err
		}
	}
	for _, n := range removed {
		d, err := tx.Domains().Get(ctx, app.AccountID, n)
		if err != nil {
			return err
		}
		if err := tx.Domains().Delete(ctx, d); err != nil {
			return err
		}
	}
	acct, err := tx.Accounts().Get(ctx, app.AccountID)
	if err != nil {
		return err
	}
	if err := m.renameZones(ctx, tx, acct); err != nil {
		return err
	}
	return tx.Apps().Update(ctx, app)
}
