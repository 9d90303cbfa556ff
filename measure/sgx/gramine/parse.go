package gramine

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// MaxManifest is the size of the largest manifest that is read, in bytes.
const MaxManifest = 64 << 20

// Error is something in a manifest that Gramine would not take, or that nobody should want.
type Error struct {
	Key    string // such as sgx.enclave_size; empty for the whole file
	Seen   string
	Wanted string
	Advice string // what to do next; may be empty
}

func (e *Error) Error() string {
	s := "manifest"
	if e.Key != "" {
		s += ": " + e.Key
	}
	s += ": " + e.Seen
	if e.Wanted != "" {
		s += ", wanted " + e.Wanted
	}
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// dropped are keys of Gramine before 1.7, with what took their place.
var dropped = map[string]string{
	"sgx.sigfile": "Gramine looks for NAME.sig beside the manifest", "loader.exec": "use libos.entrypoint", "loader.preload": "use loader.entrypoint",
	"sgx.thread_num": "use sgx.max_threads", "sgx.rpc_thread_num": "use sgx.insecure__rpc_thread_num",
	"sgx.protected_files": "use a mount of type encrypted", "sgx.nonpie_binary": "it is not needed any more",
	"sgx.require_avx": "use sgx.cpu_features.avx", "sgx.require_avx512": "use sgx.cpu_features.avx512", "sgx.require_amx": "use sgx.cpu_features.amx",
	"sgx.require_mpx": "use sgx.cpu_features.mpx", "sgx.require_pkru": "use sgx.cpu_features.pkru", "sgx.require_exinfo": "use sgx.use_exinfo",
	"sgx.support_exinfo": "use sgx.use_exinfo", "sgx.ra_client_spid": "EPID attestation has ended: use remote_attestation = \"dcap\"",
	"sgx.ra_client_linkable": "EPID attestation has ended: use remote_attestation = \"dcap\"", "sgx.enable_edmm": "use sgx.edmm_enable",
	"fs.mount": "use fs.mounts, a list",
}

// document is the file as TOML has it, where that differs from Manifest.
type document struct {
	Manifest
	Sys sysTable `toml:"sys"`
}

type sysTable struct {
	Sys
	Stack struct {
		Size string `toml:"size"`
	} `toml:"stack"`
	Brk struct {
		MaxSize string `toml:"max_size"`
	} `toml:"brk"`
	FDs struct {
		Limit int64 `toml:"limit"`
	} `toml:"fds"`
}

// UnmarshalTOML reads the two forms of a variable: a text, or a table of value or passthrough.
func (v *EnvVar) UnmarshalTOML(data any) error {
	switch d := data.(type) {
	case string:
		v.Value = d
		return nil
	case map[string]any:
		value, hasValue := d["value"].(string)
		pass, hasPass := d["passthrough"].(bool)
		if len(d) == 1 && (hasValue || hasPass && pass) {
			v.Value, v.Passthrough = value, hasPass
			return nil
		}
	}
	return errors.New("wanted a text, { value = … } or { passthrough = true }")
}

// UnmarshalTOML reads the two forms of a file: its URI, or a table of uri and sha256.
func (f *TrustedFile) UnmarshalTOML(data any) error {
	switch d := data.(type) {
	case string:
		f.URI = d
		return nil
	case map[string]any:
		uri, hasURI := d["uri"].(string)
		sum, hasSum := d["sha256"].(string)
		if hasURI && (len(d) == 1 || len(d) == 2 && hasSum) {
			f.URI, f.SHA256 = uri, sum
			return nil
		}
	}
	return errors.New("wanted a URI, or a table of uri and sha256")
}

// Parse reads a manifest. Keys that Gramine does not know are errors that name them: it would
// ignore them. The errors are of type *Error.
func Parse(b []byte) (*Manifest, error) {
	switch {
	case len(b) > MaxManifest:
		return nil, &Error{Seen: fmt.Sprintf("%d bytes", len(b)), Wanted: fmt.Sprintf("at most %d", MaxManifest)}
	case bytes.IndexByte(b, 0) >= 0:
		return nil, &Error{Seen: fmt.Sprintf("a zero byte at %d", bytes.IndexByte(b, 0)), Wanted: "text; the loader reads to the first zero byte"}
	case !utf8.Valid(b):
		return nil, &Error{Seen: "bytes that are not UTF-8", Wanted: "TOML"}
	}
	var d document
	meta, err := toml.Decode(string(b), &d)
	if err != nil {
		return nil, tomlError(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		name := unknown[0].String()
		e := &Error{Key: name, Seen: "Gramine does not know this key and would ignore it", Advice: "remove it, or correct its spelling"}
		for old, advice := range dropped {
			if name == old || strings.HasPrefix(name, old+".") {
				e.Seen, e.Advice = "a key that Gramine has dropped", advice
			}
		}
		return nil, e
	}
	for _, k := range [][]string{{"fs", "mounts"}, {"libos", "entrypoint"}, {"loader", "entrypoint"}} {
		if !meta.IsDefined(k...) {
			return nil, &Error{Key: strings.Join(k, "."), Seen: "missing", Wanted: "it in every manifest"}
		}
	}
	m := &d.Manifest
	m.Sys = d.Sys.Sys
	m.Sys.StackSize, m.Sys.BrkMaxSize, m.Sys.FDLimit = d.Sys.Stack.Size, d.Sys.Brk.MaxSize, d.Sys.FDs.Limit
	return m, nil
}

func tomlError(err error) error {
	var p toml.ParseError
	if errors.As(err, &p) {
		return &Error{Key: p.LastKey, Seen: fmt.Sprintf("line %d: %s", p.Position.Line, p.Message)}
	}
	return &Error{Seen: strings.TrimPrefix(err.Error(), "toml: ")}
}
