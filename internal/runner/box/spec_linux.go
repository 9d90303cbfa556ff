package box

import "path/filepath"

// maxSpec bounds the configuration of a container, arguments and environment included.
const maxSpec = 16 << 20

// spec is the part of a Config that the helpers need.
type spec struct {
	Rootfs    string   `json:"rootfs"`
	Lower     string   `json:"lower,omitempty"` // relative to Dir, of an overlay
	Dir       string   `json:"dir"`
	Hostname  string   `json:"hostname"`
	Mounts    []Mount  `json:"mounts"`
	Args      []string `json:"args"`
	Env       []string `json:"env"`
	WorkDir   string   `json:"workdir"`
	User      string   `json:"user"`
	Folders   []string `json:"folders"`
	AgentPort int      `json:"agent_port"`
	UserNS    bool     `json:"user_ns"`
}

func newSpec(c *Config) *spec {
	s := &spec{
		Rootfs: c.Rootfs, Dir: c.Dir, Hostname: c.Hostname, Mounts: c.Mounts, Args: c.Args, Env: c.Env,
		WorkDir: c.WorkDir, User: c.User, Folders: c.Folders, AgentPort: c.AgentPort, UserNS: c.Users != nil,
	}
	if c.Overlay {
		// Mount options have no way to write every character of a path, so the path is kept short and ours.
		s.Lower, _ = filepath.Rel(c.Dir, c.Rootfs)
	}
	return s
}
