package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/convert/closure"
	"hitoku.dev/internal/convert/sgxplan"
	"hitoku.dev/internal/gramine"
	"hitoku.dev/measure/workload"
)

// sgxFlags are the flags of conversions for SGX that other TEEs have no use for. Encrypted
// folders, product id and version have flags of their own already.
type sgxFlags struct {
	enclaveSize, stackSize, brkSize, java      string
	gramine, gramineVersion, files, fragment   string
	traces, include, exclude                   []string
	allow, allowedFiles, cpuFeatures           []string
	threads, fdLimit                           int
	edmm, debug, exinfo, noExinfo, preheat     bool
	noSubprocesses, noSigterm, noDNS, fixCache bool
}

func (o *sgxFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.gramine, "gramine", "", "Gramine's files: image, layout, tar or folder `REF`, which may end in @sha256:…")
	f.StringVar(&o.gramineVersion, "gramine-version", "", "take Gramine's files for `VERSION` where they do not show it")
	f.StringVar(&o.files, "files", "lean", "which files are trusted: `MODE` all, lean or packed")
	f.StringArrayVar(&o.include, "include", nil, "file, folder or pattern `PATH` that the program needs (repeatable)")
	f.StringArrayVar(&o.exclude, "exclude", nil, "file, folder or pattern `PATH` that it does not need (repeatable)")
	f.StringArrayVar(&o.traces, "trace", nil, "`FILE` with the paths that the program opened, from strace or one a line (repeatable)")
	f.StringVar(&o.enclaveSize, "enclave-size", "", "memory of the enclave, a power of two such as 4G: `SIZE` (default 4G)")
	f.IntVar(&o.threads, "threads", 0, "`NUMBER` of threads at one time (default 32)")
	f.BoolVar(&o.edmm, "edmm", false, "let memory and threads grow while it runs (needs SGX2)")
	f.BoolVar(&o.debug, "debug-enclave", false, "make an enclave whose memory can be read (needs --allow debug)")
	f.StringArrayVar(&o.cpuFeatures, "cpu-feature", nil, "`NAME=STATE`: avx, avx512, amx, mpx or pkru as disabled, required or unspecified (repeatable)")
	f.StringVar(&o.fragment, "manifest", "", "`FRAGMENT.toml` of a Gramine manifest to put over the generated one")
	f.StringArrayVar(&o.allow, "allow", nil, "accept what weakens the enclave: `WORD` debug, unsupported or insecure:KEY (repeatable)")
	f.StringArrayVar(&o.allowedFiles, "allowed-file", nil, "file, folder or device `PATH` of the host to use unprotected (repeatable)")
	f.StringVar(&o.java, "java", "", "flags for little memory and few threads: `KIND` openjdk or openj9")
	f.StringVar(&o.stackSize, "stack-size", "", "`SIZE` of the first thread's stack (default 2M, Java 8M)")
	f.StringVar(&o.brkSize, "brk-size", "", "`SIZE` of the heap that brk makes (default 256M)")
	f.IntVar(&o.fdLimit, "fd-limit", 0, "`NUMBER` of open files (default 65536)")
	f.BoolVar(&o.exinfo, "exinfo", false, "tell the enclave of memory faults (default: for Java, Node.js and static programs)")
	f.BoolVar(&o.noExinfo, "no-exinfo", false, "do not tell the enclave of memory faults")
	f.BoolVar(&o.preheat, "preheat", false, "touch all memory at the start")
	f.BoolVar(&o.noSubprocesses, "no-subprocesses", false, "let the program start no other")
	f.BoolVar(&o.noSigterm, "no-sigterm", false, "do not let the host send SIGTERM")
	f.BoolVar(&o.noDNS, "no-dns-conf", false, "do not take name servers and host name from the host")
	f.BoolVar(&o.fixCache, "fix-pyc", false, "mend Python's compiled files, which Gramine makes look old")
}

// options puts what the flags say over what a request file said.
func (o *sgxFlags) options(base sgxplan.Options) (sgxplan.Options, error) {
	over(&base.EnclaveSize, o.enclaveSize)
	over(&base.StackSize, o.stackSize)
	over(&base.BrkSize, o.brkSize)
	over(&base.JavaMode, o.java)
	over(&base.Threads, o.threads)
	over(&base.FDLimit, o.fdLimit)
	over(&base.EDMM, o.edmm)
	over(&base.Debug, o.debug)
	over(&base.Preheat, o.preheat)
	over(&base.NoSubprocesses, o.noSubprocesses)
	over(&base.NoSigterm, o.noSigterm)
	over(&base.NoDomainNames, o.noDNS)
	if o.exinfo && o.noExinfo {
		return base, usageError{fmt.Errorf("--exinfo and --no-exinfo exclude each other")}
	}
	if o.exinfo || o.noExinfo {
		base.UseExinfo = &o.exinfo
	}
	base.Allow = append(base.Allow, o.allow...)
	base.Allowed = append(base.Allowed, o.allowedFiles...)
	for _, text := range o.cpuFeatures {
		name, state, ok := strings.Cut(text, "=")
		if !ok {
			return base, usageError{fmt.Errorf("--cpu-feature %q: wanted NAME=STATE, such as avx512=required", text)}
		}
		if base.CPUFeatures == nil {
			base.CPUFeatures = map[string]string{}
		}
		base.CPUFeatures[name] = state
	}
	if o.fragment != "" {
		b, err := os.ReadFile(o.fragment)
		if err != nil {
			return base, fmt.Errorf("--manifest: %w", err)
		}
		base.Fragment = b
	}
	switch o.files {
	case "all", "lean", "packed":
	default:
		return base, usageError{fmt.Errorf("--files %q: wanted all, lean or packed", o.files)}
	}
	return base, nil
}

// over takes a flag that was given.
func over[T comparable](to *T, flag T) {
	var zero T
	if flag != zero {
		*to = flag
	}
}

// forSGX completes a request for SGX, and refuses what only SGX has a use for in others.
func (o *conversionFlags) forSGX(cmd *cobra.Command, q *convert.Request, base *convert.File) error {
	if o.tee != workload.TEESGX {
		own := pflag.NewFlagSet("", pflag.ContinueOnError)
		new(sgxFlags).register(own)
		var given []string
		own.VisitAll(func(f *pflag.Flag) {
			if cmd.Flags().Changed(f.Name) {
				given = append(given, "--"+f.Name)
			}
		})
		for _, e := range o.encrypted {
			if strings.Contains(e, "=") {
				given = append(given, "--encrypted "+e)
			}
		}
		if len(given) > 0 {
			return usageError{fmt.Errorf("%s: only for SGX; give --tee sgx too", strings.Join(given, ", "))}
		}
		return nil
	}
	plan, err := o.sgx.options(base.SGX)
	if err != nil {
		return err
	}
	q.Options.Encrypted = append([]string{}, base.Options.Encrypted...)
	for _, text := range o.encrypted {
		e := encryptedFlag(text)
		q.Options.Encrypted = append(q.Options.Encrypted, e.Path)
		plan.Encrypted = append(plan.Encrypted, e)
	}
	q.SGX = convert.SGXOptions{
		Gramine: gramine.Options{Ref: o.sgx.gramine, Version: o.sgx.gramineVersion, Image: q.InputOptions, System: "/"}, Plan: plan,
		Files: o.sgx.files, Include: o.sgx.include, Exclude: o.sgx.exclude, FixPyc: o.sgx.fixCache,
	}
	for _, name := range o.sgx.traces {
		paths, err := readTrace(name)
		if err != nil {
			return fmt.Errorf("--trace %s: %w", name, err)
		}
		q.SGX.Trace = append(q.SGX.Trace, paths...)
	}
	return nil
}

func readTrace(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return closure.ParseTrace(f)
}

// encryptedFlag divides --encrypted PATH[=KEY].
func encryptedFlag(text string) sgxplan.EncryptedMount {
	name, key, _ := strings.Cut(text, "=")
	return sgxplan.EncryptedMount{Path: name, Key: key}
}
