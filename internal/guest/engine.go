package guest

import "hitoku.dev/measure/workload"

// engineEntry is a path that a container engine makes by itself, so that no
// manifest can list it, or puts in the place of the image's own.
type engineEntry struct {
	path  string
	allow allowance
	link  string
}

// engineMade is measured with the guest: it is part of the program whose hash
// stands in the manifest. Sources: Docker Engine's initlayer.Setup (which
// removes what the image has at these paths), Podman's containerenv and hosts
// handling, the OCI runtime specification's default file systems, the kubelet.
var engineMade = []engineEntry{
	{path: "/proc", allow: allowFolder},
	{path: "/sys", allow: allowFolder},
	{path: "/dev", allow: allowFolder},
	{path: "/dev/pts", allow: allowFolder},
	{path: "/dev/shm", allow: allowFolder},
	{path: "/dev/console", allow: allowEmpty},
	{path: "/.dockerenv", allow: allowEmpty},
	{path: "/etc/mtab", allow: allowLink, link: "/proc/mounts"},
	{path: "/etc/hosts", allow: allowFile},
	{path: "/etc/hostname", allow: allowFile},
	{path: "/etc/resolv.conf", allow: allowFile},
	{path: "/run/.containerenv", allow: allowFile},
	{path: teeFolder, allow: allowFolder},
	{path: "/var/run/aesmd", allow: allowFolder},
	{path: "/run/aesmd", allow: allowFolder},
	{path: "/var/run/secrets/kubernetes.io/serviceaccount", allow: allowFolder},
	{path: "/run/secrets/kubernetes.io/serviceaccount", allow: allowFolder},
}

// engineMounts are mount points that engines make outside /proc, /sys and /dev.
// Their content comes from the host.
var engineMounts = map[string]bool{
	"/etc/hosts":         true,
	"/etc/hostname":      true,
	"/etc/resolv.conf":   true,
	"/run/.containerenv": true,
	teeFolder:            true,
	"/var/run/aesmd":     true,
	"/run/aesmd":         true,
	"/var/run/secrets/kubernetes.io/serviceaccount": true,
	"/run/secrets/kubernetes.io/serviceaccount":     true,
}

// Where the guest's own things are in a container.
const (
	teeFolder   = "/run/hitoku/tee"          // mounted from the host, holds the simulated TEE's socket
	appSocket   = "/run/hitoku/enclave.sock" // served for the application
	shmFolder   = "/dev/shm"                 // the one memory file system that every engine gives
	storeFolder = workload.KeyDir            // keys and certificates
	agentURLEnv = "NODE_AGENT_BASE_URL"      // where the node agent is
	agentOldEnv = "NODE_AGENT"               // the older spelling, host:port
)
