package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"tags.cncf.io/container-device-interface/specs-go"

	"hitoku.dev/internal/sgxhost"
)

const (
	// CDIKind is the kind of device in the specification; `--device hitoku.dev/tee=all` names it.
	CDIKind = "hitoku.dev/tee"
	// CDIDevice is the device of that kind that gives the simulated TEE.
	CDIDevice = "all"
	// CDIDeviceSGX is the one that gives SGX, on machines that have it.
	CDIDeviceSGX = "sgx"
	cdiFile      = "hitoku.dev-tee.json"
	// containerTEEDir is where workloads look for the TEE's socket.
	containerTEEDir = "/run/hitoku/tee"
)

// CDISpec is the Container Device Interface specification that gives a container
// the socket of the simulated TEE and nothing else. The folder is mounted, not the
// socket, so that a restart of the agent is seen inside. On a machine that is
// ready for SGX there is a second device: the enclave device and AESM's socket. A
// container gets no /dev/sgx_provision, which is the quoting service's alone.
func CDISpec(teeDir string, host *sgxhost.Platform) *specs.Spec {
	spec := &specs.Spec{
		Version: "0.5.0", // the oldest that every engine in use reads and that has what is needed
		Kind:    CDIKind,
		Devices: []specs.Device{{
			Name: CDIDevice,
			ContainerEdits: specs.ContainerEdits{Mounts: []*specs.Mount{{
				HostPath: teeDir, ContainerPath: containerTEEDir,
				Options: []string{"ro", "nosuid", "nodev", "noexec", "bind"},
			}}},
		}},
	}
	if host != nil && host.Ready {
		spec.Devices = append(spec.Devices, specs.Device{Name: CDIDeviceSGX, ContainerEdits: specs.ContainerEdits{
			DeviceNodes: []*specs.DeviceNode{{Path: sgxhost.EnclaveDevice, HostPath: host.EnclaveDevice, Type: "c", Permissions: "rw"}},
			Mounts: []*specs.Mount{{
				HostPath: host.AESM, ContainerPath: sgxhost.AESMSocket, Options: []string{"nosuid", "nodev", "noexec", "bind"},
			}},
		}})
	}
	return spec
}

// WriteCDI writes the specification into dir (/etc/cdi or /var/run/cdi for the
// engines' defaults) and returns the file's path.
func WriteCDI(dir, teeDir string, host *sgxhost.Platform) (string, error) {
	if !filepath.IsAbs(teeDir) {
		return "", fmt.Errorf("agent: CDI: TEE folder %q: wanted an absolute path", teeDir)
	}
	raw, err := json.MarshalIndent(CDISpec(teeDir, host), "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("agent: CDI: %w", err)
	}
	path := filepath.Join(dir, cdiFile)
	if err := writeFileAtomic(path, append(raw, '\n'), 0o644); err != nil {
		return "", err
	}
	return path, nil
}
