package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"hitoku.dev/internal/convert/sgxplan"
	"hitoku.dev/measure/workload"
)

// File is what a request file of CCM's converter asks for, in either of the two
// published spellings (snake_case of the Nitro interface, camelCase of the SGX
// interface). What it does not say stays at its zero value.
type File struct {
	Input, Output         string
	InputAuth, OutputAuth *Auth
	Options               Options
	ISVProdID, ISVSVN     *uint16
	SGX                   sgxplan.Options // filled by ParseFileFor for SGX only
	// NoPush is set by push_converted_image: false.
	NoPush bool
	// Notices name members that have no meaning here and were passed over.
	Notices []string
}

// Auth is a user name and password for a registry.
type Auth struct{ Username, Password string }

const maxRequestFile = 4 << 20

// ParseFile reads a request file. Members that would change what the converted
// program may do and cannot be honoured are errors; members about other TEEs'
// hardware are notices; members that nobody published are errors.
func ParseFile(data []byte) (*File, error) {
	return ParseFileFor(data, workload.TEESimulated)
}

func parseFile(data []byte, sgx bool) (*File, error) {
	if len(data) > maxRequestFile {
		return nil, fmt.Errorf("%d bytes, at most %d are read", len(data), maxRequestFile)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON object")
	}
	f := &File{}
	r := &fileReader{f: f, sgx: sgx}
	if err := r.object("", raw, r.member); err != nil {
		return nil, err
	}
	return f, nil
}

// fileReader fills a File member by member.
type fileReader struct {
	f   *File
	sgx bool // members for SGX have a meaning
}

// object calls each member of a JSON object under its snake_case name. Two
// members of one name, in whatever spelling, are refused.
func (r *fileReader) object(where string, raw json.RawMessage, each func(path, name string, v json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%s: wanted an object", or(where, "file"))
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		path := strings.TrimPrefix(where+"."+key, ".")
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name := snake(key)
		if seen[name] {
			return fmt.Errorf("%s is there twice", path)
		}
		seen[name] = true
		if string(v) == "null" {
			continue
		}
		if err := each(path, name, v); err != nil {
			return err
		}
	}
	return nil
}

// snake gives the one name of both spellings and of the published variants.
func snake(key string) string {
	var b strings.Builder
	for i, c := range key {
		if c >= 'A' && c <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	switch n := b.String(); n {
	case "entrypoint":
		return "entry_point"
	case "entrypoint_args":
		return "entry_point_args"
	case "manifest_env":
		return "env_vars"
	case "mutable_env":
		return "mutable_env_vars"
	case "java_runtime":
		return "java_mode"
	case "rw_folders":
		return "rw_dirs"
	case "log_file":
		return "log_file_path"
	case "ca_path":
		return "path"
	case "ca_cert":
		return "certificate"
	default:
		return n
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// member handles both the outer object and converter_options: the SGX interface
// has its options beside the image names.
func (r *fileReader) member(path, name string, v json.RawMessage) error {
	o := &r.f.Options
	switch name {
	case "request", "converter_options":
		return r.object(path, v, r.member)
	case "input_image", "input_image_name":
		return r.image(path, v, &r.f.Input, &r.f.InputAuth)
	case "output_image", "output_image_name":
		return r.image(path, v, &r.f.Output, &r.f.OutputAuth)
	case "auth_config":
		a, err := r.auth(path, v)
		if r.f.InputAuth == nil {
			r.f.InputAuth = a
		}
		if r.f.OutputAuth == nil {
			r.f.OutputAuth = a
		}
		return err
	case "input_auth_config":
		return set(&r.f.InputAuth)(r.auth(path, v))
	case "output_auth_config":
		return set(&r.f.OutputAuth)(r.auth(path, v))
	case "isvprodid":
		return set(&r.f.ISVProdID)(value[*uint16](path, v))
	case "isvsvn":
		return set(&r.f.ISVSVN)(value[*uint16](path, v))
	case "entry_point":
		return set(&o.Entrypoint)(value[[]string](path, v))
	case "entry_point_args":
		return set(&o.Args)(value[[]string](path, v))
	case "allow_cmdline_args":
		return set(&o.AllowArgs)(value[bool](path, v))
	case "env_vars":
		return set(&o.Env)(value[[]string](path, v))
	case "mutable_env_vars":
		return set(&o.MutableEnv)(value[[]string](path, v))
	case "encrypted_dirs":
		return set(&o.Encrypted)(value[[]string](path, v))
	case "rw_dirs":
		return set(&o.ReadWrite)(value[[]string](path, v))
	case "ro_dirs":
		return r.readOnly(path, v)
	case "log_file_path":
		return set(&o.LogPath)(value[string](path, v))
	case "push_converted_image":
		push, err := value[bool](path, v)
		r.f.NoPush = !push
		return err
	case "certificates":
		return r.each(path, v, r.certificate)
	case "certificate":
		return r.certificate(path, v)
	case "ca_certificates":
		return r.each(path, v, r.ca)
	case "ca_certificate":
		return r.ca(path, v)
	}
	return r.foreign(path, name, v)
}

// readOnly takes folders off the writable ones; "/" and what is read-only by
// default need no word.
func (r *fileReader) readOnly(path string, v json.RawMessage) error {
	dirs, err := value[[]string](path, v)
	for _, d := range dirs {
		if slices.Contains(defaultWritable, cleanPath(d)) {
			r.f.Options.ReadOnly = append(r.f.Options.ReadOnly, cleanPath(d))
		}
	}
	return err
}

func (r *fileReader) tee() string {
	if r.sgx {
		return "SGX"
	}
	return "the simulated TEE"
}

// foreign judges the published members that this TEE has no use for.
func (r *fileReader) foreign(path, name string, v json.RawMessage) error {
	if r.sgx {
		if ok, err := r.enclave(path, name, v); ok {
			return err
		}
	}
	switch name {
	case "mem_size", "threads", "cpu_count", "nitro_enclaves_options", "snp_enclaves_options", "tdx_enclaves_options",
		"enclaves_options", "nvidia_driver_capabilities", "java_mode", "allow_docker_pull_failure", "app", "app_id",
		"ccm_configuration", "dsm_configuration", "docker_version", "input_docker_version", "output_docker_version":
		if name == "allow_docker_pull_failure" && string(v) == "false" {
			return nil
		}
		r.f.Notices = append(r.f.Notices, fmt.Sprintf("request file: %s has no meaning for %s and is passed over", path, r.tee()))
		return nil
	case "debug", "enable_gpu_passthrough", "enable_overlay_filesystem_persistence", "add_ccm_ca_certificates":
		on, err := value[bool](path, v)
		if err != nil {
			return err
		}
		if on {
			return fmt.Errorf("%s: true is not supported; take it out", path)
		}
		return nil
	case "manifest_options", "external_packages", "core_dump_pattern":
		if s := strings.TrimSpace(string(v)); s == "{}" || s == "[]" || s == `""` {
			return nil
		}
		return fmt.Errorf("%s is not supported: it is for another runtime; take it out", path)
	case "signing_key":
		if s := string(v); strings.Contains(s, "default") && !strings.Contains(s, "apiKey") && !strings.Contains(s, "api_key") {
			return nil
		}
		return fmt.Errorf("%s: keys of a key manager are not supported; give --key or --signer-command", path)
	}
	return fmt.Errorf("%s is no known member", path)
}

// image reads {name, auth_config} or a name alone.
func (r *fileReader) image(path string, v json.RawMessage, name *string, auth **Auth) error {
	if *name != "" {
		return fmt.Errorf("%s: the image is named twice", path)
	}
	if len(v) > 0 && v[0] == '"' {
		return set(name)(value[string](path, v))
	}
	return r.object(path, v, func(path, member string, v json.RawMessage) error {
		switch member {
		case "name":
			return set(name)(value[string](path, v))
		case "auth_config":
			return set(auth)(r.auth(path, v))
		}
		return fmt.Errorf("%s is no known member", path)
	})
}

func (r *fileReader) auth(path string, v json.RawMessage) (*Auth, error) {
	a := &Auth{}
	return a, r.object(path, v, func(path, member string, v json.RawMessage) error {
		switch member {
		case "username":
			return set(&a.Username)(value[string](path, v))
		case "password":
			return set(&a.Password)(value[string](path, v))
		}
		return fmt.Errorf("%s is no known member", path)
	})
}

func (r *fileReader) each(path string, v json.RawMessage, one func(path string, v json.RawMessage) error) error {
	items, err := value[[]json.RawMessage](path, v)
	for i, item := range items {
		if err := one(fmt.Sprintf("%s[%d]", path, i), item); err != nil {
			return err
		}
	}
	return err
}

func (r *fileReader) certificate(path string, v json.RawMessage) error {
	c := workload.Certificate{KeyType: "RSA", AltNames: []string{}, KeyPath: defaultKeyPath, CertPath: defaultCertPath}
	err := r.object(path, v, func(path, member string, v json.RawMessage) error {
		switch member {
		case "issuer":
			s, err := value[string](path, v)
			if n := strings.ReplaceAll(strings.ToUpper(s), "_", ""); err == nil && n != "MANAGERCA" {
				return fmt.Errorf("%s: %q is not supported, only the manager's CA (MANAGER_CA)", path, s)
			}
			return err
		case "subject":
			return set(&c.Subject)(value[string](path, v))
		case "alt_names":
			return set(&c.AltNames)(value[[]string](path, v))
		case "key_type":
			s, err := value[string](path, v)
			c.KeyType = strings.ToUpper(s)
			return err
		case "key_param":
			return r.object(path, v, func(path, member string, v json.RawMessage) error {
				if member != "size" {
					return fmt.Errorf("%s is no known member", path)
				}
				return set(&c.KeySize)(value[int](path, v))
			})
		case "key_path":
			return set(&c.KeyPath)(value[string](path, v))
		case "cert_path":
			return set(&c.CertPath)(value[string](path, v))
		case "chain_path":
			return set(&c.ChainPath)(value[string](path, v))
		}
		return fmt.Errorf("%s is no known member", path)
	})
	if err != nil {
		return err
	}
	if c.KeySize == 0 {
		c.KeySize = DefaultKeySize(c.KeyType)
	}
	r.f.Options.Certificates = append(r.f.Options.Certificates, c)
	return nil
}

// DefaultKeySize is the size in bits where a key type is given without one.
func DefaultKeySize(keyType string) int {
	if keyType == "EC" {
		return 256
	}
	return 3072
}

func (r *fileReader) ca(path string, v json.RawMessage) error {
	var c CA
	err := r.object(path, v, func(path, member string, v json.RawMessage) error {
		switch member {
		case "path":
			return set(&c.Path)(value[string](path, v))
		case "certificate":
			s, err := value[string](path, v)
			c.PEM = []byte(s)
			return err
		case "system":
			return set(&c.System)(value[bool](path, v))
		}
		return fmt.Errorf("%s is no known member", path)
	})
	r.f.Options.CAs = append(r.f.Options.CAs, c)
	return err
}

func value[T any](path string, v json.RawMessage) (T, error) {
	var out T
	if err := json.Unmarshal(v, &out); err != nil {
		return out, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

// set stores the first of two results.
func set[T any](to *T) func(T, error) error {
	return func(v T, err error) error {
		if err == nil {
			*to = v
		}
		return err
	}
}
