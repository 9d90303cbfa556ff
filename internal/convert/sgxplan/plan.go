package sgxplan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

const (
	defaultSize    = "4G"
	defaultThreads = 32
	minGuestSize   = 2 << 30 // the guest's Go runtime reserves 1.1 GB of addresses
	manyEntries    = 3000
	maxArgument    = 128 << 10
)

// Plan makes the manifest. The error joins everything that is refused.
func Plan(in Input) (*gramine.Manifest, Report, error) {
	p := &planner{in: &in, mounts: map[string]string{}}
	m := &gramine.Manifest{}
	p.size(m)
	p.program(m)
	p.environment(m)
	p.mount(m)
	p.trust(m)
	p.attributes(m)
	if len(in.Options.Fragment) > 0 {
		merged, conflicts, err := Merge(m, in.Options.Fragment)
		p.report.Conflicts = conflicts
		if err != nil {
			p.errs = append(p.errs, err)
		} else {
			m = merged
		}
		p.section(m)
		p.checkSize(m)
	}
	p.weaknesses(m)
	p.report.Findings = Preflight(&in)
	p.allowedFindings()
	p.predict(m)
	if err := p.err(); err != nil {
		return nil, p.report, err
	}
	return m, p.report, nil
}

func (p *planner) size(m *gramine.Manifest) {
	o := &p.in.Options
	m.SGX.EDMM = o.EDMM
	m.SGX.EnclaveSize = defaultSize
	if o.EnclaveSize != "" {
		m.SGX.EnclaveSize = o.EnclaveSize
	}
	n := int64(defaultThreads)
	if o.Threads != 0 {
		n = int64(o.Threads)
	}
	m.SGX.MaxThreads = &n
	p.checkSize(m)
	if n < 1 || n > 4096 {
		p.refuse("sgx.max_threads", strconv.FormatInt(n, 10), "Gramine takes 1 to 4096", "--threads NUMBER")
	}
	if n < 16 && !o.EDMM {
		p.note("sgx.max_threads %d: the guest alone may use 16 threads, Gramine 3 more; give --threads 32 or --edmm", n)
	}
	if rt, ok := p.runtime("java", "node", "dotnet"); ok && n < 32 && !o.EDMM {
		p.note("sgx.max_threads %d: %s starts many threads of its own; give --threads 64 if it ends with \"cannot create thread\"", n, rt)
	}
}

func (p *planner) checkSize(m *gramine.Manifest) {
	const option = "--enclave-size 4G"
	s := m.SGX.EnclaveSize
	size, ok := parseSize(s)
	switch {
	case !ok || size&(size-1) != 0 || size > 1<<40:
		p.refuse("sgx.enclave_size", strconv.Quote(s), "wanted a power of two up to 1024G: a number with K, M or G", option)
	case size < minGuestSize && !m.SGX.EDMM:
		p.refuse("sgx.enclave_size", s, "the guest's runtime reserves 1.1 GB of addresses, which does not fit below 2G without EDMM", option+" or --edmm")
	case size < 2*minGuestSize && !m.SGX.EDMM:
		p.note("sgx.enclave_size %s: 4G is advised: guest and program share it", s)
	}
	p.report.Memory = fmt.Sprintf("%s for each enclave; each child process is an enclave of the same size", s)
	if n := p.in.Options.EnclavesAtOneMoment; n > 1 && ok && size <= 1<<40 {
		p.report.Memory = fmt.Sprintf("%d MiB for %d enclaves of %s", size>>20*uint64(n), n, s)
	}
}

// parseSize reads a size that is neither zero nor near the end of what 64 bits hold.
func parseSize(s string) (uint64, bool) {
	n, err := gramine.ParseSize(s)
	return n, err == nil && n != 0 && n <= 1<<62
}

// runtime finds a runtime whose name begins with one of the words.
func (p *planner) runtime(words ...string) (string, bool) {
	for _, r := range p.in.Runtimes {
		for _, w := range words {
			if strings.TrimRight(r, ".0123456789") == w {
				return r, true
			}
		}
	}
	return "", false
}

func (p *planner) program(m *gramine.Manifest) {
	x := &p.in.Exec
	m.LibOS.Entrypoint = workload.GuestPath
	m.Loader.Argv = slices.Concat([]string{workload.GuestPath}, x.Entry, x.Args)
	if len(m.Loader.Argv) == 1 {
		p.refuse("loader.argv", "no program", "the image has neither ENTRYPOINT nor CMD", "--entrypoint PROGRAM")
	}
	for _, a := range m.Loader.Argv {
		if why := untext(a); why != "" {
			p.refuse("loader.argv", strconv.Quote(a), why, "--entrypoint, --args")
		} else if len(a) > maxArgument {
			p.refuse("loader.argv", fmt.Sprintf("an argument of %d bytes", len(a)), "Linux takes 131072", "--args")
		}
	}
	if x.AllowArgs {
		p.refuse("loader.insecure__use_cmdline_argv", "arguments from the host", "Gramine measures the arguments and the guest compares them", "leave --allow-args away and give --args, or --mutable-env NAME=VALUE for what changes")
	}
	m.Loader.UID, m.Loader.GID = x.UID, x.GID
	m.FS.StartDir = x.WorkDir
	if m.FS.StartDir == "" {
		m.FS.StartDir = "/"
	}
	if why := untext(m.FS.StartDir); why != "" {
		p.refuse("fs.start_dir", strconv.Quote(m.FS.StartDir), why, "build the image with another WORKDIR")
	}
	m.Loader.Entrypoint = gramine.TrustedFile{URI: "file:" + p.in.Sysdb.Path, SHA256: p.in.Sysdb.SHA256}
	if !workload.IsHash(p.in.Sysdb.SHA256) || !strings.HasPrefix(p.in.Sysdb.Path, "/") {
		p.refuse("loader.entrypoint", strconv.Quote(p.in.Sysdb.Path), "wanted Gramine's libsysdb.so with its hash", "--gramine REF")
	}
	m.Loader.LogLevel = "error"
}

// untext says why a text cannot stand in a manifest.
func untext(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "it is not UTF-8, and TOML has no other text"
	case strings.ContainsRune(s, 0):
		return "it has a zero byte, at which the loader would stop"
	}
	return ""
}

// attributes sets what the processor and Gramine are told about the enclave.
func (p *planner) attributes(m *gramine.Manifest) {
	o := &p.in.Options
	s := &m.SGX
	s.RemoteAttestation = "dcap"
	s.Debug, s.PreheatEnclave = o.Debug, o.Preheat
	s.ISVProdID, s.ISVSVN = int64(o.ISVProdID), int64(o.ISVSVN)
	if o.Preheat && o.EDMM {
		p.refuse("sgx.preheat_enclave", "with EDMM", "there is nothing to touch before the start", "give one of --preheat and --edmm")
	}
	// A static program is as likely as not of Go, which turns a bad pointer into an error of its own.
	_, s.UseExinfo = p.runtime("java", "node", "go", "dotnet", "wasm", "static")
	if o.UseExinfo != nil {
		s.UseExinfo = *o.UseExinfo
	}
	s.CPUFeatures = gramine.CPUFeatures{AVX: "unspecified", AVX512: "unspecified", AMX: "unspecified", MPX: "disabled", PKRU: "disabled"}
	fields := map[string]*string{"avx": &s.CPUFeatures.AVX, "avx512": &s.CPUFeatures.AVX512, "amx": &s.CPUFeatures.AMX, "mpx": &s.CPUFeatures.MPX, "pkru": &s.CPUFeatures.PKRU}
	for _, name := range sortedKeys(o.CPUFeatures) {
		state, f := o.CPUFeatures[name], fields[name]
		ok := f != nil && (state == "disabled" || state == "required" || state == "unspecified" && name != "mpx" && name != "pkru")
		if !ok {
			p.refuse("sgx.cpu_features."+name, strconv.Quote(state), "wanted avx, avx512, amx, mpx or pkru as disabled or required; the first three may be unspecified", "--cpu-feature NAME=STATE")
			continue
		}
		*f = state
	}
	p.system(m)
}

func (p *planner) system(m *gramine.Manifest) {
	o := &p.in.Options
	m.Sys.StackSize, m.Sys.BrkMaxSize, m.Sys.FDLimit = "2M", "256M", 65536
	if _, ok := p.runtime("java", "dotnet"); ok || o.JavaMode != "" {
		m.Sys.StackSize = "8M"
	}
	for _, v := range []struct {
		key, value, option string
		to                 *string
	}{{"sys.stack.size", o.StackSize, "--stack-size 8M", &m.Sys.StackSize}, {"sys.brk.max_size", o.BrkSize, "--brk-size 256M", &m.Sys.BrkMaxSize}} {
		if v.value == "" {
			continue
		}
		if n, ok := parseSize(v.value); !ok || n%4096 != 0 {
			p.refuse(v.key, strconv.Quote(v.value), "wanted a multiple of 4K: a number with K, M or G", v.option)
		}
		*v.to = v.value
	}
	if o.FDLimit < 0 {
		p.refuse("sys.fds.limit", strconv.Itoa(o.FDLimit), "wanted a positive number", "--fd-limit 65536")
	} else if o.FDLimit > 0 {
		m.Sys.FDLimit = int64(o.FDLimit)
	}
	m.Sys.DomainNamesConf, m.Sys.SigtermInjection = !o.NoDomainNames, !o.NoSigterm
	m.Sys.DisallowSubprocess = o.NoSubprocesses
}

// predict says how long Gramine reads its manifest: it grows its lists by one element each time.
func (p *planner) predict(m *gramine.Manifest) {
	n := len(m.SGX.TrustedFiles)
	p.report.Entries = n
	p.report.PredictedStart = PredictedStart(n)
	if n > manyEntries {
		p.note("%d trusted files: each process needs about %s to read the manifest, and twice that on SGX; choose fewer with --files lean or --exclude, or give --files packed",
			n, p.report.PredictedStart.Round(100*time.Millisecond))
	}
}

// PredictedStart is the time that one process needs to read a manifest of n trusted files
// once (gramine-sgx.md section 0: 5.2 s for 10,000, quadratic). On SGX it is read twice.
func PredictedStart(n int) time.Duration {
	share := float64(n) / 10000
	return time.Duration(5.2 * share * share * float64(time.Second))
}
