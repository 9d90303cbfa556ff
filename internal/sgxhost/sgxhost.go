// Package sgxhost looks at a machine and says whether it can run SGX enclaves
// with evidence, what is missing, and what to do about it.
//
// It reads device nodes, /proc and /sys below a root folder, changes nothing and
// starts nothing. Everything that it says is the host's word: it helps whoever
// sets a machine up, and proves nothing to anybody else.
package sgxhost

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// AESMSocket is where Intel's AESM service answers, and where Gramine looks for it.
const AESMSocket = "/var/run/aesmd/aesm.socket"

// EnclaveDevice is the device of the kernel's own driver (Linux 5.11 and later).
const EnclaveDevice = "/dev/sgx_enclave"

// Platform is what was seen of a machine.
type Platform struct {
	// Ready means that enclaves can run here and get evidence: there is no problem.
	Ready           bool      `json:"ready"`
	CPU             string    `json:"cpu,omitempty"`    // model name
	Kernel          string    `json:"kernel,omitempty"` // release, "6.8.0"
	SGX             bool      `json:"sgx"`
	LaunchControl   bool      `json:"launch_control"` // the owner of the machine decides who may launch enclaves
	SGX2            *bool     `json:"sgx2,omitempty"` // EDMM; absent where the machine does not say
	EPCBytes        uint64    `json:"epc_bytes"`      // enclave page cache; 0 where the machine does not say
	EnclaveDevice   string    `json:"enclave_device,omitempty"`
	ProvisionDevice string    `json:"provision_device,omitempty"`
	AESM            string    `json:"aesm_socket,omitempty"`
	Problems        []Problem `json:"problems"`
}

// Problem is something that is missing.
type Problem struct {
	Rule   string `json:"rule"` // stable identifier in snake case
	Wanted string `json:"wanted"`
	Seen   string `json:"seen"`
	Advice string `json:"advice"`
}

func (p Problem) String() string {
	return fmt.Sprintf("%s: wanted %s, seen %s; %s", p.Rule, p.Wanted, p.Seen, p.Advice)
}

// NotReadyError says why a machine cannot run enclaves.
type NotReadyError struct{ Problems []Problem }

func (e *NotReadyError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "this machine cannot run SGX enclaves with evidence: " + strings.Join(lines, "; ")
}

// Err is nil for a machine that is ready, else a *NotReadyError.
func (p *Platform) Err() error {
	if p.Ready {
		return nil
	}
	return &NotReadyError{p.Problems}
}

// Detect looks at the machine whose root folder is root, usually "/". What cannot
// be read counts as not there.
func Detect(root string) *Platform {
	p := &Platform{Problems: []Problem{}}
	d := detector{root}
	p.CPU, p.SGX, p.LaunchControl = d.cpuinfo()
	p.Kernel = d.line("proc/sys/kernel/osrelease")
	if c := d.cpuid(); c != nil {
		p.SGX, p.LaunchControl, p.SGX2, p.EPCBytes = p.SGX || c.sgx, p.LaunchControl || c.launchControl, &c.sgx2, c.epc
	}
	if n := d.epcOfNodes(); n > 0 {
		p.EPCBytes = n
	}
	p.EnclaveDevice = d.first(fs.ModeCharDevice, EnclaveDevice, "/dev/sgx/enclave")
	p.ProvisionDevice = d.first(fs.ModeCharDevice, "/dev/sgx_provision", "/dev/sgx/provision")
	p.AESM = d.first(fs.ModeSocket, AESMSocket, "/run/aesmd/aesm.socket")
	p.judge(d.first(fs.ModeCharDevice, "/dev/isgx"))
	return p
}

// judge fills Problems and Ready. old is the device of the driver that came before the kernel's own.
func (p *Platform) judge(old string) {
	problem := func(when bool, rule, wanted, seen, advice string) {
		if when {
			p.Problems = append(p.Problems, Problem{rule, wanted, seen, advice})
		}
	}
	seenKernel := "none, on kernel " + p.Kernel
	if p.Kernel == "" {
		seenKernel = "none"
	}
	problem(!p.SGX, "processor", "a processor with SGX, enabled in the firmware", "no flag sgx in /proc/cpuinfo",
		"turn on \"Software Guard Extensions\" (and total memory encryption on scalable Xeons) in the firmware, or take a machine with SGX (Azure: DCsv3, DCdsv3); kernels before 5.11 do not show the flag")
	problem(p.SGX && !p.LaunchControl, "launch_control", "flexible launch control", "no flag sgx_lc in /proc/cpuinfo",
		"turn it on in the firmware (\"SGX Launch Control Policy: Unlocked\"); processors without it cannot run enclaves of one's own signature with this kernel")
	switch {
	case p.EnclaveDevice != "":
	case old != "":
		problem(true, "enclave_device", EnclaveDevice, old, "this is Intel's old driver without flexible launch control, which Gramine no longer uses: remove it and boot a kernel from 5.11 on")
	default:
		problem(true, "enclave_device", EnclaveDevice, seenKernel, "boot a kernel from 5.11 on with CONFIG_X86_SGX; in a container give the agent the device")
	}
	problem(p.ProvisionDevice == "", "provision_device", "/dev/sgx_provision, which AESM needs for DCAP quotes", "none", "it comes with the kernel's driver; add the user aesmd to the group sgx_prv")
	problem(p.AESM == "", "aesm", "AESM's socket at "+AESMSocket, "none", "install and start sgx-aesm-service with libsgx-aesm-quote-ex-plugin, libsgx-aesm-ecdsa-plugin and libsgx-dcap-default-qpl (Azure: az-dcap-client)")
	p.Ready = len(p.Problems) == 0
}

type detector struct{ root string }

func (d detector) path(name string) string { return filepath.Join(d.root, name) }

// first returns the first of names that is a file of the kind.
func (d detector) first(kind fs.FileMode, names ...string) string {
	for _, name := range names {
		if st, err := os.Stat(d.path(name)); err == nil && st.Mode()&kind != 0 {
			return name
		}
	}
	return ""
}

const maxText = 8 << 20 // of a file below /proc or /sys; a machine with 1024 threads has 2 MB of cpuinfo

func (d detector) line(name string) string {
	f, err := os.Open(d.path(name))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(first)
}

// cpuinfo reads the first processor's model and flags.
func (d detector) cpuinfo() (model string, sgx, launchControl bool) {
	f, err := os.Open(d.path("proc/cpuinfo"))
	if err != nil {
		return "", false, false
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxText))
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "model name":
			model = value
		case "flags":
			for flag := range strings.FieldsSeq(value) {
				sgx, launchControl = sgx || flag == "sgx", launchControl || flag == "sgx_lc"
			}
			return model, sgx, launchControl
		}
	}
	return model, sgx, launchControl
}

// epcOfNodes adds what each memory node says (Linux 5.17 and later), in bytes.
func (d detector) epcOfNodes() (total uint64) {
	names, err := filepath.Glob(d.path("sys/devices/system/node/node*/x86/sgx_total_bytes"))
	if err != nil {
		return 0
	}
	for _, name := range names {
		rel, err := filepath.Rel(d.root, name)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseUint(d.line(rel), 10, 63); err == nil {
			total += n
		}
	}
	return total
}

type cpuid struct {
	sgx, launchControl, sgx2 bool
	epc                      uint64
}

// cpuid asks the processor through the kernel's module of that name, which is
// often not loaded (Intel SDM vol. 3D, section 36.7, leaf 12H).
func (d detector) cpuid() *cpuid {
	f, err := os.Open(d.path("dev/cpu/0/cpuid"))
	if err != nil {
		return nil
	}
	defer f.Close()
	ask := func(leaf, sub uint32) (r [4]uint32, ok bool) {
		var b [16]byte
		if n, err := f.ReadAt(b[:], int64(sub)<<32|int64(leaf)); n != len(b) || err != nil && !errors.Is(err, io.EOF) {
			return r, false
		}
		return r, binary.Read(bytes.NewReader(b[:]), binary.LittleEndian, &r) == nil
	}
	features, ok := ask(7, 0)
	if !ok {
		return nil
	}
	c := &cpuid{sgx: features[1]&(1<<2) != 0, launchControl: features[2]&(1<<30) != 0}
	if !c.sgx {
		return c
	}
	if r, ok := ask(0x12, 0); ok {
		c.sgx2 = r[0]&2 != 0
	}
	const sections = 64 // more than any machine has
	for sub := uint32(2); sub < 2+sections; sub++ {
		r, ok := ask(0x12, sub)
		if !ok || r[0]&15 != 1 {
			break
		}
		c.epc += uint64(r[3]&0xfffff)<<32 | uint64(r[2]&0xfffff000)
	}
	return c
}
