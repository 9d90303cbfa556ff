package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"hitoku.dev/internal/convert/sgxplan"
)

func TestSGXFlags(t *testing.T) {
	t.Parallel()
	fragment := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(fragment, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	yes := true
	for line, want := range map[string]sgxplan.Options{
		"": {Threads: 7},
		"--enclave-size 8G --threads 64 --edmm --exinfo --cpu-feature avx=required --java openj9":            {EnclaveSize: "8G", Threads: 64, EDMM: true, UseExinfo: &yes, CPUFeatures: map[string]string{"avx": "required"}, JavaMode: "openj9"},
		"--debug-enclave --allow debug --allowed-file /etc/hosts --fd-limit 9 --stack-size 1M --brk-size 2M": {Threads: 7, Debug: true, Allow: []string{"debug"}, Allowed: []string{"/etc/hosts"}, FDLimit: 9, StackSize: "1M", BrkSize: "2M"},
		"--preheat --no-subprocesses --no-sigterm --no-dns-conf --manifest " + fragment:                      {Threads: 7, Preheat: true, NoSubprocesses: true, NoSigterm: true, NoDomainNames: true, Fragment: []byte("x")},
	} {
		var o sgxFlags
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		o.register(f)
		if err := f.Parse(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		got, err := o.options(sgxplan.Options{Threads: 7})
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %v %s", line, err, cmp.Diff(want, got))
		}
	}
	for _, o := range []sgxFlags{{files: "x"}, {files: "all", exinfo: true, noExinfo: true}, {files: "all", cpuFeatures: []string{"avx"}}, {files: "all", fragment: fragment + "x"}} {
		if _, err := o.options(sgxplan.Options{}); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if e := encryptedFlag("/a=k"); e != (sgxplan.EncryptedMount{Path: "/a", Key: "k"}) {
		t.Error(e)
	}
}
