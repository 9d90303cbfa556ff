package gramine

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	maxEnclave = 1 << 40 // Gramine's debug block lies at 1 TB (sgx_gdb.h)
	maxThreads = 4096
	maxRPC     = 256
)

// EnclaveSize is sgx.enclave_size in bytes, or what Gramine takes where it is absent: 256
// MiB, with EDMM 1 TiB.
func (m *Manifest) EnclaveSize() (uint64, error) {
	if m.SGX.EnclaveSize == "" {
		if m.SGX.EDMM {
			return 1 << 40, nil
		}
		return 256 << 20, nil
	}
	n, err := ParseSize(m.SGX.EnclaveSize)
	bad := &Error{
		Key: "sgx.enclave_size", Seen: strconv.Quote(m.SGX.EnclaveSize),
		Wanted: "a power of two up to 1024G, in decimal with K, M, G or no unit",
	}
	if err != nil || n == 0 || n&(n-1) != 0 || n > maxEnclave {
		return 0, bad
	}
	return n, nil
}

// ParseSize reads a size as both Gramine's signer and its loader do: decimal digits, and K,
// M or G for powers of 1024.
func ParseSize(s string) (uint64, error) {
	digits, shift := s, 0
	if i := strings.IndexByte("KMG", lastByte(s)); i >= 0 {
		digits, shift = s[:len(s)-1], 10*(i+1)
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Errorf("size %q: wanted decimal digits, and K, M, G or nothing behind them", s)
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > 1<<63>>shift {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return n << shift, nil
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// Threads is sgx.max_threads, 4 where it is absent.
func (m *Manifest) Threads() int {
	if m.SGX.MaxThreads == nil {
		return 4
	}
	return int(*m.SGX.MaxThreads)
}

// Check reports everything that Gramine's loader refuses though its signer may take it, as
// errors of type *Error, joined.
func (m *Manifest) Check() error {
	var errs []error
	refuse := func(when bool, key, seen, wanted, advice string) {
		if when {
			errs = append(errs, &Error{key, seen, wanted, advice})
		}
	}
	if _, err := m.EnclaveSize(); err != nil {
		errs = append(errs, err)
	}
	s := &m.SGX
	refuse(s.MaxThreads != nil && (*s.MaxThreads < 1 || *s.MaxThreads > maxThreads), "sgx.max_threads", fmt.Sprint(m.Threads()), "1 to 4096", "")
	refuse(s.InsecureRPCThreads < 0 || s.InsecureRPCThreads > maxRPC, "sgx.insecure__rpc_thread_num", fmt.Sprint(s.InsecureRPCThreads), "0 to 256", "")
	refuse(s.ISVProdID < 0 || s.ISVProdID > 65535, "sgx.isvprodid", fmt.Sprint(s.ISVProdID), "0 to 65535", "")
	refuse(s.ISVSVN < 0 || s.ISVSVN > 65535, "sgx.isvsvn", fmt.Sprint(s.ISVSVN), "0 to 65535", "")
	const release = "a release build of Gramine refuses it"
	refuse(s.EnableStats, "sgx.enable_stats", "true", "false", release)
	refuse(s.VTuneProfile, "sgx.vtune_profile", "true", "false", release)
	refuse(s.Profile.Enable != "" && s.Profile.Enable != "none", "sgx.profile.enable", strconv.Quote(s.Profile.Enable), `"none"`, release)
	refuse(s.PreheatEnclave && s.EDMM, "sgx.preheat_enclave", "true with sgx.edmm_enable", "one of the two", "")
	for _, w := range []struct {
		key, seen string
		allowed   []string
	}{
		{"sgx.remote_attestation", s.RemoteAttestation, []string{"", "none", "dcap"}},
		{"sgx.file_check_policy", s.FileCheckPolicy, []string{"", "strict", "allow_all_but_log"}},
		{"sgx.cpu_features.avx", s.CPUFeatures.AVX, []string{"", "unspecified", "disabled", "required"}},
		{"sgx.cpu_features.avx512", s.CPUFeatures.AVX512, []string{"", "unspecified", "disabled", "required"}},
		{"sgx.cpu_features.amx", s.CPUFeatures.AMX, []string{"", "unspecified", "disabled", "required"}},
		{"sgx.cpu_features.mpx", s.CPUFeatures.MPX, []string{"", "disabled", "required"}},
		{"sgx.cpu_features.pkru", s.CPUFeatures.PKRU, []string{"", "disabled", "required"}},
		{"loader.log_level", m.Loader.LogLevel, []string{"", "none", "error", "warning", "debug", "trace", "all"}},
	} {
		refuse(!slices.Contains(w.allowed, w.seen), w.key, strconv.Quote(w.seen), "one of "+strings.Join(w.allowed[1:], ", "), "")
	}
	errs = append(errs, m.checkFiles()...)
	return errors.Join(append(errs, m.checkLoader()...)...)
}

func (m *Manifest) checkLoader() []error {
	var errs []error
	l := &m.Loader
	sources := 0
	for _, set := range []bool{l.Argv != nil, l.ArgvSrcFile != "", l.InsecureUseCmdlineArgv} {
		if set {
			sources++
		}
	}
	if sources > 1 {
		errs = append(errs, &Error{"loader.argv", "more than one source of arguments", "one of argv, argv_src_file and insecure__use_cmdline_argv", ""})
	}
	for name := range l.Env {
		if name == "" || strings.Contains(name, "=") {
			errs = append(errs, &Error{"loader.env", strconv.Quote(name), "a name without =", ""})
		}
	}
	for _, s := range []struct{ key, size string }{{"sys.stack.size", m.Sys.StackSize}, {"sys.brk.max_size", m.Sys.BrkMaxSize}, {"sgx.trusted_files_cache_size", m.SGX.FilesCacheSize}} {
		if s.size == "" {
			continue
		}
		if _, err := ParseSize(s.size); err != nil {
			errs = append(errs, &Error{s.key, strconv.Quote(s.size), "decimal digits, and K, M, G or nothing behind them", ""})
		}
	}
	return errs
}

func (m *Manifest) checkFiles() []error {
	var errs []error
	file := func(key string, f *TrustedFile) {
		if len(errs) > 8 { // a list of many thousands says it all by then
			return
		}
		sum, err := hex.DecodeString(f.SHA256)
		switch {
		case !strings.HasPrefix(f.URI, "file:"):
			errs = append(errs, &Error{key, strconv.Quote(f.URI), "a URI that begins with file:", ""})
		case f.SHA256 == "":
			errs = append(errs, &Error{key, f.URI + " has no sha256", "the final manifest, NAME.manifest.sgx", "Gramine's tools add the hashes"})
		case err != nil || len(sum) != 32 || strings.ToLower(f.SHA256) != f.SHA256:
			errs = append(errs, &Error{key, fmt.Sprintf("%s: sha256 %q", f.URI, f.SHA256), "64 lower-case hexadecimal digits", ""})
		}
	}
	file("loader.entrypoint", &m.Loader.Entrypoint)
	for i := range m.SGX.TrustedFiles {
		file(fmt.Sprintf("sgx.trusted_files[%d]", i), &m.SGX.TrustedFiles[i])
	}
	if m.LibOS.Entrypoint == "" {
		errs = append(errs, &Error{"libos.entrypoint", "empty", "the program's path", ""})
	}
	for i := range m.FS.Mounts {
		mnt, key := &m.FS.Mounts[i], fmt.Sprintf("fs.mounts[%d]", i)
		if !strings.HasPrefix(mnt.Path, "/") || mnt.Path == "/" {
			errs = append(errs, &Error{key + ".path", strconv.Quote(mnt.Path), "an absolute path below the root", ""})
		}
		if !slices.Contains([]string{"", MountChroot, MountEncrypted, MountTmpfs, MountUntrustedShm}, mnt.Type) {
			errs = append(errs, &Error{key + ".type", strconv.Quote(mnt.Type), "chroot, encrypted, tmpfs or untrusted_shm", ""})
		}
	}
	return errs
}
