package sgxplan

import (
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/measure/workload"
)

// TrustedFile is a file that an enclave may open, under one of its paths in the image.
type TrustedFile struct {
	Path   string // absolute
	SHA256 string // 64 lower-case hexadecimal digits
	Size   int64  // bytes
	Mode   uint32 // permission bits with set-uid (04000) and set-gid (02000)
	Asked  bool   // the user named it: it cannot be left out
}

// DirLink is a symbolic link to a folder, with its target as the link has it.
type DirLink struct{ Path, Target string }

// Input is what a plan is made from.
type Input struct {
	Config  *v1.Config // may be nil
	Exec    workload.Exec
	Env     workload.Env
	Folders []workload.Folder
	// Files are the image's and the added layer's files, the guest and Gramine's C library
	// included, but not the workload manifest: its bytes depend on Report.SGX. Trust adds it.
	Files    []TrustedFile
	DirLinks []DirLink
	Runtimes []string // such as "elf-glibc", "static", "go", "python3.11", "node", "java17"
	Sysdb    TrustedFile
	LibC     string // folder of Gramine's C library in the image; empty when the program is static
	// Libraries are the image's own folders of libraries. Gramine's dynamic loader was built with
	// others, and has no cache of names: they follow LibC in LD_LIBRARY_PATH.
	Libraries []string
	// Hosts is a measured /etc/hosts; with an empty path there is none. The engine's is the host's.
	Hosts  TrustedFile
	Packed *workload.Packed
	// PackedFolders are the folders into which the archive is unpacked; they get memory.
	PackedFolders []string
	Options       Options
}

// Options are the user's wishes. Zero members take the default.
type Options struct {
	EnclaveSize         string // such as 4G, the default; a power of two
	Threads             int    // default 32
	EDMM                bool
	ISVProdID, ISVSVN   uint16
	Debug               bool              // needs the word "debug" in Allow
	CPUFeatures         map[string]string // avx, avx512, amx, mpx, pkru: unspecified, disabled, required
	UseExinfo           *bool             // nil: by the runtimes
	StackSize, BrkSize  string
	FDLimit             int
	JavaMode            string // "", "openjdk" or "openj9"
	Allowed             []string
	Encrypted           []EncryptedMount
	Fragment            []byte   // the user's own TOML
	Allow               []string // "debug", "unsupported", "insecure:KEY"
	Preheat             bool
	NoSubprocesses      bool
	NoSigterm           bool // leave SIGTERM from the host away
	NoDomainNames       bool // leave the host's resolv.conf and hostname away
	EnclavesAtOneMoment int  // for the memory in the report; default 1
}

// EncryptedMount is a folder whose files Gramine encrypts. Key is "sealing-mrenclave" (the
// default), "sealing-mrsigner", or a name for a key that the guest gives to Gramine.
type EncryptedMount struct{ Path, Key string }

// Report is what the user should know of a plan.
type Report struct {
	Notices        []string
	Findings       []Finding
	Conflicts      []Conflict
	Weak           []string // weaknesses that were allowed, "key = value: why"
	Entries        int      // of sgx.trusted_files
	PredictedStart time.Duration
	Memory         string
	SGX            *workload.SGX // the workload manifest's section
}

// Finding is something that Gramine does otherwise than Linux.
type Finding struct{ File, Rule, Option string }

func (f Finding) String() string { return fmt.Sprintf("%s: %s; %s", f.File, f.Rule, f.Option) }

// Conflict is a key of the user's fragment that changed what was generated.
type Conflict struct{ Key, Generated, Fragment string }

func (c Conflict) String() string {
	return fmt.Sprintf("%s: the fragment's %s takes the place of %s", c.Key, c.Fragment, c.Generated)
}

// Refusal is a plan that was not made. Errors of Plan, Trust and Merge are joined refusals.
type Refusal struct{ Key, Seen, Why, Option string }

func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s: %s: %s", r.Key, r.Seen, r.Why)
	if r.Option != "" {
		s += "; " + r.Option
	}
	return s
}

// planner collects what a plan says while it is made.
type planner struct {
	in     *Input
	report Report
	errs   []error
	links  map[string]string
	mounts map[string]string // tmpfs and encrypted mounts, with their types: what the image has below is hidden
}

func (p *planner) refuse(key, seen, why, option string) {
	p.errs = append(p.errs, &Refusal{key, seen, why, option})
}

func (p *planner) note(format string, a ...any) {
	p.report.Notices = append(p.report.Notices, fmt.Sprintf(format, a...))
}

func (p *planner) err() error { return errors.Join(p.errs...) }
