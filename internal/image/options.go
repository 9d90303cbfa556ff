package image

import (
	"net/http"
	"runtime"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options say how to reach images. The zero Options read for linux/amd64, take
// credentials from docker's or podman's configuration, and trust the system's CAs.
type Options struct {
	// Platform wanted; linux/amd64 when OS and Architecture are empty.
	Platform v1.Platform

	// Username and Password, or Token (a registry bearer token), go before the
	// credential store.
	Username, Password, Token string
	// AuthFile is a docker config.json, with auths, credsStore and credHelpers.
	// Empty: where docker and podman keep theirs.
	AuthFile string
	// Anonymous sends no credentials and reads no credential store.
	Anonymous bool

	// Insecure permits plain HTTP to hosts other than the loopback. It does not
	// switch off the verification of a certificate.
	Insecure bool
	// CA holds PEM certificates trusted beside the system's.
	CA []byte
	// Transport replaces the HTTP transport for registries. CA is then ignored.
	Transport http.RoundTripper

	// DockerHost is the engine's address: unix:///var/run/docker.sock if empty, or
	// tcp://HOST:PORT. DockerCertPath is a folder with ca.pem, cert.pem and key.pem
	// for a tcp engine that asks for TLS.
	DockerHost, DockerCertPath string

	// CacheDir remembers what engine images hold, so that opening one a second time
	// reads no export. Empty: nothing is remembered.
	CacheDir string

	// Progress is called, one call at a time, as bytes go by.
	Progress func(Event)

	// Jobs is how many layers are sent at once; 4 if zero.
	Jobs int
}

// FromEnvironment fills what docker's own variables say (DOCKER_HOST,
// DOCKER_CERT_PATH with DOCKER_TLS_VERIFY) into fields that are empty.
func (o Options) FromEnvironment(getenv func(string) string) Options {
	if o.DockerHost == "" {
		o.DockerHost = getenv("DOCKER_HOST")
	}
	if o.DockerCertPath == "" && getenv("DOCKER_TLS_VERIFY") != "" {
		o.DockerCertPath = getenv("DOCKER_CERT_PATH")
	}
	return o
}

func (o Options) withDefaults() Options {
	if o.Platform.OS == "" && o.Platform.Architecture == "" {
		o.Platform.OS, o.Platform.Architecture = "linux", "amd64"
	}
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	if o.DockerHost == "" {
		o.DockerHost = defaultDockerHost()
	}
	return o
}

func defaultDockerHost() string {
	if runtime.GOOS == "windows" {
		return "npipe:////./pipe/docker_engine"
	}
	return "unix:///var/run/docker.sock"
}

// platformMatches judges a configuration or an index entry. A variant counts
// only where one is wanted: amd64 without variant takes amd64/v1 but not v3,
// which older machines cannot run.
func (o Options) platformMatches(p v1.Platform) bool {
	if p.OS != o.Platform.OS || p.Architecture != o.Platform.Architecture {
		return false
	}
	if o.Platform.Variant == p.Variant || p.Variant == "" {
		return true
	}
	if o.Platform.Variant != "" {
		return false
	}
	return p.Architecture != "amd64" || p.Variant == "v1"
}

func platformName(p *v1.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return "no platform"
	}
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// Event tells how far a transfer is.
type Event struct {
	Side   Side   `json:"side"`
	Stage  string `json:"stage"`            // "layer", "configuration", "manifest", "export"
	Object string `json:"object,omitempty"` // digest or name
	Bytes  int64  `json:"bytes"`            // so far
	Total  int64  `json:"total,omitempty"`  // 0 where not known
	Done   bool   `json:"done,omitempty"`
}

// progressStep is how many bytes go by between two events of one object.
const progressStep = 1 << 20

// progress serialises the calls of Options.Progress. A nil *progress is silent.
type progress struct {
	mu sync.Mutex
	to func(Event)
}

func newProgress(to func(Event)) *progress {
	if to == nil {
		return nil
	}
	return &progress{to: to}
}

func (p *progress) send(e Event) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to(e)
}

// counter returns a function that one reader calls with what it read.
func (p *progress) counter(side Side, stage, object string, total int64) func(n int, done bool) {
	if p == nil {
		return func(int, bool) {}
	}
	var seen, told int64
	return func(n int, done bool) {
		seen += int64(n)
		if done || seen-told >= progressStep {
			told = seen
			p.send(Event{Side: side, Stage: stage, Object: object, Bytes: seen, Total: total, Done: done})
		}
	}
}
