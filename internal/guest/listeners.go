package guest

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listener is a listening TCP socket of this network namespace.
type listener struct {
	address []byte // 4 or 16 bytes, network order
	port    int
	uid     uint32
	inode   uint64
}

// ip returns the address as 4 bytes where it is one of IPv4, also inside IPv6.
func (l listener) ip() netip.Addr {
	a, _ := netip.AddrFromSlice(l.address) // 4 or 16 bytes: parseListener has seen to it
	return a.Unmap()
}

// loopback reports whether l can be reached from this network namespace only.
func (l listener) loopback() bool { return l.ip().IsLoopback() }

// reachable reports whether a connection to loopback can end at l.
func (l listener) reachable() bool { return l.ip().IsLoopback() || l.ip().IsUnspecified() }

// listenersOn returns the sockets that listen on port, from /proc/net/tcp and tcp6.
func listenersOn(proc string, port int) ([]listener, error) {
	var out []listener
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(proc, "net", name))
		if os.IsNotExist(err) && name == "tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		found, err := parseListeners(f, port)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

// parseListeners reads proc_net_tcp(5). The kernel lists listening sockets
// before all others, so that reading ends at the first that does not listen.
func parseListeners(r io.Reader, port int) ([]listener, error) {
	var out []listener
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4<<10), 4<<10)
	for first := true; lines.Scan(); first = false {
		if first {
			continue // column names
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			return nil, fmt.Errorf("line %q has %d fields, wanted 10 or more", lines.Text(), len(fields))
		}
		const listening = "0A"
		if fields[3] != listening {
			break
		}
		l, err := parseListener(fields)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		if l.port == port {
			out = append(out, l)
		}
	}
	return out, lines.Err()
}

func parseListener(fields []string) (listener, error) {
	address, port, ok := strings.Cut(fields[1], ":")
	if !ok || len(address) != 8 && len(address) != 32 {
		return listener{}, fmt.Errorf("address %q", fields[1])
	}
	raw, err := hex.DecodeString(address)
	if err != nil {
		return listener{}, err
	}
	for i := 0; i < len(raw); i += 4 { // words are written in the order of a little-endian host
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return listener{}, err
	}
	uid, err := strconv.ParseUint(fields[7], 10, 32)
	if err != nil {
		return listener{}, err
	}
	inode, err := strconv.ParseUint(fields[9], 10, 64)
	if err != nil {
		return listener{}, err
	}
	return listener{address: raw, port: int(p), uid: uint32(uid), inode: inode}, nil
}
