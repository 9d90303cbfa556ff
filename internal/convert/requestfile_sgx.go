package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hitoku.dev/measure/workload"
)

// ParseFileFor reads a request file for a TEE, workload.TEESimulated or TEESGX. Members about
// an enclave's memory, threads and runtime have a meaning for SGX only: they become File.SGX.
func ParseFileFor(data []byte, tee string) (*File, error) {
	f, err := parseFile(data, tee == workload.TEESGX)
	if err != nil {
		return nil, requestError("request file: %w", err)
	}
	return f, nil
}

// enclave takes the members that only SGX has a use for. It reports false for others.
func (r *fileReader) enclave(path, name string, v json.RawMessage) (bool, error) {
	o := &r.f.SGX
	switch name {
	case "mem_size":
		return true, set(&o.EnclaveSize)(memorySize(path, v))
	case "threads":
		n, err := value[int](path, v)
		if err == nil && (n < 1 || n > 4096) {
			err = fmt.Errorf("%s: %d, wanted 1 to 4096", path, n)
		}
		o.Threads = n
		return true, err
	case "java_mode":
		s, err := value[string](path, v)
		if err == nil {
			if o.JavaMode, err = JavaMode(s); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
		return true, err
	case "debug":
		// The word that permits it is not in CCM's files: the user gives it to the command.
		return true, set(&o.Debug)(value[bool](path, v))
	case "manifest_options":
		return true, r.manifestOptions(path, v)
	}
	return false, nil
}

// JavaMode is the mode of sgxplan.Options for one of CCM's words.
func JavaMode(word string) (string, error) {
	switch m := strings.ToLower(strings.ReplaceAll(word, "_", "")); m {
	case "", "openjdk", "openj9":
		return m, nil
	case "oracle", "hotspot":
		return "openjdk", nil
	case "liberty":
		return "openj9", nil
	}
	return "", fmt.Errorf("%q, wanted OPENJDK, ORACLE, OPENJ9 or LIBERTY", word)
}

// memorySize reads "2048M" or a number of MB, and gives the shortest text of the same size.
func memorySize(path string, v json.RawMessage) (string, error) {
	s, err := value[string](path, v)
	if err != nil {
		n, numErr := value[uint32](path, v)
		if numErr != nil {
			return "", err
		}
		s = strconv.FormatUint(uint64(n), 10) + "M"
	}
	if !regexp.MustCompile(`^[1-9][0-9]{0,11}[KMG]$`).MatchString(s) {
		return "", fmt.Errorf("%s: %q, wanted a number with K, M or G, such as \"4096M\"", path, s)
	}
	n, _ := strconv.ParseUint(s[:len(s)-1], 10, 64)
	unit := strings.IndexByte("KMG", s[len(s)-1])
	for ; unit < 2 && n%1024 == 0; unit++ {
		n /= 1024
	}
	return strconv.FormatUint(n, 10) + "KMG"[unit:unit+1], nil
}

// manifestOptions takes the keys of CCM's own manifests that Gramine has a counterpart for.
func (r *fileReader) manifestOptions(path string, v json.RawMessage) error {
	options, err := value[map[string]json.RawMessage](path, v)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		at, v := path+"."+key, options[key]
		switch key {
		case "sgx.enclave_size":
			_, err = r.enclave(at, "mem_size", v)
		case "sgx.thread_num", "sgx.max_threads":
			_, err = r.enclave(at, "threads", loose(v))
		case "sgx.memory_model":
			var model string
			model, err = value[string](at, v)
			if m := strings.ToLower(model); err == nil && m != "sgx1" && m != "sgx2" {
				err = fmt.Errorf("%s: %q, wanted sgx1 or sgx2", at, model)
			}
			r.f.SGX.EDMM = strings.EqualFold(model, "sgx2")
		case "sys.stack.size", "sgx.stack_size":
			err = set(&r.f.SGX.StackSize)(memorySize(at, v))
		default:
			err = fmt.Errorf("%s is a key of another runtime: take it out, or give Gramine's own key with --manifest FRAGMENT.toml", at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loose takes the quotes off a number.
func loose(v json.RawMessage) json.RawMessage {
	if n, err := strconv.Atoi(strings.Trim(string(v), `"`)); err == nil {
		return json.RawMessage(strconv.Itoa(n))
	}
	return v
}
