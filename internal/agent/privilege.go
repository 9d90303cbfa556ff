package agent

import (
	"fmt"
	"os"

	"hitoku.dev/internal/sgxhost"
)

// initialPIDNamespace is the inode of the machine's first PID namespace (PROC_PID_INIT_INO).
const initialPIDNamespace = "pid:[4026531836]"

// Privileges says what keeps this process from serving the simulated TEE to
// workloads: it must be able to open /proc/PID/exe of a process that cannot be
// dumped, in a container. Nothing is returned where every container engine on the
// machine can be served.
func Privileges() []string {
	pidns, err := os.Readlink("/proc/self/ns/pid")
	return privileges(os.Geteuid(), pidns, err)
}

// hardware says what this agent does not do on a machine that is ready for SGX:
// the agent is no enclave, so that it cannot prove that the platform is hardware.
func hardware(host *sgxhost.Platform) []string {
	if host == nil || !host.Ready {
		return nil
	}
	return []string{"this machine has SGX, and the agent enrols it for the simulation all the same: only an enclave with a known measurement proves the platform, and this release has none (see docs/sgx.md); the manager refuses certificates to SGX programs on this node by rule same_platform"}
}

func privileges(euid int, pidns string, err error) []string {
	var out []string
	if euid != 0 {
		out = append(out, fmt.Sprintf("not root (uid %d): the simulated TEE can serve workloads of `hitoku run --engine builtin` by the same user, and refuses those of Docker and Podman; run the agent as root for these", euid))
	}
	switch {
	case err != nil:
		out = append(out, fmt.Sprintf("the PID namespace is not known (%v): workloads can be served only if /proc shows their processes", err))
	case pidns != initialPIDNamespace:
		out = append(out, fmt.Sprintf("not in the machine's first PID namespace (%s): workloads of container engines outside of it are not visible and will be refused; start the agent on the host, or with --pid=host", pidns))
	}
	return out
}
