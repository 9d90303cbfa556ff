package convert

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/internal/convert/sgxplan"
	"hitoku.dev/measure/workload"
)

func TestRequestFileForSGX(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]sgxplan.Options{
		`{"memSize":"2048M","threads":128,"debug":true}`: {EnclaveSize: "2G", Threads: 128, Debug: true},
		`{"mem_size":4096,"java_mode":"ORACLE"}`:         {EnclaveSize: "4G", JavaMode: "openjdk"},
		`{"memSize":"3M","javaMode":"LIBERTY"}`:          {EnclaveSize: "3M", JavaMode: "openj9"},
		`{"memSize":"1048576K","javaRuntime":"openj9"}`:  {EnclaveSize: "1G", JavaMode: "openj9"},
		`{"manifestOptions":{"sgx.enclave_size":"8G","sgx.thread_num":"64","sgx.memory_model":"sgx2","sys.stack.size":"8M"}}`: {EnclaveSize: "8G", Threads: 64, EDMM: true, StackSize: "8M"},
		`{"manifestOptions":{},"debug":false}`: {},
	} {
		f, err := ParseFileFor([]byte(text), workload.TEESGX)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, f.SGX); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
	f, err := ParseFileFor([]byte(`{"cpu_count":2,"encryptedDirs":["/data"],"rwDirs":["/w"],"manifestEnv":["A=b"],"mutableEnv":["C=d"],"allowCmdlineArgs":true}`), workload.TEESGX)
	if err != nil || len(f.Notices) != 1 || !strings.Contains(f.Notices[0], "no meaning for SGX") || !f.Options.AllowArgs || len(f.Options.Encrypted)+len(f.Options.ReadWrite)+len(f.Options.Env)+len(f.Options.MutableEnv) != 4 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestRequestFileForSGXRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"memSize":"2048"}`: "wanted a number with K, M or G", `{"memSize":[]}`: "memSize",
		`{"threads":0}`: "wanted 1 to 4096", `{"threads":"x"}`: "threads", `{"java_mode":"x"}`: "wanted OPENJDK", `{"java_mode":1}`: "java_mode", `{"debug":1}`: "debug",
		`{"manifestOptions":{"vdso.enable":true}}`: "manifestOptions.vdso.enable is a key of another runtime", `{"manifestOptions":[1]}`: "manifestOptions",
		`{"manifestOptions":{"sgx.memory_model":"all"}}`: "wanted sgx1 or sgx2",
	} {
		if _, err := ParseFileFor([]byte(text), workload.TEESGX); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %q", text, err, want)
		}
	}
}
