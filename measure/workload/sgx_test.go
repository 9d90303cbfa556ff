package workload

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// enclave is a manifest for SGX that uses every member of its section.
func enclave() *Manifest {
	m := sample()
	m.TEE, m.Files, m.Fronts, m.LogPath = TEESGX, []File{}, []Front{}, ""
	m.Exec.AllowArgs, m.Exec.OnRenew, m.Exec.StopGrace = false, 0, 0
	m.SGX = &SGX{
		Encrypted: []EncryptedMount{{Key: KeyMRSigner, Path: "/data"}, {Key: "own.key-1", Path: "/secret"}},
		Memory:    []string{"/run", "/tmp", "/usr/lib/app"},
		Packed:    &Packed{Path: "/.hitoku/sgx/packed.tar", Root: "/", SHA256: hash, Size: 10240},
	}
	return m
}

func TestSGXRoundTrip(t *testing.T) {
	t.Parallel()
	plain := enclave()
	plain.SGX = &SGX{Encrypted: []EncryptedMount{}, Memory: []string{}}
	plain.Certificates, plain.Folders = []Certificate{}, []Folder{}
	for _, m := range []*Manifest{enclave(), plain} {
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Error(d)
		}
		var streamed bytes.Buffer
		if err := EncodeFiles(&streamed, m, func(func(*File) bool) {}); err != nil || !bytes.Equal(streamed.Bytes(), b) {
			t.Errorf("%v: %s", err, streamed.Bytes())
		}
		for i := range b {
			for _, x := range []byte{1, 2, 0x20, 0x80} {
				c := bytes.Clone(b)
				c[i] ^= x
				if m, err := Decode(c); err == nil {
					if again, err := Encode(m); err != nil || !bytes.Equal(again, c) {
						t.Fatalf("byte %d ^ %#x: accepted, but encodes to other bytes (%v)", i, x, err)
					}
				}
			}
		}
	}
}

func TestSGXRefuses(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(m *Manifest){
		"sgx: wanted exactly when":     func(m *Manifest) { m.SGX = nil },
		"wanted none here":             func(m *Manifest) { m.Files = sample().Files },
		"fronts: not possible":         func(m *Manifest) { m.Fronts = sample().Fronts },
		"log_path: not possible":       func(m *Manifest) { m.LogPath = "/var/log/app" },
		"exec.on_renew: not possible":  func(m *Manifest) { m.Exec.OnRenew = 1 },
		"exec.stop_grace: not poss":    func(m *Manifest) { m.Exec.StopGrace = 1 },
		"exec.allow_args: not poss":    func(m *Manifest) { m.Exec.AllowArgs = true },
		"LD_LIBRARY_PATH from the":     func(m *Manifest) { m.Env.Allowed = []string{"LD_LIBRARY_PATH"} },
		"GODEBUG from the":             func(m *Manifest) { m.Env.Mutable = []string{"GODEBUG=x"} },
		"key \"_sgx_x\"":               func(m *Manifest) { m.SGX.Encrypted[0].Key = "_sgx_x" },
		"key \"../default\"":           func(m *Manifest) { m.SGX.Encrypted[0].Key = "../default" },
		"key \"\"":                     func(m *Manifest) { m.SGX.Encrypted[0].Key = "" },
		"key \"" + hash + "x":          func(m *Manifest) { m.SGX.Encrypted[0].Key = hash + "x" },
		"/secret repeated or not":      func(m *Manifest) { m.SGX.Encrypted[0].Path = "/secret" },
		"/tmp/x is in memory too":      func(m *Manifest) { m.SGX.Encrypted = []EncryptedMount{{Key: "k", Path: "/tmp/x"}} },
		"sgx.encrypted: / cannot":      func(m *Manifest) { m.SGX.Encrypted[0].Path = "/" },
		"sgx.memory: /proc/x cannot":   func(m *Manifest) { m.SGX.Memory = []string{"/proc/x"} },
		"sgx.memory: /.hitoku cannot":  func(m *Manifest) { m.SGX.Memory = []string{"/.hitoku"} },
		"sgx.memory: /dev cannot":      func(m *Manifest) { m.SGX.Memory = []string{"/dev"} },
		"/run repeated or not":         func(m *Manifest) { m.SGX.Memory = []string{"/tmp", "/run"} },
		"sgx.memory \"tmp\"":           func(m *Manifest) { m.SGX.Memory = []string{"tmp"} },
		"/run/key.pem is neither":      func(m *Manifest) { m.SGX.Memory = []string{"/tmp"} },
		"/secret is called encrypted":  func(m *Manifest) { m.SGX.Encrypted = m.SGX.Encrypted[:1] },
		"packed.path /x, wanted":       func(m *Manifest) { m.SGX.Packed.Path = "/x" },
		"packed.path /.hitoku, wanted": func(m *Manifest) { m.SGX.Packed.Path = "/.hitoku" },
		"packed.root /usr is not in":   func(m *Manifest) { m.SGX.Packed.Root = "/usr" },
		"packed.root \"\"":             func(m *Manifest) { m.SGX.Packed.Root = "" },
		"packed.sha256 \"x\"":          func(m *Manifest) { m.SGX.Packed.SHA256 = "x" },
		"packed.size 0":                func(m *Manifest) { m.SGX.Packed.Size = 0 },
		"packed.size 68719476737":      func(m *Manifest) { m.SGX.Packed.Size = MaxPacked + 1 },
	} {
		m := enclave()
		change(m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
	sim := sample()
	sim.SGX = enclave().SGX
	if err := sim.Validate(); err == nil || !strings.Contains(err.Error(), "sgx: wanted exactly when") {
		t.Error(err)
	}
}
