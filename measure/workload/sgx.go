package workload

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The values of Manifest.TEE.
const (
	TEESimulated = "sim"
	TEESGX       = "sgx" // an enclave under the Gramine library OS
)

// SGX is what only the guest in an SGX enclave is told. It repeats what the
// enclave's own manifest arranges, since a program under Gramine cannot ask which
// of its folders are in memory.
type SGX struct {
	// Encrypted lists the mounts of kind "encrypted" with the names of their keys, sorted by path.
	Encrypted []EncryptedMount `json:"encrypted"`
	// Memory lists the mounts of kind "tmpfs", which are in enclave memory, sorted.
	Memory []string `json:"memory"`
	// Packed is an archive that the guest unpacks into memory before the program starts.
	Packed *Packed `json:"packed,omitempty"`
}

// The keys of encrypted mounts that Gramine itself derives (EGETKEY, sealing key).
const (
	KeyMREnclave = "_sgx_mrenclave"
	KeyMRSigner  = "_sgx_mrsigner"
)

// EncryptedMount is a folder whose files Gramine encrypts.
type EncryptedMount struct {
	// Key is KeyMREnclave, KeyMRSigner, or a name of the image's own: letters, digits, '_', '-'
	// and '.', at most 64. Own keys are derived by the guest and given to Gramine at the start.
	Key  string `json:"key"`
	Path string `json:"path"`
}

// Packed is a tar archive of the form that package packed makes.
type Packed struct {
	Path   string `json:"path"`
	Root   string `json:"root"`   // the archive's names are below it
	SHA256 string `json:"sha256"` // lower-case hexadecimal
	Size   int64  `json:"size"`   // bytes
}

// MaxPacked is the largest archive, in bytes: it has to fit into enclave memory twice.
const MaxPacked = 64 << 30

// InMemory reports whether name is at or below a mount in enclave memory.
func (s *SGX) InMemory(name string) bool {
	return slices.ContainsFunc(s.Memory, func(m string) bool { return Within(name, m) })
}

// Protected reports whether the host can neither read nor forge what is written
// at name: it is in enclave memory or below an encrypted mount.
func (s *SGX) Protected(name string) bool {
	return s.InMemory(name) || slices.ContainsFunc(s.Encrypted, func(e EncryptedMount) bool { return Within(name, e.Path) })
}

// onlyInLoader are variables that decide what happens before the guest can judge them.
func onlyInLoader(name string) bool { return name == "LD_LIBRARY_PATH" || name == "GODEBUG" }

func (m *Manifest) checkSGX() error {
	if (m.SGX != nil) != (m.TEE == TEESGX) {
		return fmt.Errorf("sgx: wanted exactly when tee is %q, which is %q", TEESGX, m.TEE)
	}
	if m.SGX == nil {
		return nil
	}
	return errors.Join(m.checkReplaced(), m.SGX.check(), m.checkProtected())
}

// checkReplaced refuses what needs a guest beside the program: on SGX the program
// replaces it.
func (m *Manifest) checkReplaced() error {
	var errs []error
	refuse := func(when bool, what, why string) {
		if when {
			errs = append(errs, fmt.Errorf("%s: not possible on SGX, where %s", what, why))
		}
	}
	const replaced = "the program replaces the guest"
	refuse(len(m.Fronts) > 0, "fronts", replaced)
	refuse(m.LogPath != "", "log_path", replaced)
	refuse(m.Exec.OnRenew != 0, "exec.on_renew", replaced+" and nothing is renewed")
	refuse(m.Exec.StopGrace != 0, "exec.stop_grace", replaced)
	refuse(m.Exec.AllowArgs, "exec.allow_args", "the enclave's manifest holds the arguments")
	for _, item := range slices.Concat(m.Env.Allowed, m.Env.Mutable) {
		name, _, _ := strings.Cut(item, "=")
		refuse(onlyInLoader(name), "env: "+name+" from the host", "it acts before the guest does")
	}
	return errors.Join(errs...)
}

func (s *SGX) check() error {
	if len(s.Encrypted) > maxList || len(s.Memory) > maxList {
		return fmt.Errorf("sgx: more than %d mounts", maxList)
	}
	last := ""
	for _, e := range s.Encrypted {
		if err := checkMount("sgx.encrypted", e.Path, &last); err != nil {
			return err
		}
		if !IsKeyName(e.Key) {
			return fmt.Errorf("sgx.encrypted: %s: key %q, wanted %s, %s or at most 64 letters, digits, '_', '-' and '.' that begin with a letter or digit", e.Path, e.Key, KeyMREnclave, KeyMRSigner)
		}
		if s.InMemory(e.Path) {
			return fmt.Errorf("sgx.encrypted: %s is in memory too", e.Path)
		}
	}
	last = ""
	for _, m := range s.Memory {
		if err := checkMount("sgx.memory", m, &last); err != nil {
			return err
		}
	}
	p := s.Packed
	if p == nil {
		return nil
	}
	if err := errors.Join(checkPath("sgx.packed.path", p.Path), checkPath("sgx.packed.root", p.Root)); err != nil {
		return err
	}
	switch {
	case !Within(p.Path, Dir) || p.Path == Dir:
		return fmt.Errorf("sgx.packed.path %s, wanted a file below %s", p.Path, Dir)
	case p.Root != "/" && !s.InMemory(p.Root):
		return fmt.Errorf("sgx.packed.root %s is not in enclave memory", p.Root)
	case !IsHash(p.SHA256):
		return fmt.Errorf("sgx.packed.sha256 %q, wanted 64 lower-case hexadecimal digits", p.SHA256)
	case p.Size < 1 || p.Size > MaxPacked:
		return fmt.Errorf("sgx.packed.size %d, wanted 1 to %d bytes", p.Size, int64(MaxPacked))
	}
	return nil
}

func checkMount(what, p string, last *string) error {
	if err := checkPath(what, p); err != nil {
		return err
	}
	switch {
	case p == "/" || Within(p, Dir) || Within(p, "/proc") || Within(p, "/sys") || Within(p, "/dev") && !Within(p, "/dev/shm"):
		return fmt.Errorf("%s: %s cannot be mounted", what, p)
	case p <= *last:
		return fmt.Errorf("%s: %s repeated or not sorted", what, p)
	}
	*last = p
	return nil
}

// checkProtected wants keys and folders that are called encrypted where the host cannot read them.
func (m *Manifest) checkProtected() error {
	for _, c := range m.Certificates {
		for _, p := range []string{c.KeyPath, c.CertPath, c.ChainPath} {
			if p != "" && !m.SGX.Protected(p) {
				return fmt.Errorf("certificates: %s is neither below a folder of sgx.memory nor of sgx.encrypted", p)
			}
		}
	}
	for _, f := range m.Folders {
		if f.Mode == FolderEncrypted && !m.SGX.Protected(f.Path) {
			return fmt.Errorf("folders: %s is called encrypted, and is neither below a folder of sgx.memory nor of sgx.encrypted", f.Path)
		}
	}
	return nil
}

// IsKeyName reports whether s can name the key of an encrypted folder: [KeyMREnclave],
// [KeyMRSigner], or 1 to 64 ASCII letters, digits, '_', '-' and '.' that begin with a letter or digit.
func IsKeyName(s string) bool {
	if s == KeyMREnclave || s == KeyMRSigner {
		return true
	}
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alphanumeric && (i == 0 || c != '_' && c != '-' && c != '.') {
			return false
		}
	}
	return true
}

func (e *encoder) sgx(s *SGX) {
	e.raw(`{"encrypted":`)
	list(e, s.Encrypted, func(m *EncryptedMount) {
		e.raw(`{"key":`)
		e.string(m.Key)
		e.raw(`,"path":`)
		e.string(m.Path)
		e.raw("}")
	})
	e.raw(`,"memory":`)
	e.strings(s.Memory)
	if p := s.Packed; p != nil {
		e.raw(`,"packed":{"path":`)
		e.string(p.Path)
		e.raw(`,"root":`)
		e.string(p.Root)
		e.raw(`,"sha256":`)
		e.string(p.SHA256)
		e.raw(`,"size":`)
		e.uint(uint64(p.Size))
		e.raw("}")
	}
	e.raw("}")
}

func (d *decoder) sgx(s *SGX) {
	d.lit(`{"encrypted":`)
	s.Encrypted = readList(d, maxList, func() (m EncryptedMount) {
		d.lit(`{"key":`)
		m.Key = d.string()
		d.lit(`,"path":`)
		m.Path = d.string()
		d.lit("}")
		return m
	})
	d.lit(`,"memory":`)
	s.Memory = d.strings()
	if d.try(`,"packed":{"path":`) {
		p := new(Packed)
		p.Path = d.string()
		d.lit(`,"root":`)
		p.Root = d.string()
		d.lit(`,"sha256":`)
		p.SHA256 = d.string()
		d.lit(`,"size":`)
		p.Size = int64(d.uint(maxInteger))
		d.lit("}")
		s.Packed = p
	}
	d.lit("}")
}
