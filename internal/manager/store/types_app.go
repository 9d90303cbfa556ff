package store

import (
	"encoding/json"
	"strings"
	"time"
)

// fold is the form in which names are compared.
func fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// App is an application: what builds are made of and names are approved for.
type App struct {
	ID             string
	AccountID      string
	Name           string // unique in the account without regard to case
	Description    string
	InputImage     string
	OutputImage    string
	ISVProdID      int
	ISVSVN         int
	MemSize        int64 // MiB
	Threads        int
	AllowedDomains []string // asked for; see Domain for those approved
	Labels         map[string]string
	Settings       AppSettings
	PendingTaskID  string // the open DOMAIN_WHITELIST task
	CreatedBy      string
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Stamp
}

// AppSettings are the parts of an application that are kept as they came.
type AppSettings struct {
	DefaultBuild      json.RawMessage    `json:"default_build_settings,omitempty"`
	Advanced          json.RawMessage    `json:"advanced_settings,omitempty"`
	CustomMetadata    map[string]string  `json:"custom_metadata,omitempty"`
	CertificatePolicy *CertificatePolicy `json:"certificate_policy,omitempty"`
	Signers           []AppSigner        `json:"signers,omitempty"`
	GroupID           string             `json:"group_id,omitempty"`
}

// CertificatePolicy says what must be known before a certificate is issued.
type CertificatePolicy struct {
	RequireKnownImage  bool  `json:"require_known_image"`
	RequireKnownSigner bool  `json:"require_known_signer"`
	RequireKnownNode   *bool `json:"require_known_node,omitempty"`
}

// AppSigner names a signer whose images are known; exactly one member is set.
type AppSigner struct {
	SGX   *SGXSigner   `json:"sgx,omitempty"`
	Nitro *NitroSigner `json:"nitro_enclave,omitempty"`
}

// SGXSigner is MRSIGNER in hexadecimal with a product id.
type SGXSigner struct {
	MRSigner  string `json:"mrsigner"`
	ISVProdID int    `json:"isvprodid"`
}

// NitroSigner is the SHA-384 of the signer's certificate, PCR8, in hexadecimal.
type NitroSigner struct {
	PCR8 string `json:"pcr8"`
}

func (a *App) table() table {
	return table{name: "apps", kind: "application", id: "id", protection: auditedRows}
}
func (a *App) key() (string, string) { return a.AccountID, a.ID }
func (a *App) fields() []field {
	nameKey := fold(a.Name)
	return []field{
		text("id", &a.ID), text("account_id", &a.AccountID), text("name", &a.Name), text("name_key", &nameKey), text("description", &a.Description),
		text("input_image", &a.InputImage), text("output_image", &a.OutputImage), number("isvprodid", &a.ISVProdID), number("isvsvn", &a.ISVSVN),
		number("mem_size", &a.MemSize), number("threads", &a.Threads), document("allowed_domains", &a.AllowedDomains), document("labels", &a.Labels),
		document("settings", &a.Settings), text("pending_task_id", &a.PendingTaskID), text("created_by", &a.CreatedBy),
		instant("created_at", &a.CreatedAt), instant("updated_at", &a.UpdatedAt),
	}
}

// Domain is a name approved for an application; it belongs to no other of its account.
type Domain struct {
	AccountID string
	Name      string // lower case
	AppID     string
	TaskID    string // the task that approved it
	CreatedAt time.Time
	Stamp
}

func (d *Domain) table() table {
	return table{name: "domains", kind: "domain", id: "name", protection: auditedRows}
}
func (d *Domain) key() (string, string) { return d.AccountID, d.Name }
func (d *Domain) fields() []field {
	return []field{
		text("account_id", &d.AccountID), text("name", &d.Name), text("app_id", &d.AppID), text("task_id", &d.TaskID), instant("created_at", &d.CreatedAt),
	}
}

// States of a build.
const (
	BuildPending     = "PENDING"
	BuildWhitelisted = "WHITELISTED"
	BuildRejected    = "REJECTED"
)

// Build is one converted image of an application with its reference values.
type Build struct {
	ID              string
	AccountID       string
	AppID           string
	Status          string
	StatusUpdatedAt time.Time
	// Digest is the SHA-256, in hexadecimal, of all that an approver must have seen.
	Digest        string
	MREnclave     string // lower-case hexadecimal, as MRSigner
	MRSigner      string
	ISVProdID     int
	ISVSVN        int
	MemSize       int64 // MiB
	Threads       int
	DockerName    string
	DockerVersion string
	DockerInfo    json.RawMessage
	Attributes    map[string]json.RawMessage // by TEE
	Measurements  []Measurement
	Settings      BuildSettings
	Configs       map[string]json.RawMessage // attached application configurations by id
	PendingTaskID string
	CreatedBy     string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Stamp
}

// Measurement is a reference value of a build for one kind of TEE.
type Measurement struct {
	Kind  string `json:"kind"`  // "simulated", "sgx", "sgx2", "nitro_enclave", "baremetal_tdx", …
	Value string `json:"value"` // lower-case hexadecimal
}

// BuildSettings are the parts of a build that are kept as they came.
type BuildSettings struct {
	Advanced           json.RawMessage `json:"advanced_settings,omitempty"`
	LaunchHint         json.RawMessage `json:"launch_hint,omitempty"`
	OverlayPersistence *bool           `json:"enable_overlay_filesystem_persistence,omitempty"`
	GroupID            string          `json:"group_id,omitempty"`
	Debug              bool            `json:"debug,omitempty"`
}

func (b *Build) table() table {
	return table{name: "builds", kind: "build", id: "id", protection: auditedRows}
}
func (b *Build) key() (string, string) { return b.AccountID, b.ID }
func (b *Build) fields() []field {
	return []field{
		text("id", &b.ID), text("account_id", &b.AccountID), text("app_id", &b.AppID), text("status", &b.Status),
		instant("status_updated_at", &b.StatusUpdatedAt), text("digest", &b.Digest), text("mrenclave", &b.MREnclave), text("mrsigner", &b.MRSigner),
		number("isvprodid", &b.ISVProdID), number("isvsvn", &b.ISVSVN), number("mem_size", &b.MemSize), number("threads", &b.Threads),
		text("docker_name", &b.DockerName), text("docker_version", &b.DockerVersion), document("docker_info", &b.DockerInfo),
		document("attributes", &b.Attributes), document("measurements", &b.Measurements), document("settings", &b.Settings),
		document("configs", &b.Configs), text("pending_task_id", &b.PendingTaskID), text("created_by", &b.CreatedBy),
		instant("created_at", &b.CreatedAt), instant("updated_at", &b.UpdatedAt),
	}
}

// buildMeasurement finds a build. It decides nothing: see Tx.BuildByMeasurement.
type buildMeasurement struct {
	AccountID, Measurement, BuildID string
}

func (m *buildMeasurement) table() table {
	return table{name: "build_measurements", kind: "measurement", id: "measurement", recalled: true}
}
func (m *buildMeasurement) key() (string, string) { return m.AccountID, m.Measurement }
func (m *buildMeasurement) fields() []field {
	return []field{text("account_id", &m.AccountID), text("measurement", &m.Measurement), text("build_id", &m.BuildID)}
}

// States of a conversion.
const (
	ConversionRunning = "RUNNING"
	ConversionDone    = "DONE"
	ConversionFailed  = "FAILED"
)

// Conversion is a job that makes a build out of an image.
type Conversion struct {
	ID        string
	AccountID string
	AppID     string
	BuildID   string // once it is done
	Status    string
	Request   json.RawMessage // without credentials
	Progress  json.RawMessage
	Failure   string
	CreatedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
}

func (c *Conversion) table() table {
	return table{name: "conversions", kind: "conversion", id: "id"}
}
func (c *Conversion) key() (string, string) { return c.AccountID, c.ID }
func (c *Conversion) fields() []field {
	return []field{
		text("id", &c.ID), text("account_id", &c.AccountID), text("app_id", &c.AppID), text("build_id", &c.BuildID), text("status", &c.Status),
		document("request", &c.Request), document("progress", &c.Progress), text("failure", &c.Failure), text("created_by", &c.CreatedBy),
		instant("created_at", &c.CreatedAt), instant("updated_at", &c.UpdatedAt),
	}
}

// Types and states of a task.
const (
	TaskNodeAttestation = "NODE_ATTESTATION"
	TaskCertificate     = "CERTIFICATE_ISSUANCE"
	TaskBuild           = "BUILD_WHITELIST"
	TaskDomain          = "DOMAIN_WHITELIST"

	TaskInProgress = "INPROGRESS"
	TaskSuccess    = "SUCCESS"
	TaskDenied     = "DENIED"
	TaskFailed     = "FAILED"

	Approved = "APPROVED"
	Denied   = "DENIED"
)

// Task is a decision that people are asked for.
type Task struct {
	ID              string
	AccountID       string
	Type            string
	Status          string
	StatusUpdatedAt time.Time
	RequesterType   string // USER, APP, SYSTEM
	RequesterID     string
	RequesterName   string
	EntityID        string // what it is about: application, build, node or certificate
	AppID           string
	BuildID         string
	NodeID          string
	CertificateID   string
	Description     string
	Subject         json.RawMessage // what the approver must see
	Digest          string          // SHA-256 of Subject in hexadecimal (S19)
	Approvals       []Approval
	Reason          string // why it was denied or failed
	CreatedAt       time.Time
	Stamp
}

// Approval is one person's word on a task, with the digest of what that person saw.
type Approval struct {
	UserID       string    `json:"user_id"`
	UserName     string    `json:"user_name,omitempty"`
	Status       string    `json:"status"`
	DenialReason string    `json:"denial_reason,omitempty"`
	Digest       string    `json:"digest"`
	At           time.Time `json:"at"`
}

func (t *Task) table() table {
	return table{name: "tasks", kind: "task", id: "id", protection: auditedRows}
}
func (t *Task) key() (string, string) { return t.AccountID, t.ID }
func (t *Task) fields() []field {
	return []field{
		text("id", &t.ID), text("account_id", &t.AccountID), text("type", &t.Type), text("status", &t.Status),
		instant("status_updated_at", &t.StatusUpdatedAt), text("requester_type", &t.RequesterType), text("requester_id", &t.RequesterID),
		text("requester_name", &t.RequesterName), text("entity_id", &t.EntityID), text("app_id", &t.AppID), text("build_id", &t.BuildID),
		text("node_id", &t.NodeID), text("certificate_id", &t.CertificateID), text("description", &t.Description), document("subject", &t.Subject),
		text("digest", &t.Digest), document("approvals", &t.Approvals), text("reason", &t.Reason), instant("created_at", &t.CreatedAt),
	}
}

// Registry is a container registry with its log-in.
type Registry struct {
	ID          string
	AccountID   string
	URL         string // unique in the account without regard to case
	Username    string
	Sealed      []byte // password, encrypted under the master key
	Description string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Stamp
}

func (r *Registry) table() table {
	return table{name: "registries", kind: "registry", id: "id", protection: auditedRows}
}
func (r *Registry) key() (string, string) { return r.AccountID, r.ID }
func (r *Registry) fields() []field {
	urlKey := fold(r.URL)
	return []field{
		text("id", &r.ID), text("account_id", &r.AccountID), text("url", &r.URL), text("url_key", &urlKey), text("username", &r.Username),
		blob("sealed", &r.Sealed), text("description", &r.Description), instant("created_at", &r.CreatedAt), instant("updated_at", &r.UpdatedAt),
	}
}

// Configuration is an application configuration; its ID is the digest of its content.
type Configuration struct {
	AccountID   string
	ID          string // SHA-256 of the canonical content, hexadecimal
	Name        string
	Description string
	Content     json.RawMessage
	Ports       []string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Stamp
}

func (c *Configuration) table() table {
	return table{name: "configurations", kind: "configuration", id: "id", protection: auditedRows}
}
func (c *Configuration) key() (string, string) { return c.AccountID, c.ID }
func (c *Configuration) fields() []field {
	return []field{
		text("account_id", &c.AccountID), text("id", &c.ID), text("name", &c.Name), text("description", &c.Description), document("content", &c.Content),
		document("ports", &c.Ports), instant("created_at", &c.CreatedAt), instant("updated_at", &c.UpdatedAt),
	}
}
