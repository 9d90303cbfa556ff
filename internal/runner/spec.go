package runner

import (
	"net"
	"path"
	"strconv"
	"strings"
)

// portMapping publishes a port of the container.
type portMapping struct {
	ip              string // empty: every address
	host, container int    // host 0: any free port
}

// parsePort reads [IP:][HOST:]CONTAINER[/tcp], as docker run -p does.
func parsePort(text string) (portMapping, error) {
	bad := func(why string) (portMapping, error) {
		return portMapping{}, usage("run: port %q: %s", text, why)
	}
	rest, proto, has := strings.Cut(text, "/")
	if has && proto != "tcp" {
		return bad("only tcp is published")
	}
	var p portMapping
	if strings.HasPrefix(rest, "[") {
		end := strings.Index(rest, "]:")
		if end < 0 {
			return bad("wanted [IPv6]:HOST:CONTAINER")
		}
		p.ip, rest = rest[1:end], rest[end+2:]
	}
	parts := strings.Split(rest, ":")
	if len(parts) == 3 && p.ip == "" {
		p.ip, parts = parts[0], parts[1:]
	}
	if p.ip != "" && net.ParseIP(p.ip) == nil {
		return bad("the address is not an IP address")
	}
	if len(parts) == 1 {
		parts = []string{"", parts[0]}
	}
	if len(parts) != 2 {
		return bad("wanted HOST:CONTAINER")
	}
	var err error
	if parts[0] != "" {
		if p.host, err = strconv.Atoi(parts[0]); err != nil || p.host < 0 || p.host > 65535 {
			return bad("the host's port is not a number from 0 to 65535")
		}
	}
	if p.container, err = strconv.Atoi(parts[1]); err != nil || p.container < 1 || p.container > 65535 {
		return bad("the container's port is not a number from 1 to 65535")
	}
	return p, nil
}

// volume is a folder or file of the host in the container.
type volume struct {
	host, container string
	readOnly        bool
}

// parseVolume reads HOST:CONTAINER[:ro|rw], both absolute.
func parseVolume(text string) (volume, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return volume{}, usage("run: volume %q: wanted HOST:CONTAINER[:ro]", text)
	}
	v := volume{host: parts[0], container: path.Clean(parts[1])}
	if len(parts) == 3 {
		if parts[2] != "ro" && parts[2] != "rw" {
			return volume{}, usage("run: volume %q: option %q, wanted ro or rw", text, parts[2])
		}
		v.readOnly = parts[2] == "ro"
	}
	if !path.IsAbs(v.host) || !path.IsAbs(v.container) || v.container == "/" {
		return volume{}, usage("run: volume %q: both paths must be absolute, and the second not /", text)
	}
	return v, nil
}
