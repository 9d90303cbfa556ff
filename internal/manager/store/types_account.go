package store

import (
	"encoding/json"
	"slices"
	"time"
)

// Kinds that other files of the package name.
const (
	accountKind     = "account"
	certificateKind = "certificate"
)

// Setting is a value of the whole instance, for example the hash of the first-run code.
// Values that are secret are encrypted by the caller.
type Setting struct {
	Name  string
	Value []byte
	Stamp
}

func (s *Setting) table() table {
	return table{name: "settings", kind: "setting", id: "name", global: true, protection: auditedRows}
}
func (s *Setting) key() (string, string) { return "", s.Name }
func (s *Setting) fields() []field       { return []field{text("name", &s.Name), blob("value", &s.Value)} }

// States of an account.
const (
	AccountActive      = "Active"
	AccountDeactivated = "Deactivated"
)

// Account is a tenant. TestOnly is set when it is made and never again.
type Account struct {
	ID               string
	Name             string // unique without regard to case
	TestOnly         bool   // the simulated TEE is trusted in this account
	Status           string
	Component        string // DEFAULT or CONFIDENTIAL_AI
	DistinctApprover bool   // who asked may not approve
	CustomLogo       string // base64 as the client sent it
	Options          AccountOptions
	CreatedBy        string
	CreatedAt        time.Time
	UpdatedAt        time.Time
	Stamp
}

// AccountOptions are the account's less common rules.
type AccountOptions struct {
	AuthConfigs        json.RawMessage `json:"auth_configs,omitempty"`
	DefaultGroupID     string          `json:"default_group_id,omitempty"`
	MarketplaceGroupID string          `json:"marketplace_group_id,omitempty"`
	AzureCVMPCRs       []int           `json:"azure_cvm_pcr_priority,omitempty"`
	// AcceptBareBinding admits CCM's own report data, SHA-256(SPKI) and zeros, without nonce (S1).
	AcceptBareBinding bool `json:"accept_bare_binding,omitempty"`
	// TCBStatuses are accepted beside UpToDate, in Intel's words, sorted.
	TCBStatuses []string `json:"tcb_statuses,omitempty"`
	// MinTCBEvaluation is the lowest evaluation number of collateral that is accepted (S12); it only rises.
	MinTCBEvaluation int `json:"min_tcb_evaluation,omitempty"`
	// LeafSeconds is the life of application certificates; 0 means the manager's default.
	LeafSeconds int64 `json:"leaf_seconds,omitempty"`
}

func (a *Account) table() table {
	return table{name: "accounts", kind: accountKind, id: "id", global: true, protection: auditedRows}
}
func (a *Account) key() (string, string) { return a.ID, a.ID }
func (a *Account) fields() []field {
	nameKey := fold(a.Name)
	return []field{
		text("id", &a.ID), text("name", &a.Name), text("name_key", &nameKey), flag("test_only", &a.TestOnly), text("status", &a.Status),
		text("component", &a.Component), flag("distinct_approver", &a.DistinctApprover), text("custom_logo", &a.CustomLogo),
		document("options", &a.Options), text("created_by", &a.CreatedBy), instant("created_at", &a.CreatedAt), instant("updated_at", &a.UpdatedAt),
	}
}

// Kinds and states of an [Authority].
const (
	AuthorityRoot      = "root"      // the account root: signs zone CAs and server certificates
	AuthorityZone      = "zone"      // a zone's CA: signs leaves
	AuthoritySimulated = "simulated" // the account's simulated TEE authority

	AuthorityCurrent  = "CURRENT"
	AuthorityNext     = "NEXT"
	AuthorityPrevious = "PREVIOUS"
)

// Authority is a certificate authority of an account.
type Authority struct {
	ID          string
	AccountID   string
	ZoneID      string // for zone CAs
	Kind        string
	State       string
	Certificate string // PEM
	SealedKey   []byte // the private part, encrypted under the master key
	CreatedAt   time.Time
	Stamp
}

func (a *Authority) table() table {
	return table{name: "authorities", kind: "authority", id: "id", protection: auditedRows}
}
func (a *Authority) key() (string, string) { return a.AccountID, a.ID }
func (a *Authority) fields() []field {
	return []field{
		text("id", &a.ID), text("account_id", &a.AccountID), text("zone_id", &a.ZoneID), text("kind", &a.Kind), text("state", &a.State),
		text("certificate", &a.Certificate), blob("sealed_key", &a.SealedKey), instant("created_at", &a.CreatedAt),
	}
}

// States of users and of memberships.
const (
	UserActive   = "ACTIVE"
	UserPending  = "PENDING"
	UserDisabled = "DISABLED"
)

// User is a person who may log in.
type User struct {
	ID            string
	Email         string // as typed; unique without regard to case
	FirstName     string
	LastName      string
	PasswordHash  string // PHC string of argon2id; empty for a user who was invited and has not signed up
	Status        string
	SystemAdmin   bool
	EmailVerified bool
	TermsAccepted bool
	CreatedAt     time.Time
	UpdatedAt     time.Time
	LastLoginAt   time.Time // written by Tx.LoggedIn alone
	Stamp
}

func (u *User) table() table {
	return table{name: "users", kind: "user", id: "id", global: true, protection: auditedRows}
}
func (u *User) key() (string, string) { return "", u.ID }
func (u *User) fields() []field {
	emailKey := fold(u.Email)
	return []field{
		text("id", &u.ID), text("email", &u.Email), text("email_key", &emailKey), text("first_name", &u.FirstName), text("last_name", &u.LastName),
		text("password_hash", &u.PasswordHash), text("status", &u.Status), flag("system_admin", &u.SystemAdmin), flag("email_verified", &u.EmailVerified),
		flag("terms_accepted", &u.TermsAccepted), instant("created_at", &u.CreatedAt), instant("updated_at", &u.UpdatedAt),
		instant("last_login_at", &u.LastLoginAt).unsealed(),
	}
}

// Role is what a member may do in an account.
type Role string

// The roles; an administrator holds all three.
const (
	Reader  Role = "READER"
	Writer  Role = "WRITER"
	Manager Role = "MANAGER"
)

// Membership ties a user to an account.
type Membership struct {
	AccountID string
	UserID    string
	Roles     []Role
	Status    string // PENDING while the invitation is open
	InvitedBy string
	CreatedAt time.Time
	Stamp
}

// Has reports whether the membership holds a role.
func (m *Membership) Has(r Role) bool { return slices.Contains(m.Roles, r) }

func (m *Membership) table() table {
	return table{name: "memberships", kind: "membership", id: "user_id", protection: auditedRows}
}
func (m *Membership) key() (string, string) { return m.AccountID, m.UserID }
func (m *Membership) fields() []field {
	return []field{
		text("account_id", &m.AccountID), text("user_id", &m.UserID), document("roles", &m.Roles), text("status", &m.Status),
		text("invited_by", &m.InvitedBy), instant("created_at", &m.CreatedAt),
	}
}

// Session is one log-in. Its ID is the SHA-256 of the bearer token in hexadecimal.
type Session struct {
	ID             string
	UserID         string
	AccountID      string // the selected account, empty before one is selected
	CreatedAt      time.Time
	ExpiresAt      time.Time // the end, whatever is done
	TokenExpiresAt time.Time // the end unless it is refreshed
	Stamp
}

func (s *Session) table() table {
	return table{name: "sessions", kind: "session", id: "id", global: true, protection: sealedRows}
}
func (s *Session) key() (string, string) { return "", s.ID }
func (s *Session) fields() []field {
	return []field{
		text("id", &s.ID), text("user_id", &s.UserID), text("account_id", &s.AccountID), instant("created_at", &s.CreatedAt),
		instant("expires_at", &s.ExpiresAt), instant("token_expires_at", &s.TokenExpiresAt),
	}
}

// APIToken lets a program act in one account, with some of the roles of whoever made it.
type APIToken struct {
	ID         string
	AccountID  string
	Name       string
	SecretHash string // SHA-256 of the token in hexadecimal
	Roles      []Role
	CreatedBy  string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Stamp
}

func (t *APIToken) table() table {
	return table{name: "api_tokens", kind: "API token", id: "id", protection: auditedRows}
}
func (t *APIToken) key() (string, string) { return t.AccountID, t.ID }
func (t *APIToken) fields() []field {
	return []field{
		text("id", &t.ID), text("account_id", &t.AccountID), text("name", &t.Name), text("secret_hash", &t.SecretHash), document("roles", &t.Roles),
		text("created_by", &t.CreatedBy), instant("created_at", &t.CreatedAt), instant("expires_at", &t.ExpiresAt),
	}
}
