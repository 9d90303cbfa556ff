package wire

// Session describes a session; the token itself is in AuthReply only.
type Session struct {
	SubjectID             string `json:"subject_id"`
	SessionExpiresAt      int64  `json:"session_expires_at"`
	SessionTokenExpiresAt int64  `json:"session_token_expires_at"`
	SelectedAccountID     string `json:"selected_account_id,omitempty"`
}

// AuthReply is the reply of POST /v1/sys/auth.
type AuthReply struct {
	AccessToken string  `json:"access_token"`
	SessionInfo Session `json:"session_info"`
}

// SessionReply is the reply of refresh and select_account.
type SessionReply struct {
	SessionInfo Session `json:"session_info"`
}

// SignUp is the body of POST /v1/users.
type SignUp struct {
	UserEmail    string `json:"user_email"`
	UserPassword string `json:"user_password"`
	FirstName    string `json:"first_name,omitempty"`
	LastName     string `json:"last_name,omitempty"`
	// OneTimeCode is the code that the manager prints at its first start; who presents it
	// becomes the system administrator. Extension.
	OneTimeCode string `json:"one_time_code,omitempty"`
}

// Invite is the body of POST /v1/users/invite.
type Invite struct {
	UserEmail string   `json:"user_email"`
	Roles     []string `json:"roles"`
	FirstName string   `json:"first_name,omitempty"`
	LastName  string   `json:"last_name,omitempty"`
}

// ProcessInvite is the body of POST /v1/users/process_invite.
type ProcessInvite struct {
	Accepts []string `json:"accepts,omitempty"`
	Rejects []string `json:"rejects,omitempty"`
}

// User is a person with a log-in.
type User struct {
	UserID              string   `json:"user_id"`
	UserEmail           string   `json:"user_email"`
	FirstName           string   `json:"first_name,omitempty"`
	LastName            string   `json:"last_name,omitempty"`
	LastLoggedInAt      int64    `json:"last_logged_in_at,omitempty"`
	CreatedAt           int64    `json:"created_at,omitempty"`
	EmailVerified       bool     `json:"email_verified"`
	Status              string   `json:"status,omitempty"`
	Roles               []string `json:"roles,omitempty"`
	UserAccountStatus   string   `json:"user_account_status,omitempty"`
	AcceptedLatestTerms bool     `json:"accepted_latest_terms_and_conditions"`
	SystemAdministrator bool     `json:"system_administrator,omitempty"` // extension
}

// UpdateUser is the body of PATCH /v1/users/{id}.
type UpdateUser struct {
	FirstName         *string  `json:"first_name,omitempty"`
	LastName          *string  `json:"last_name,omitempty"`
	Roles             []string `json:"roles,omitempty"`
	UserAccountStatus string   `json:"user_account_status,omitempty"`
	UserEmail         string   `json:"user_email,omitempty"`
}

// APITokenRequest is the body of POST /v1/user/tokens. Extension.
type APITokenRequest struct {
	Name      string `json:"name"`
	ExpiresIn int64  `json:"expires_in,omitempty"` // seconds; 0 means 90 days
}

// APIToken is a long-lived token of a user for machines. Extension.
type APIToken struct {
	TokenID   string `json:"token_id"`
	Name      string `json:"name"`
	Token     string `json:"token,omitempty"` // only in the reply that creates it
	CreatedAt int64  `json:"created_at"`
	ExpiresAt int64  `json:"expires_at"`
}

// NodeEnrollment is the rule for enrolling nodes; true marks a test-only account.
type NodeEnrollment struct {
	AttestationEnforcementDisabledInsecure bool `json:"attestation_enforcement_disabled_insecure"`
}

// AccountRequest is the body of POST /v1/accounts.
type AccountRequest struct {
	Name           string          `json:"name"`
	CustomLogo     string          `json:"custom_logo,omitempty"`
	NodeEnrollment *NodeEnrollment `json:"node_enrollment,omitempty"`
	Component      string          `json:"component,omitempty"`
	// FourEyes forbids that a requester approves the own request. Extension.
	FourEyes bool `json:"four_eyes,omitempty"`
}

// AccountUpdate is the body of PATCH /v1/accounts/{id}.
type AccountUpdate struct {
	Name          *string `json:"name,omitempty"`
	CustomLogo    *string `json:"custom_logo,omitempty"`
	AccountStatus string  `json:"account_status,omitempty"`
	FourEyes      *bool   `json:"four_eyes,omitempty"` // extension
	// Attestation changes the members that are there. Extension.
	Attestation *AttestationUpdate `json:"attestation,omitempty"`
}

// AttestationRules are what an account demands of evidence beyond its being
// authentic. Extension.
type AttestationRules struct {
	// TCBStatuses are those accepted, in Intel's words; UpToDate is always among them.
	TCBStatuses []string `json:"tcb_statuses"`
	// MinTCBEvaluation is the lowest tcbEvaluationDataNumber of collateral; 0 is none. It only rises.
	MinTCBEvaluation int `json:"min_tcb_evaluation"`
	// AcceptBareBinding admits evidence over the hash of a key alone, without a nonce, once for each key.
	AcceptBareBinding bool `json:"accept_bare_binding"`
}

// AttestationUpdate changes the rules whose members are there. Extension.
type AttestationUpdate struct {
	TCBStatuses       *[]string `json:"tcb_statuses,omitempty"`
	MinTCBEvaluation  *int      `json:"min_tcb_evaluation,omitempty"`
	AcceptBareBinding *bool     `json:"accept_bare_binding,omitempty"`
}

// Account is a tenant.
type Account struct {
	AcctID         string         `json:"acct_id"`
	Name           string         `json:"name"`
	CreatedAt      int64          `json:"created_at"`
	Roles          []string       `json:"roles,omitempty"`
	CustomLogo     string         `json:"custom_logo,omitempty"`
	Status         string         `json:"status,omitempty"`
	AuthConfigs    map[string]any `json:"auth_configs"`
	NodeEnrollment NodeEnrollment `json:"node_enrollment"`
	Component      string         `json:"component"`
	AccountStatus  string         `json:"account_status"`
	Totals         *ObjectCounts  `json:"totals,omitempty"`
	FourEyes       bool           `json:"four_eyes"` // extension
	// Attestation is always there. Extension.
	Attestation *AttestationRules `json:"attestation,omitempty"`
}

// ObjectCounts are the totals of an account.
type ObjectCounts struct {
	Datasets       int `json:"datasets"`
	FinalWorkflows int `json:"final_workflows"`
	Nodes          int `json:"nodes"`
}

// RootReply is the reply of GET /v1/accounts/{id}/root and …/simulated-root. Extension.
type RootReply struct {
	Certificate string `json:"certificate"` // PEM
	SPKISHA256  string `json:"spki_sha256"`
	EndsAt      int64  `json:"ends_at"`
	Warning     string `json:"warning,omitempty"` // when it ends soon
}

// Zone is a certificate authority of an account.
type Zone struct {
	AcctID               string         `json:"acct_id"`
	ZoneID               string         `json:"zone_id"`
	Name                 string         `json:"name"`
	Description          string         `json:"description,omitempty"`
	Certificate          string         `json:"certificate"`            // PEM of the zone CA
	NodeRefreshInterval  int64          `json:"node_refresh_interval"`  // seconds
	NodeRenewalThreshold int64          `json:"node_renewal_threshold"` // percent of a certificate's life
	NodeEnrollment       NodeEnrollment `json:"node_enrollment"`
	CertificateEndsAt    int64          `json:"certificate_ends_at,omitempty"` // extension
}

// ZoneToken is the reply of GET /v1/zones/{id}/token.
type ZoneToken struct {
	Token string `json:"token"`
}

// ZoneCertificates is the reply of GET /v1/zones/{id}/certificates.
type ZoneCertificates struct {
	CurrentCertificate   string   `json:"current_certificate"`
	NextCertificate      string   `json:"next_certificate,omitempty"`
	PreviousCertificates []string `json:"previous_certificates"`
}

// JoinTokenRequest is the body of POST /v1/zones/{id}/join-tokens. Extension.
type JoinTokenRequest struct {
	Uses      int   `json:"uses,omitempty"`       // 0 means 1
	ExpiresIn int64 `json:"expires_in,omitempty"` // seconds; 0 means one hour
}

// JoinToken is a join token; its text is only in the reply that creates it. Extension.
type JoinToken struct {
	TokenID   string `json:"token_id"`
	Token     string `json:"token,omitempty"`
	Uses      int    `json:"uses"`
	Used      int    `json:"used"`
	ExpiresAt int64  `json:"expires_at"`
	CreatedAt int64  `json:"created_at"`
	Revoked   bool   `json:"revoked"`
}

// PasswordChange is the body of POST /v1/users/change_password.
type PasswordChange struct {
	CurrentPassword string `json:"current_password"`
	NewPassword     string `json:"new_password"`
}
