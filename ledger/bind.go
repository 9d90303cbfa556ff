package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// bind checks an application's description and prepares it for the machine.
func bind(a *App) (*boundApp, AppInfo, error) {
	app := &boundApp{
		access:   a.Access,
		window:   uint64(max(a.Window, 1)),
		prefix:   append([]byte{byte(len(a.Name))}, a.Name...),
		commands: map[string]CommandDef{},
		queries:  map[string]QueryDef{},
	}
	info := AppInfo{Name: a.Name, Version: a.Version, Access: a.Access, Window: app.window}
	var errs []error
	if !validAppName(a.Name) {
		errs = append(errs, errors.New("name is not 1 to 64 of a–z, 0–9 and -, a letter first"))
	}
	if a.Version == "" || len(a.Version) > maxName {
		errs = append(errs, fmt.Errorf("version has %d bytes, want 1 to 64", len(a.Version)))
	}
	if a.Access > AnyoneMayClaimAnyAccount {
		errs = append(errs, fmt.Errorf("access %d is unknown", a.Access))
	}
	if app.window > 64 {
		errs = append(errs, fmt.Errorf("window is %d, want 1 to 64", app.window))
	}
	for _, s := range a.State {
		errs = append(errs, app.addStore(s.stored()))
	}
	for _, c := range a.Commands {
		info.Commands = append(info.Commands, c.names[0])
		errs = append(errs, add(app.commands, "command", c, c.names, c.err))
	}
	for _, q := range a.Queries {
		info.Queries = append(info.Queries, q.names[0])
		errs = append(errs, add(app.queries, "query", q, q.names, q.err))
	}
	return app, info, errors.Join(errs...)
}

func (app *boundApp) addStore(s *store) error {
	if !validName(s.name) {
		return fmt.Errorf("state %q: name is not 1 to 64 letters, digits and _", s.name)
	}
	if slices.ContainsFunc(app.stores, func(o *store) bool { return o.name == s.name }) {
		return fmt.Errorf("state %q is listed twice", s.name)
	}
	app.stores = append(app.stores, s)
	return s.err
}

func add[D any](to map[string]D, what string, def D, names []string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %q: %w", what, names[0], err)
	}
	for _, name := range names {
		if !validName(name) {
			return fmt.Errorf("%s name %q is not 1 to 64 letters, digits and _, a letter first", what, name)
		}
		if _, taken := to[name]; taken {
			return fmt.Errorf("%s name %q is taken twice", what, name)
		}
		to[name] = def
	}
	return nil
}

func validAppName(s string) bool {
	if s == "" || len(s) > maxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
