package storetest

import (
	"context"
	"encoding/json"
	"time"

	"hitoku.dev/internal/manager/store"
)

// Account and User are the owners of the sample rows.
var (
	AccountID = ID(1)
	OtherID   = ID(2)
	UserID    = ID(3)
)

var at = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

// Sample is one row of each table that accounts own, with what the tests do to it.
type Sample struct {
	Kind  string
	Table string
	Where string // finds the row in SQL
	// Flips are SQL assignments that somebody with the database could make.
	Flips  []string
	Insert func(context.Context, *store.Tx) error
	// Get reads the row by its id from an account.
	Get func(ctx context.Context, tx *store.Tx, account string) (any, error)
	// Change reads the row, changes it and stores it.
	Change func(context.Context, *store.Tx) error
	Delete func(context.Context, *store.Tx) error
}

type rows[T any] interface {
	Get(ctx context.Context, account, id string) (*T, error)
	Insert(context.Context, *T) error
	Update(context.Context, *T) error
	Delete(context.Context, *T) error
}

func sample[T any](kind, table, idColumn, id string, row T, open func(*store.Tx) rows[T], change func(*T), flips ...string) Sample {
	return Sample{
		Kind: kind, Table: table, Where: idColumn + " = '" + id + "'", Flips: flips,
		Insert: func(ctx context.Context, tx *store.Tx) error { r := row; return open(tx).Insert(ctx, &r) },
		Get: func(ctx context.Context, tx *store.Tx, account string) (any, error) {
			return open(tx).Get(ctx, account, id)
		},
		Change: func(ctx context.Context, tx *store.Tx) error {
			r, err := open(tx).Get(ctx, AccountID, id)
			if err != nil {
				return err
			}
			change(r)
			return open(tx).Update(ctx, r)
		},
		Delete: func(ctx context.Context, tx *store.Tx) error {
			r, err := open(tx).Get(ctx, AccountID, id)
			if err != nil {
				return err
			}
			return open(tx).Delete(ctx, r)
		},
	}
}

// Samples returns a row of each protected table of an account, each member set.
func Samples() []Sample {
	a := AccountID
	yes := true
	return []Sample{
		sample("authority", "authorities", "id", ID(10), store.Authority{ID: ID(10), AccountID: a, ZoneID: ID(12), Kind: store.AuthorityZone, State: store.AuthorityCurrent, Certificate: "PEM", SealedKey: []byte{0, 1, 255}, CreatedAt: at},
			func(tx *store.Tx) rows[store.Authority] { return tx.Authorities() },
			func(r *store.Authority) { r.State = store.AuthorityPrevious },
			"state = 'PREVIOUS'", "certificate = 'EVIL'", "kind = 'root'"),
		sample("API token", "api_tokens", "id", ID(11), store.APIToken{ID: ID(11), AccountID: a, Name: "ci", SecretHash: "aa", Roles: []store.Role{store.Reader}, CreatedBy: UserID, CreatedAt: at, ExpiresAt: at.Add(time.Hour)},
			func(tx *store.Tx) rows[store.APIToken] { return tx.APITokens() },
			func(r *store.APIToken) { r.Roles = nil },
			`roles = '["MANAGER"]'`, "expires_at = expires_at + 1", "secret_hash = 'bb'"),
		sample("zone", "zones", "id", ID(12), store.Zone{ID: ID(12), AccountID: a, Name: "default", Description: "d", Default: true, RefreshInterval: 60, RenewalThreshold: 50, CreatedAt: at},
			func(tx *store.Tx) rows[store.Zone] { return tx.Zones() },
			func(r *store.Zone) { r.RefreshInterval = 30 },
			"refresh_interval = 9999", "is_default = FALSE"),
		sample("join token", "join_tokens", "id", ID(13), store.JoinToken{ID: ID(13), AccountID: a, ZoneID: ID(12), Kind: store.JoinTokenZone, SecretHash: "cc", Sealed: []byte("x"), Status: store.JoinTokenActive, UsesLimit: 1, Uses: 0, CreatedBy: UserID, CreatedAt: at, ExpiresAt: at.Add(time.Hour)},
			func(tx *store.Tx) rows[store.JoinToken] { return tx.JoinTokens() },
			func(r *store.JoinToken) { r.Uses = 1 },
			"uses_limit = 0", "uses = -5", "status = 'REVOKED'", "secret_hash = 'dd'", "expires_at = expires_at + 1"),
		sample("application", "apps", "id", ID(14), store.App{
			ID: ID(14), AccountID: a, Name: "Flask", Description: "d", InputImage: "in", OutputImage: "out", ISVProdID: 1, ISVSVN: 2, MemSize: 1024, Threads: 128,
			AllowedDomains: []string{"a.example"}, Labels: map[string]string{"k": "v<&>\u2028"}, Settings: store.AppSettings{
				DefaultBuild: json.RawMessage(`{"sgx": {"isvprodid": 1}}`), Advanced: json.RawMessage(`{"a":[1,2.50,1e3]}`),
				CertificatePolicy: &store.CertificatePolicy{RequireKnownImage: true, RequireKnownNode: &yes}, Signers: []store.AppSigner{{SGX: &store.SGXSigner{MRSigner: "ee", ISVProdID: 1}}},
			},
			PendingTaskID: ID(16), CreatedBy: UserID, CreatedAt: at, UpdatedAt: at,
		},
			func(tx *store.Tx) rows[store.App] { return tx.Apps() },
			func(r *store.App) { r.ISVSVN = 3 },
			`settings = '{"certificate_policy":{"require_known_image":false,"require_known_signer":false}}'`, `allowed_domains = '["evil.example"]'`, "isvsvn = 0", "name = 'Other'", "pending_task_id = ''", "settings = 'not JSON'"),
		sample("domain", "domains", "name", "a.example", store.Domain{AccountID: a, Name: "a.example", AppID: ID(14), TaskID: ID(16), CreatedAt: at},
			func(tx *store.Tx) rows[store.Domain] { return tx.Domains() },
			func(r *store.Domain) { r.TaskID = ID(17) },
			"app_id = '"+ID(99)+"'", "task_id = ''"),
		sample("build", "builds", "id", ID(15), store.Build{
			ID: ID(15), AccountID: a, AppID: ID(14), Status: store.BuildPending, StatusUpdatedAt: at, Digest: "ff", MREnclave: "0a", MRSigner: "0b", ISVProdID: 1, ISVSVN: 2, MemSize: 1024, Threads: 4,
			DockerName: "img", DockerVersion: "latest", DockerInfo: json.RawMessage(`{"docker_image_size":5}`), Attributes: map[string]json.RawMessage{"simulated": json.RawMessage(`{"measurement":"0a"}`)},
			Measurements: []store.Measurement{{Kind: "simulated", Value: "0a"}}, Settings: store.BuildSettings{OverlayPersistence: &yes, Debug: true}, Configs: map[string]json.RawMessage{"c": json.RawMessage("{}")},
			PendingTaskID: ID(16), CreatedBy: UserID, CreatedAt: at, UpdatedAt: at,
		},
			func(tx *store.Tx) rows[store.Build] { return tx.Builds() },
			func(r *store.Build) { r.Status = store.BuildRejected },
			"status = 'WHITELISTED'", "mrenclave = '0c'", "mrsigner = '0c'", `measurements = '[{"kind":"simulated","value":"0c"}]'`, "isvprodid = 9", "isvsvn = 9", "digest = ''", "configs = '{}'", "app_id = '"+ID(99)+"'", "version = 2"),
		sample("task", "tasks", "id", ID(16), store.Task{
			ID: ID(16), AccountID: a, Type: store.TaskBuild, Status: store.TaskInProgress, StatusUpdatedAt: at, RequesterType: "USER", RequesterID: UserID, RequesterName: "u", EntityID: ID(15), AppID: ID(14), BuildID: ID(15),
			Description: "d", Subject: json.RawMessage(`{"measurement":"0a"}`), Digest: "ff", Approvals: []store.Approval{{UserID: UserID, Status: store.Approved, Digest: "ff", At: at}}, CreatedAt: at,
		},
			func(tx *store.Tx) rows[store.Task] { return tx.Tasks() },
			func(r *store.Task) { r.Status = store.TaskDenied },
			"status = 'SUCCESS'", "type = 'DOMAIN_WHITELIST'", "requester_id = ''", "entity_id = '"+ID(99)+"'", "digest = ''", `subject = '{}'`, "approvals = '[]'", "reason = 'x'"),
		sample("node", "nodes", "id", ID(17), store.Node{
			ID: ID(17), AccountID: a, ZoneID: ID(12), Name: "n", IPAddress: "10.0.0.1", Status: store.NodeInProgress, StatusUpdatedAt: at, Platform: "p", PlatformID: "0d", AttestationType: "SIMULATED", SGXVersion: "1",
			SysInfo: json.RawMessage(`{"epc_size":1}`), Labels: map[string]string{"x": "y"}, ErrorReport: json.RawMessage("null"), CertificateID: ID(18), JoinTokenID: ID(13), AttestedAt: at, CreatedAt: at,
		},
			func(tx *store.Tx) rows[store.Node] { return tx.Nodes() },
			func(r *store.Node) { r.Status = store.NodeDeactivated },
			"status = 'RUNNING'", "platform_id = '0e'", `labels = '{"gpu":"yes"}'`, "attestation_type = 'DCAP'", "zone_id = ''"),
		sample("certificate", "certificates", "id", ID(18), store.Certificate{
			ID: ID(18), AccountID: a, ZoneID: ID(12), AuthorityID: ID(10), Kind: store.CertificateApp, Status: store.CertificateIssued, NodeID: ID(17), AppID: ID(14), BuildID: ID(15), Serial: "01", KeyHash: "02", Subject: "CN=a", CSR: "csr", Certificate: "pem",
			Details: store.CertificateDetails{MREnclave: "0a", Rules: json.RawMessage("[]")}, NotBefore: at, NotAfter: at.Add(time.Hour), CreatedAt: at,
		},
			func(tx *store.Tx) rows[store.Certificate] { return tx.Certificates() },
			func(r *store.Certificate) { r.Status, r.RevokedAt = store.CertificateRevoked, at },
			"status = 'REVOKED'", "not_after = not_after + 1", "serial = '99'"),
		sample("registry", "registries", "id", ID(19), store.Registry{ID: ID(19), AccountID: a, URL: "https://r.example", Username: "u", Sealed: []byte{}, Description: "d", CreatedAt: at, UpdatedAt: at},
			func(tx *store.Tx) rows[store.Registry] { return tx.Registries() },
			func(r *store.Registry) { r.Username = "v" },
			"url = 'https://evil.example'", "username = 'w'"),
		sample("configuration", "configurations", "id", "c0", store.Configuration{AccountID: a, ID: "c0", Name: "n", Content: json.RawMessage(`{"a":{"contents":"eA=="}}`), Ports: []string{"p"}, CreatedAt: at, UpdatedAt: at},
			func(tx *store.Tx) rows[store.Configuration] { return tx.Configurations() },
			func(r *store.Configuration) { r.Name = "m" },
			`content = '{}'`, "name = 'x'"),
		sample("membership", "memberships", "user_id", UserID, store.Membership{AccountID: a, UserID: UserID, Roles: []store.Role{store.Reader}, Status: store.UserActive, InvitedBy: UserID, CreatedAt: at},
			func(tx *store.Tx) rows[store.Membership] { return tx.Memberships() },
			func(r *store.Membership) { r.Status = store.UserDisabled },
			`roles = '["READER","WRITER","MANAGER"]'`, "status = 'PENDING'"),
	}
}

// Seed stores the two accounts and the user that own the samples.
func Seed(ctx context.Context, s *store.Store) error {
	return s.Update(ctx, func(tx *store.Tx) error {
		for i, id := range []string{AccountID, OtherID} {
			acct := &store.Account{ID: id, Name: "Acme " + string(rune('A'+i)), TestOnly: i == 0, Status: store.AccountActive, Component: "DEFAULT", CreatedBy: UserID, CreatedAt: at, UpdatedAt: at}
			if err := tx.Accounts().Insert(ctx, acct); err != nil {
				return err
			}
		}
		u := &store.User{ID: UserID, Email: "Ann@Example.org", FirstName: "Ann", PasswordHash: "h", Status: store.UserActive, CreatedAt: at, UpdatedAt: at}
		if err := tx.Users().Insert(ctx, u); err != nil {
			return err
		}
		return tx.Audit(ctx, Event("SEEDED"))
	})
}

// Event returns an audit event of the first sample account.
func Event(code string) *store.Event {
	return &store.Event{AccountID: AccountID, Severity: "INFO", Code: code, ActionType: "ADMIN", ActorType: "USER", UserID: UserID, Description: code}
}
