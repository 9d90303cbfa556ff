package sgxhost

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// host is a root folder that looks like a machine.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T) host {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "sgx") // socket paths are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	return host{t, root}
}

func (h host) file(name, text string) host {
	h.t.Helper()
	full := h.folder(name)
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return h
}

func (h host) folder(name string) string {
	h.t.Helper()
	full := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		h.t.Fatal(err)
	}
	return full
}

// device makes a character device, the null device's number standing for SGX's.
func (h host) device(name string) host {
	h.t.Helper()
	if err := syscall.Mknod(h.folder(name), syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		// Without privileges, a link to one.
		if err := os.Symlink("/dev/null", h.folder(name)); err != nil {
			h.t.Fatal(err)
		}
	}
	return h
}

func (h host) socket(name string) host {
	h.t.Helper()
	l, err := net.Listen("unix", h.folder(name))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	return h
}

// cpuid writes what the kernel's module gives, at the offsets where it does.
func (h host) cpuid(answers map[[2]uint32][4]uint32) host {
	h.t.Helper()
	f, err := os.Create(h.folder("dev/cpu/0/cpuid"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	for leaf, r := range answers {
		var b []byte
		for _, x := range r {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		if _, err := f.WriteAt(b, int64(leaf[1])<<32|int64(leaf[0])); err != nil {
			h.t.Fatal(err)
		}
	}
	return h
}

const cpuinfo = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz\nflags\t\t: fpu vme sgx aes sgx_lc\n\nprocessor\t: 1\nflags\t\t: fpu\n"

func (h host) complete() host {
	return h.file("proc/cpuinfo", cpuinfo).file("proc/sys/kernel/osrelease", "6.8.0-1018-azure\n").
		file("sys/devices/system/node/node0/x86/sgx_total_bytes", "8589934592\n").file("sys/devices/system/node/node1/x86/sgx_total_bytes", "4294967296\n").
		device("dev/sgx_enclave").device("dev/sgx_provision").socket("var/run/aesmd/aesm.socket")
}

func TestReady(t *testing.T) {
	t.Parallel()
	p := Detect(newHost(t).complete().root)
	if !p.Ready || p.Err() != nil || len(p.Problems) != 0 {
		t.Errorf("%+v", p)
	}
	if p.EPCBytes != 12<<30 || p.EnclaveDevice != "/dev/sgx_enclave" || p.ProvisionDevice != "/dev/sgx_provision" || p.AESM != AESMSocket || p.SGX2 != nil ||
		!strings.HasPrefix(p.CPU, "Intel(R) Xeon") || p.Kernel != "6.8.0-1018-azure" || !p.SGX || !p.LaunchControl {
		t.Errorf("%+v", p)
	}
	raw, err := json.Marshal(p)
	if err != nil || !strings.Contains(string(raw), `"problems":[]`) {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestOtherNames(t *testing.T) {
	t.Parallel()
	p := Detect(newHost(t).file("proc/cpuinfo", cpuinfo).device("dev/sgx/enclave").device("dev/sgx/provision").socket("run/aesmd/aesm.socket").root)
	if !p.Ready || p.EnclaveDevice != "/dev/sgx/enclave" || p.ProvisionDevice != "/dev/sgx/provision" || p.AESM != "/run/aesmd/aesm.socket" || p.EPCBytes != 0 {
		t.Errorf("%+v", p)
	}
}

func TestCPUID(t *testing.T) {
	t.Parallel()
	h := newHost(t).cpuid(map[[2]uint32][4]uint32{
		{7, 0}: {0, 1 << 2, 1 << 30, 0}, {0x17, 0}: {},
	})
	if p := Detect(h.root); !p.SGX || !p.LaunchControl || p.SGX2 == nil || *p.SGX2 {
		t.Errorf("%+v", p)
	}
	none := newHost(t).cpuid(map[[2]uint32][4]uint32{{7, 0}: {}})
	if p := Detect(none.root); p.SGX || p.SGX2 == nil || *p.SGX2 || p.EPCBytes != 0 {
		t.Errorf("%+v", p)
	}
	if p := Detect(newHost(t).file("dev/cpu/0/cpuid", "short").root); p.SGX2 != nil {
		t.Errorf("%+v", p)
	}
}

// TestEnclaveLeaf: leaf 12H has answers of its own. A file cannot hold those of two
// leaves that are 11 bytes apart, as the kernel's device can, so that leaf 7 is made to overlap.
func TestEnclaveLeaf(t *testing.T) {
	t.Parallel()
	h := newHost(t).cpuid(map[[2]uint32][4]uint32{{7, 0}: {0, 1 << 2, 1<<30 | 3<<24, 0}})
	h2 := filepath.Join(h.root, "dev/cpu/0/cpuid")
	f, err := os.OpenFile(h2, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section := func(sub uint32, kind, size uint32) {
		var b []byte
		for _, x := range []uint32{kind, 0, size, 1} {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		if _, err := f.WriteAt(b, int64(sub)<<32|0x12); err != nil {
			t.Fatal(err)
		}
	}
	section(2, 0x80001001, 0x5c00001)
	section(3, 1, 0x1000)
	section(4, 0, 0)
	p := Detect(h.root)
	if want := uint64(2)<<32 + 0x5c00000 + 0x1000; p.EPCBytes != want || p.SGX2 == nil || !*p.SGX2 {
		t.Errorf("EPC %#x, wanted %#x; %+v", p.EPCBytes, want, p)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host func(t *testing.T) host
		want string
	}{
		"nothing":    {newHost, "processor enclave_device provision_device aesm"},
		"no lc":      {func(t *testing.T) host { return newHost(t).complete().file("proc/cpuinfo", "flags : sgx\n") }, "launch_control"},
		"old driver": {func(t *testing.T) host { return newHost(t).file("proc/cpuinfo", cpuinfo).device("dev/isgx") }, "enclave_device provision_device aesm"},
		"plain files": {func(t *testing.T) host {
			return newHost(t).file("proc/cpuinfo", cpuinfo).file("dev/sgx_enclave", "").file("dev/sgx_provision", "").file("var/run/aesmd/aesm.socket", "")
		}, "enclave_device provision_device aesm"},
		"no flags line": {func(t *testing.T) host { return newHost(t).complete().file("proc/cpuinfo", "model name : x\n") }, "processor"},
	} {
		p := Detect(c.host(t).root)
		var rules []string
		for _, x := range p.Problems {
			rules = append(rules, x.Rule)
			if x.Wanted == "" || x.Seen == "" || x.Advice == "" {
				t.Errorf("%s: %+v", name, x)
			}
		}
		if got := strings.Join(rules, " "); p.Ready || got != c.want {
			t.Errorf("%s: ready %v, problems %s, wanted %s", name, p.Ready, got, c.want)
		}
		var not *NotReadyError
		if !errors.As(p.Err(), &not) || !strings.Contains(not.Error(), "wanted ") {
			t.Errorf("%s: %v", name, p.Err())
		}
		if name == "old driver" && !strings.Contains(p.Err().Error(), "/dev/isgx") {
			t.Errorf("%v", p.Err())
		}
	}
}
