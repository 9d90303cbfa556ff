package wire

// Task is an approval that a person gives or refuses.
type Task struct {
	TaskID         string         `json:"task_id"`
	RequesterInfo  RequesterInfo  `json:"requester_info"`
	EntityID       string         `json:"entity_id"`
	TaskType       string         `json:"task_type"`
	Status         TaskStatus     `json:"status"`
	Description    string         `json:"description,omitempty"`
	Approvals      []ApprovalInfo `json:"approvals"`
	DomainsAdded   []string       `json:"domains_added,omitempty"`
	DomainsRemoved []string       `json:"domains_removed,omitempty"`
	// Digest is the SHA-256 over what the approval covers; an approval that gives another
	// one is refused as stale. Details shows the same things to a person. Extensions.
	Digest  string            `json:"digest,omitempty"`
	Details map[string]string `json:"details,omitempty"`
}

// TaskStatus is INPROGRESS, SUCCESS, DENIED or FAILED, and since when.
type TaskStatus struct {
	CreatedAt       int64  `json:"created_at"`
	StatusUpdatedAt int64  `json:"status_updated_at"`
	Status          string `json:"status"`
}

// RequesterInfo says who asked; RequesterType is USER, APP or SYSTEM.
type RequesterInfo struct {
	UserID        string `json:"user_id,omitempty"`
	UserName      string `json:"user_name,omitempty"`
	AppID         string `json:"app_id,omitempty"`
	AppName       string `json:"app_name,omitempty"`
	RequesterType string `json:"requester_type"`
}

// ApprovalInfo is one person's answer; Status is APPROVED or DENIED.
type ApprovalInfo struct {
	UserID       string `json:"user_id"`
	UserName     string `json:"user_name,omitempty"`
	Status       string `json:"status,omitempty"`
	DenialReason string `json:"denial_reason,omitempty"`
}

// TaskUpdate is the body of PATCH /v1/tasks/{id}.
type TaskUpdate struct {
	Status       string `json:"status"` // APPROVED or DENIED
	DenialReason string `json:"denial_reason,omitempty"`
	Digest       string `json:"digest,omitempty"` // of the task as it was seen; extension
}

// TaskResult is the reply to requests that may have to wait for an approval.
type TaskResult struct {
	TaskID        string      `json:"task_id,omitempty"`
	CertificateID string      `json:"certificate_id,omitempty"`
	NodeID        string      `json:"node_id,omitempty"`
	BuildID       string      `json:"build_id,omitempty"`
	TaskType      string      `json:"task_type,omitempty"`
	TaskStatus    *TaskStatus `json:"task_status,omitempty"`
	// Extensions: the certificate at once (leaf and zone CA, PEM), the account root (PEM),
	// and why a request was refused or what it waits for.
	Certificate string `json:"certificate,omitempty"`
	AccountRoot string `json:"account_root,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Rules       []Rule `json:"rules,omitempty"`
}

// Certificate is a certificate request or an issued certificate.
type Certificate struct {
	CertificateID string `json:"certificate_id,omitempty"`
	Status        string `json:"status,omitempty"` // PENDING, ISSUED, REJECTED, REVOKED, EXPIRED
	CSR           string `json:"csr,omitempty"`
	Certificate   string `json:"certificate,omitempty"`
	NodeID        string `json:"node_id,omitempty"`
	AppID         string `json:"app_id,omitempty"`
	BuildID       string `json:"build_id,omitempty"`
}

// CertificateDetails is a certificate for people.
type CertificateDetails struct {
	EnclaveInfo    *EnclaveInfo `json:"enclave_info,omitempty"`
	SubjectName    string       `json:"subject_name"`
	IssuerName     string       `json:"issuer_name"`
	ValidUntil     int64        `json:"valid_until"`
	ValidFrom      int64        `json:"valid_from"`
	CPUSVN         string       `json:"cpusvn"`
	IASQuoteStatus string       `json:"ias_quote_status"`
}

// Node is a compute node.
type Node struct {
	NodeID          string            `json:"node_id"`
	Name            string            `json:"name"`
	Description     string            `json:"description,omitempty"`
	AcctID          string            `json:"acct_id"`
	ZoneID          string            `json:"zone_id"`
	IPAddress       string            `json:"ipaddress,omitempty"`
	Status          NodeStatus        `json:"status"`
	AttestedAt      int64             `json:"attested_at,omitempty"`
	Certificate     string            `json:"certificate,omitempty"`
	Apps            []AppNodeInfo     `json:"apps"`
	SGXInfo         SGXInfo           `json:"sgx_info"`
	SysInfo         *SysInfo          `json:"sys_info,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Platform        string            `json:"platform,omitempty"` // platform id, lower-case hexadecimal
	AttestationType string            `json:"attestation_type,omitempty"`
	ErrorReport     *NodeErrorReport  `json:"error_report,omitempty"`
}

// NodeStatus is RUNNING, STOPPED, FAILED, DEACTIVATED, INPROGRESS or PROVISIONED.
type NodeStatus struct {
	Status          string `json:"status"`
	CreatedAt       int64  `json:"created_at"`
	StatusUpdatedAt int64  `json:"status_updated_at"`
	LastSeenAt      int64  `json:"last_seen_at,omitempty"`
	LastSeenVersion string `json:"last_seen_version,omitempty"`
}

// SGXInfo is the version of the platform software.
type SGXInfo struct {
	Version string `json:"version,omitempty"`
}

// SysInfo is the size of a node. EPCSize and TotalMemory are in bytes.
type SysInfo struct {
	EPCSize     int64 `json:"epc_size"`
	NumCPUCores int32 `json:"num_cpu_cores"`
	TotalMemory int64 `json:"total_memory,omitempty"`
}

// NodeErrorReport is why a node could not be attested.
type NodeErrorReport struct {
	Message string `json:"message"`
	Name    string `json:"name"`
}

// NodePrepare is the body of POST /v1/nodes/prepare (join token). Extension.
type NodePrepare struct {
	AttestationType   string `json:"attestation_type"`    // "SIMULATED" or "DCAP"
	PlatformPublicKey []byte `json:"platform_public_key"` // DER SubjectPublicKeyInfo of the simulated platform's PCK key
	PlatformID        string `json:"platform_id"`         // 16 bytes in hexadecimal
}

// NodePrepared is its reply. Extension.
type NodePrepared struct {
	Nonce       []byte `json:"nonce"` // 32 bytes
	AccountID   string `json:"account_id"`
	ZoneID      string `json:"zone_id"`
	AccountRoot string `json:"account_root"`        // PEM
	PCKChain    string `json:"pck_chain,omitempty"` // PEM: PCK certificate, its CA, the simulated root
	ManagerSNI  string `json:"manager_sni"`
}

// NodeProvision is the body of POST /v1/nodes (join token).
type NodeProvision struct {
	Name               string              `json:"name"`
	Description        string              `json:"description,omitempty"`
	IPAddress          string              `json:"ipaddress"`
	SysInfo            *SysInfo            `json:"sys_info,omitempty"`
	SGXVersion         string              `json:"sgx_version"`
	AttestationRequest *AttestationRequest `json:"attestation_request,omitempty"`
	ErrorReport        *NodeErrorReport    `json:"error_report,omitempty"`
	HostID             string              `json:"host_id,omitempty"`
}

// AttestationRequest carries the node's evidence.
type AttestationRequest struct {
	IASQuote        []byte `json:"ias_quote,omitempty"`
	CSR             string `json:"csr"`
	AttestationType string `json:"attestation_type,omitempty"`
}

// NodeStatusRequest is the body of POST /v1/node/status (node certificate).
type NodeStatusRequest struct {
	Name        string          `json:"name"`
	IPAddress   string          `json:"ipaddress"`
	SGXVersion  string          `json:"sgx_version"`
	Description string          `json:"description,omitempty"`
	Status      string          `json:"status,omitempty"`
	Version     string          `json:"version,omitempty"` // of the agent; extension
	Apps        []NodeAppStatus `json:"apps,omitempty"`    // extension
}

// NodeAppStatus is the state of one application as its node sees it. Extension.
type NodeAppStatus struct {
	CertificateID string `json:"certificate_id"`
	Status        string `json:"status"` // RUNNING or STOPPED
}

// NodeStatusReply says how often to report and when to renew.
type NodeStatusReply struct {
	NodeRefreshInterval  int64 `json:"node_refresh_interval"`  // seconds
	NodeRenewalThreshold int64 `json:"node_renewal_threshold"` // percent of the certificate's life that may pass
}

// NonceRequest is the body of POST /v1/nodes/{id}/nonces (node certificate). Extension.
type NonceRequest struct {
	Purpose string `json:"purpose"`
	Count   int    `json:"count,omitempty"` // how many, at most 64; 0 means 1
}

// NonceReply is its reply. Extension.
type NonceReply struct {
	Nonce     []byte   `json:"nonce"`
	More      [][]byte `json:"more,omitempty"` // beside the first one, where several were asked for
	ExpiresAt int64    `json:"expires_at"`
}

// CertificateRequest is the body of POST /v1/certificates and of POST /v1/nodes/{id}/certificate.
type CertificateRequest struct {
	CSR    string `json:"csr"`
	NodeID string `json:"node_id,omitempty"`
}

// AuditEvent is one entry of the audit log.
type AuditEvent struct {
	LogID       string `json:"log_id"`
	ZoneID      string `json:"zone_id,omitempty"`
	Severity    string `json:"severity"`
	Description string `json:"description"`
	Timestamp   int64  `json:"timestamp"`
	ActionType  string `json:"action_type"`
	ActorType   string `json:"actor_type"`
	UserID      string `json:"user_id"`
	UserName    string `json:"user_name"`
	AppID       string `json:"app_id"`
	AppName     string `json:"app_name"`
	NodeID      string `json:"node_id"`
	NodeName    string `json:"node_name"`
}

// NodeUpdate is the body of PATCH /v1/nodes/{id}.
type NodeUpdate struct {
	Patch []PatchOp `json:"patch"`
}
