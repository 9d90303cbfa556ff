package store

import (
	"encoding/json"
	"time"
)

// Zone is a part of an account with a CA of its own.
type Zone struct {
	ID               string
	AccountID        string
	Name             string
	Description      string
	Default          bool
	RefreshInterval  int64 // seconds between status calls of a node agent
	RenewalThreshold int64 // percent of a node certificate's life after which it is renewed
	CreatedAt        time.Time
	Stamp
}

func (z *Zone) table() table {
	return table{name: "zones", kind: "zone", id: "id", protection: auditedRows}
}
func (z *Zone) key() (string, string) { return z.AccountID, z.ID }
func (z *Zone) fields() []field {
	return []field{
		text("id", &z.ID), text("account_id", &z.AccountID), text("name", &z.Name), text("description", &z.Description), flag("is_default", &z.Default),
		number("refresh_interval", &z.RefreshInterval), number("renewal_threshold", &z.RenewalThreshold), instant("created_at", &z.CreatedAt),
	}
}

// Kinds and states of a join token.
const (
	JoinTokenZone   = "zone"   // the zone's current token, for any number of nodes
	JoinTokenSingle = "single" // made for a number of nodes

	JoinTokenActive  = "ACTIVE"
	JoinTokenRevoked = "REVOKED"
)

// JoinToken admits nodes to a zone.
type JoinToken struct {
	ID         string
	AccountID  string
	ZoneID     string
	Kind       string
	SecretHash string // SHA-256 of the token's secret in hexadecimal
	Sealed     []byte // the whole token encrypted under the master key, to show it again; empty for single ones
	Status     string
	UsesLimit  int // 0: no limit until it expires
	Uses       int
	CreatedBy  string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Stamp
}

func (t *JoinToken) table() table {
	return table{name: "join_tokens", kind: "join token", id: "id", protection: auditedRows}
}
func (t *JoinToken) key() (string, string) { return t.AccountID, t.ID }
func (t *JoinToken) fields() []field {
	return []field{
		text("id", &t.ID), text("account_id", &t.AccountID), text("zone_id", &t.ZoneID), text("kind", &t.Kind), text("secret_hash", &t.SecretHash),
		blob("sealed", &t.Sealed), text("status", &t.Status), number("uses_limit", &t.UsesLimit), number("uses", &t.Uses),
		text("created_by", &t.CreatedBy), instant("created_at", &t.CreatedAt), instant("expires_at", &t.ExpiresAt),
	}
}

// States of a node as the manager decided them; whether it is running follows from its contact.
const (
	NodeInProgress  = "INPROGRESS" // waits for its NODE_ATTESTATION task
	NodeProvisioned = "PROVISIONED"
	NodeRunning     = "RUNNING"
	NodeStopped     = "STOPPED"
	NodeFailed      = "FAILED"
	NodeDeactivated = "DEACTIVATED"
)

// Node is an enrolled machine.
type Node struct {
	ID              string
	AccountID       string
	ZoneID          string
	Name            string
	Description     string
	IPAddress       string
	Status          string // INPROGRESS, RUNNING (enrolled), FAILED, DEACTIVATED
	StatusUpdatedAt time.Time
	Platform        string
	PlatformID      string // lower-case hexadecimal (S2)
	AttestationType string // DCAP, SIMULATED, …
	SGXVersion      string
	SysInfo         json.RawMessage
	Labels          map[string]string
	ErrorReport     json.RawMessage
	CertificateID   string
	JoinTokenID     string
	AttestedAt      time.Time
	CreatedAt       time.Time
	Stamp
}

func (n *Node) table() table {
	return table{name: "nodes", kind: "node", id: "id", protection: auditedRows}
}
func (n *Node) key() (string, string) { return n.AccountID, n.ID }
func (n *Node) fields() []field {
	return []field{
		text("id", &n.ID), text("account_id", &n.AccountID), text("zone_id", &n.ZoneID), text("name", &n.Name), text("description", &n.Description),
		text("ipaddress", &n.IPAddress), text("status", &n.Status), instant("status_updated_at", &n.StatusUpdatedAt), text("platform", &n.Platform),
		text("platform_id", &n.PlatformID), text("attestation_type", &n.AttestationType), text("sgx_version", &n.SGXVersion),
		document("sys_info", &n.SysInfo), document("labels", &n.Labels), document("error_report", &n.ErrorReport),
		text("certificate_id", &n.CertificateID), text("join_token_id", &n.JoinTokenID), instant("attested_at", &n.AttestedAt), instant("created_at", &n.CreatedAt),
	}
}

// NodeContact is what a node's agent last reported. It decides nothing.
type NodeContact struct {
	AccountID       string
	NodeID          string
	LastSeenAt      time.Time
	LastSeenVersion string
	ReportedStatus  string
}

func (c *NodeContact) table() table {
	return table{name: "node_contacts", kind: "node contact", id: "node_id"}
}
func (c *NodeContact) key() (string, string) { return c.AccountID, c.NodeID }
func (c *NodeContact) fields() []field {
	return []field{
		text("account_id", &c.AccountID), text("node_id", &c.NodeID), instant("last_seen_at", &c.LastSeenAt),
		text("last_seen_version", &c.LastSeenVersion), text("reported_status", &c.ReportedStatus),
	}
}

// States of a deployment.
const (
	AppRunning = "RUNNING"
	AppStopped = "STOPPED"
	AppUnknown = "UNKNOWN"
)

// Deployment says that a build received a certificate on a node. ID is the build's and the
// node's id joined by "/". It decides nothing.
type Deployment struct {
	AccountID       string
	ID              string
	AppID           string
	BuildID         string
	NodeID          string
	CertificateID   string // the newest
	Status          string
	StatusUpdatedAt time.Time
	AttestedAt      time.Time
	CreatedAt       time.Time
}

func (d *Deployment) table() table {
	return table{name: "deployments", kind: "deployment", id: "id"}
}
func (d *Deployment) key() (string, string) { return d.AccountID, d.ID }
func (d *Deployment) fields() []field {
	return []field{
		text("account_id", &d.AccountID), text("id", &d.ID), text("app_id", &d.AppID), text("build_id", &d.BuildID), text("node_id", &d.NodeID),
		text("certificate_id", &d.CertificateID), text("status", &d.Status), instant("status_updated_at", &d.StatusUpdatedAt),
		instant("attested_at", &d.AttestedAt), instant("created_at", &d.CreatedAt),
	}
}

// Kinds and states of a certificate.
const (
	CertificateNode = "node"
	CertificateApp  = "app"

	CertificatePending  = "PENDING"
	CertificateIssued   = "ISSUED"
	CertificateRejected = "REJECTED"
	CertificateRevoked  = "REVOKED"
	CertificateExpired  = "EXPIRED" // never stored: follows from NotAfter
)

// Certificate is a request for a certificate and what became of it.
type Certificate struct {
	ID          string
	AccountID   string
	ZoneID      string
	AuthorityID string // the zone CA that signed
	Kind        string
	Status      string
	NodeID      string
	AppID       string
	BuildID     string
	TaskID      string
	Serial      string // hexadecimal
	KeyHash     string // SHA-256 of the SubjectPublicKeyInfo in hexadecimal
	Subject     string
	CSR         string // PEM
	Certificate string // PEM, leaf first
	Details     CertificateDetails
	NotBefore   time.Time
	NotAfter    time.Time
	CreatedAt   time.Time
	RevokedAt   time.Time
	Stamp
}

// CertificateDetails is what was found when the request was judged.
type CertificateDetails struct {
	Issuer      string          `json:"issuer,omitempty"`
	MREnclave   string          `json:"mrenclave,omitempty"`
	MRSigner    string          `json:"mrsigner,omitempty"`
	ISVProdID   int             `json:"isvprodid,omitempty"`
	ISVSVN      int             `json:"isvsvn,omitempty"`
	CPUSVN      string          `json:"cpusvn,omitempty"`
	QuoteStatus string          `json:"quote_status,omitempty"`
	PlatformID  string          `json:"platform_id,omitempty"`
	Freshness   string          `json:"freshness,omitempty"` // "nonce" or "none"
	ConfigID    string          `json:"config_id,omitempty"`
	Debug       bool            `json:"debug,omitempty"`
	Simulated   bool            `json:"simulated,omitempty"`
	Reason      string          `json:"reason,omitempty"`
	Rules       json.RawMessage `json:"rules,omitempty"`
}

func (c *Certificate) table() table {
	return table{name: "certificates", kind: certificateKind, id: "id", protection: bulkRows}
}
func (c *Certificate) key() (string, string) { return c.AccountID, c.ID }
func (c *Certificate) fields() []field {
	return []field{
		text("id", &c.ID), text("account_id", &c.AccountID), text("zone_id", &c.ZoneID), text("authority_id", &c.AuthorityID), text("kind", &c.Kind),
		text("status", &c.Status), text("node_id", &c.NodeID), text("app_id", &c.AppID), text("build_id", &c.BuildID), text("task_id", &c.TaskID),
		text("serial", &c.Serial), text("key_hash", &c.KeyHash), text("subject", &c.Subject), text("csr", &c.CSR), text("certificate", &c.Certificate),
		document("details", &c.Details), instant("not_before", &c.NotBefore), instant("not_after", &c.NotAfter),
		instant("created_at", &c.CreatedAt), instant("revoked_at", &c.RevokedAt),
	}
}

// Nonce is a challenge that may be answered once. ID is its SHA-256 in hexadecimal.
type Nonce struct {
	ID        string
	AccountID string
	NodeID    string // empty before the node is enrolled
	Subject   string // what else it is bound to, for example "platform:<id>"
	Purpose   string
	CreatedAt time.Time
	ExpiresAt time.Time
	Stamp
}

func (n *Nonce) table() table {
	return table{name: "nonces", kind: "nonce", id: "id", protection: sealedRows}
}
func (n *Nonce) key() (string, string) { return n.AccountID, n.ID }
func (n *Nonce) fields() []field {
	return []field{
		text("id", &n.ID), text("account_id", &n.AccountID), text("node_id", &n.NodeID), text("subject", &n.Subject), text("purpose", &n.Purpose),
		instant("created_at", &n.CreatedAt), instant("expires_at", &n.ExpiresAt),
	}
}
