package wire

// App is an application.
type App struct {
	AppID                string               `json:"app_id"`
	Name                 string               `json:"name"`
	Description          string               `json:"description,omitempty"`
	CreatedAt            int64                `json:"created_at"`
	UpdatedAt            int64                `json:"updated_at"`
	InputImageName       string               `json:"input_image_name"`
	OutputImageName      string               `json:"output_image_name"`
	ISVProdID            int32                `json:"isvprodid"`
	ISVSVN               int32                `json:"isvsvn"`
	MemSize              int64                `json:"mem_size"` // MiB
	Threads              int32                `json:"threads"`
	DefaultBuildSettings DefaultBuildSettings `json:"default_build_settings"`
	AllowedDomains       []string             `json:"allowed_domains"`
	WhitelistedDomains   []string             `json:"whitelisted_domains"`
	DomainsAdded         []string             `json:"domains_added"`
	DomainsRemoved       []string             `json:"domains_removed"`
	PendingTaskID        string               `json:"pending_task_id,omitempty"`
	Nodes                []AppNodeInfo        `json:"nodes"`
	AdvancedSettings     *AdvancedSettings    `json:"advanced_settings,omitempty"`
	Labels               map[string]string    `json:"labels,omitempty"`
	CustomMetadata       map[string]string    `json:"custom_metadata,omitempty"`
	CertificatePolicy    *CertificatePolicy   `json:"certificate_policy,omitempty"`
	Signers              []ApplicationSigner  `json:"signers,omitempty"`
	GroupID              string               `json:"group_id,omitempty"`
}

// AppRequest is the body of POST /v1/apps.
type AppRequest struct {
	Name                 string                `json:"name"`
	Description          string                `json:"description,omitempty"`
	InputImageName       string                `json:"input_image_name"`
	OutputImageName      string                `json:"output_image_name"`
	ISVProdID            *int32                `json:"isvprodid,omitempty"`
	ISVSVN               *int32                `json:"isvsvn,omitempty"`
	MemSize              *int64                `json:"mem_size,omitempty"`
	Threads              *int32                `json:"threads,omitempty"`
	DefaultBuildSettings *DefaultBuildSettings `json:"default_build_settings,omitempty"`
	AllowedDomains       []string              `json:"allowed_domains,omitempty"`
	AdvancedSettings     *AdvancedSettings     `json:"advanced_settings,omitempty"`
	Labels               map[string]string     `json:"labels,omitempty"`
	CustomMetadata       map[string]string     `json:"custom_metadata,omitempty"`
	CertificatePolicy    *CertificatePolicy    `json:"certificate_policy,omitempty"`
	Signers              []ApplicationSigner   `json:"signers,omitempty"`
	GroupID              string                `json:"group_id,omitempty"`
}

// AppUpdate is the body of PATCH /v1/apps/{id}; absent members stay as they are.
type AppUpdate struct {
	Description       *string             `json:"description,omitempty"`
	InputImageName    *string             `json:"input_image_name,omitempty"`
	OutputImageName   *string             `json:"output_image_name,omitempty"`
	ISVProdID         *int32              `json:"isvprodid,omitempty"`
	ISVSVN            *int32              `json:"isvsvn,omitempty"`
	MemSize           *int64              `json:"mem_size,omitempty"`
	Threads           *int32              `json:"threads,omitempty"`
	AllowedDomains    *[]string           `json:"allowed_domains,omitempty"`
	AdvancedSettings  *AdvancedSettings   `json:"advanced_settings,omitempty"`
	Labels            []PatchOp           `json:"labels,omitempty"`
	CustomMetadata    []PatchOp           `json:"custom_metadata,omitempty"`
	CertificatePolicy *CertificatePolicy  `json:"certificate_policy,omitempty"`
	Signers           []ApplicationSigner `json:"signers,omitempty"`
}

// DefaultBuildSettings are what new builds of an application start from.
type DefaultBuildSettings struct {
	SGX *SGXBuildSettings `json:"sgx,omitempty"`
}

// SGXBuildSettings are the settings of SGX builds.
type SGXBuildSettings struct {
	ISVProdID int32 `json:"isvprodid"`
	MemSize   int64 `json:"mem_size"` // MiB
	Threads   int32 `json:"threads"`
}

// AdvancedSettings are the converter's options in the published spelling.
type AdvancedSettings struct {
	Entrypoint       []string           `json:"entrypoint,omitempty"`
	EncryptedDirs    []string           `json:"encryptedDirs,omitempty"`
	Certificate      *CertificateConfig `json:"certificate,omitempty"`
	JavaRuntime      string             `json:"java_runtime,omitempty"`
	RWDirs           []string           `json:"rw_dirs,omitempty"`
	AllowCmdlineArgs bool               `json:"allowCmdlineArgs,omitempty"`
	ManifestEnv      []string           `json:"manifestEnv,omitempty"`
	MutableEnv       []string           `json:"mutableEnv,omitempty"`
}

// CertificateConfig asks for a certificate of the application.
type CertificateConfig struct {
	Issuer   string   `json:"issuer,omitempty"` // MANAGER_CA
	Subject  string   `json:"subject,omitempty"`
	AltNames []string `json:"altNames,omitempty"`
	KeyType  string   `json:"keyType,omitempty"` // RSA or EC
	KeyParam *struct {
		Size int32 `json:"size,omitempty"`
	} `json:"keyParam,omitempty"`
	KeyPath  string `json:"keyPath,omitempty"`
	CertPath string `json:"certPath,omitempty"`
}

// CertificatePolicy says which of an application's evidence must be known.
type CertificatePolicy struct {
	RequireKnownImage  bool `json:"require_known_image"`
	RequireKnownSigner bool `json:"require_known_signer"`
	RequireKnownNode   bool `json:"require_known_node"`
}

// ApplicationSigner names a signer whose builds are accepted.
type ApplicationSigner struct {
	SGX *SGXSigner `json:"sgx,omitempty"`
}

// SGXSigner is a signer of SGX enclaves and of simulated builds.
type SGXSigner struct {
	MRSigner  string `json:"mrsigner"`
	ISVProdID int32  `json:"isvprodid"`
}

// AppNodeInfo is one application on one node.
type AppNodeInfo struct {
	Certificate Certificate `json:"certificate"`
	CreatedAt   int64       `json:"created_at"`
	NodeID      string      `json:"node_id"`
	NodeName    string      `json:"node_name,omitempty"`
	Status      *AppStatus  `json:"status,omitempty"`
	BuildInfo   *Build      `json:"build_info,omitempty"`
	IsDebug     bool        `json:"is_debug,omitempty"`
}

// AppStatus is RUNNING, STOPPED or UNKNOWN.
type AppStatus struct {
	Status          string `json:"status"`
	StatusUpdatedAt int64  `json:"status_updated_at"`
	AttestedAt      int64  `json:"attested_at,omitempty"`
}

// Build is one converted image of an application.
type Build struct {
	BuildID          string                     `json:"build_id"`
	AppID            string                     `json:"app_id"`
	AppName          string                     `json:"app_name"`
	AppDescription   string                     `json:"app_description,omitempty"`
	CreatedAt        int64                      `json:"created_at"`
	UpdatedAt        int64                      `json:"updated_at"`
	Status           StatusAt                   `json:"status"` // PENDING, WHITELISTED, REJECTED
	DeploymentStatus *StatusAt                  `json:"deployment_status,omitempty"`
	DockerInfo       *DockerInfo                `json:"docker_info,omitempty"`
	EnclaveInfo      *EnclaveInfo               `json:"enclave_info,omitempty"`
	Attributes       map[string]BuildAttributes `json:"attributes,omitempty"`
	MemSize          int64                      `json:"mem_size"`
	Threads          int32                      `json:"threads"`
	AdvancedSettings *AdvancedSettings          `json:"advanced_settings,omitempty"`
	PendingTaskID    string                     `json:"pending_task_id,omitempty"`
	Configs          map[string]any             `json:"configs,omitempty"`
	// Conversion is set while and after the manager converts the image. Extension.
	Conversion *Conversion `json:"conversion,omitempty"`
}

// StatusAt is a status and when it was reached.
type StatusAt struct {
	Status          string `json:"status"`
	StatusUpdatedAt int64  `json:"status_updated_at"`
}

// DockerInfo names the image of a build.
type DockerInfo struct {
	DockerImageName string       `json:"docker_image_name"`
	DockerVersion   string       `json:"docker_version"`
	DockerImageSHA  string       `json:"docker_image_sha,omitempty"`
	DockerImageSize int64        `json:"docker_image_size,omitempty"` // MiB
	ExposedPorts    []DockerPort `json:"exposed_ports,omitempty"`
}

// DockerPort is an exposed port; Protocol is TCP or UDP.
type DockerPort struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
}

// EnclaveInfo identifies a build. For the simulated TEE MREnclave holds the measurement.
type EnclaveInfo struct {
	MREnclave string `json:"mrenclave"`
	MRSigner  string `json:"mrsigner"`
	ISVProdID int32  `json:"isvprodid"`
	ISVSVN    int32  `json:"isvsvn"`
}

// BuildAttributes are the measurements of a build for one kind of TEE. In a
// build's map the key and the member have the same name ("sgx", "simulated").
type BuildAttributes struct {
	SGX *struct {
		MREnclave string   `json:"mrenclave"`
		Features  []string `json:"features,omitempty"`
	} `json:"sgx,omitempty"`
	Simulated *SimulatedAttributes `json:"simulated,omitempty"` // extension
}

// SimulatedAttributes identify a build of the simulated TEE. Extension.
type SimulatedAttributes struct {
	Measurement string `json:"measurement"`
}

// BuildRequest is the body of POST /v1/builds.
type BuildRequest struct {
	AppID            string                     `json:"app_id,omitempty"`
	AppName          string                     `json:"app_name,omitempty"`
	DockerInfo       *DockerInfo                `json:"docker_info,omitempty"`
	MREnclave        string                     `json:"mrenclave,omitempty"`
	MRSigner         string                     `json:"mrsigner,omitempty"`
	ISVProdID        int32                      `json:"isvprodid"`
	ISVSVN           int32                      `json:"isvsvn"`
	MemSize          int64                      `json:"mem_size,omitempty"`
	Threads          int32                      `json:"threads,omitempty"`
	Attributes       map[string]BuildAttributes `json:"attributes,omitempty"`
	AdvancedSettings *AdvancedSettings          `json:"advanced_settings,omitempty"`
}

// AuthConfig is a registry credential.
type AuthConfig struct {
	Username string `json:"username"`
	Password string `json:"password,omitempty"`
}

// ConvertRequest is the body of POST /v1/builds/convert-app.
type ConvertRequest struct {
	AppID               string      `json:"app_id"`
	DockerVersion       string      `json:"docker_version,omitempty"`
	InputDockerVersion  string      `json:"input_docker_version,omitempty"`
	OutputDockerVersion string      `json:"output_docker_version,omitempty"`
	InputAuthConfig     *AuthConfig `json:"inputAuthConfig,omitempty"`
	OutputAuthConfig    *AuthConfig `json:"outputAuthConfig,omitempty"`
	AuthConfig          *AuthConfig `json:"authConfig,omitempty"`
	Debug               bool        `json:"debug,omitempty"`
	MemSize             int64       `json:"memSize,omitempty"`
	Threads             int32       `json:"threads,omitempty"`
	TEE                 string      `json:"tee,omitempty"` // "sim" or "sgx"; extension
}

// Conversion is the progress of a conversion on the manager. Extension.
type Conversion struct {
	State string `json:"state"` // RUNNING, DONE, FAILED
	Stage string `json:"stage,omitempty"`
	Done  int64  `json:"done_bytes"`
	Total int64  `json:"total_bytes"`
	Error string `json:"error,omitempty"`
}

// Registry is an image registry with saved credentials; the password never leaves the manager.
type Registry struct {
	RegistryID  string `json:"registry_id"`
	URL         string `json:"url"`
	Description string `json:"description,omitempty"`
	Username    string `json:"username,omitempty"`
}

// RegistryRequest is the body of POST /v1/registry.
type RegistryRequest struct {
	URL         string `json:"url"`
	Description string `json:"description,omitempty"`
	Credential  struct {
		Default *AuthConfig `json:"default,omitempty"`
	} `json:"credential"`
}

// BuildUpdate is the body of PATCH /v1/builds/{id}.
type BuildUpdate struct {
	Configs map[string]any `json:"configs,omitempty"`
}

// AppRegistries is the reply of GET /v1/registry/app/{id}.
type AppRegistries struct {
	InputImageRegistry  *Registry `json:"input_image_registry,omitempty"`
	OutputImageRegistry *Registry `json:"output_image_registry,omitempty"`
}

// ImageRegistry is the reply of GET /v1/image/registry.
type ImageRegistry struct {
	Registry *Registry `json:"registry,omitempty"`
}
