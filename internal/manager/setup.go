package manager

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"

	"hitoku.dev/internal/manager/store"
)

// firstRunSetting holds the hash of the code that makes a system administrator.
const firstRunSetting = "first-run-code"

// FirstRunCode returns a new one-time code when the manager has no system
// administrator yet, and "" when it has one. Whoever signs up with the code
// becomes the administrator (ruling 22); each call makes earlier codes worthless.
// Print it for the person who started the manager, and nowhere else.
func (m *Manager) FirstRunCode(ctx context.Context) (string, error) {
	var raw [15]byte
	if _, err := io.ReadFull(m.opts.Rand, raw[:]); err != nil {
		return "", fmt.Errorf("first-run code: %w", err)
	}
	text := base32.StdEncoding.EncodeToString(raw[:])
	var groups []string
	for i := 0; i < len(text); i += 6 {
		groups = append(groups, text[i:i+6])
	}
	code := strings.Join(groups, "-")
	err := m.update(ctx, func(tx *store.Tx) error {
		admins, err := tx.Users().Find(ctx, store.Is("system_admin", true))
		if err != nil {
			return err
		}
		if len(admins) > 0 {
			code = ""
			return nil
		}
		if err := putSetting(ctx, tx, firstRunSetting, []byte(secretHash(normalCode(code)))); err != nil {
			return err
		}
		return tx.Audit(ctx, systemEvent("FIRST_RUN_CODE", "A one-time code for the first system administrator was made"))
	})
	if err != nil {
		return "", err
	}
	return code, nil
}

// normalCode forgives what typing does to a code.
func normalCode(code string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
}

// takeFirstRunCode uses the code up.
func takeFirstRunCode(ctx context.Context, tx *store.Tx, code string) error {
	wrong := newError(Forbidden, CodeForbidden, "the one-time code is wrong or was used; start the manager again to get another")
	s, err := tx.Settings().Get(ctx, firstRunSetting)
	if errors.Is(err, store.ErrNotFound) {
		return wrong
	}
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(s.Value, []byte(secretHash(normalCode(code)))) != 1 {
		return wrong
	}
	return tx.Settings().Delete(ctx, s)
}

func putSetting(ctx context.Context, tx *store.Tx, name string, value []byte) error {
	s, err := tx.Settings().Get(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return tx.Settings().Insert(ctx, &store.Setting{Name: name, Value: value})
	case err != nil:
		return err
	}
	s.Value = value
	return tx.Settings().Update(ctx, s)
}

func systemEvent(code, description string) *store.Event {
	return &store.Event{Severity: "INFO", Code: code, ActionType: "ADMIN", ActorType: "SYSTEM", Description: description}
}

// Setting returns an instance-wide value that SetSetting kept; NotFound when there is none.
func (m *Manager) Setting(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := m.view(ctx, func(tx *store.Tx) error {
		s, err := tx.Settings().Get(ctx, name)
		if err == nil {
			value = s.Value
		}
		return err
	})
	return value, err
}

// SetSetting keeps an instance-wide value of the manager's own, for example its sealed web
// authority. It is recorded in the audit log by name.
func (m *Manager) SetSetting(ctx context.Context, name string, value []byte) error {
	return m.update(ctx, func(tx *store.Tx) error {
		if err := putSetting(ctx, tx, name, value); err != nil {
			return err
		}
		return tx.Audit(ctx, systemEvent("SETTING_CHANGED", "The setting "+name+" was changed"))
	})
}

// Backup writes a copy of the database to a new file, after an event that says so.
func (m *Manager) Backup(ctx context.Context, path string) error {
	err := m.update(ctx, func(tx *store.Tx) error {
		return tx.Audit(ctx, systemEvent("BACKUP_MADE", "A backup of the database was made"))
	})
	if err != nil {
		return err
	}
	return m.store.Backup(ctx, path)
}
