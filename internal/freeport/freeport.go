// Package freeport finds a TCP port for a server that is started later, or started again.
//
// A port that the kernel chooses (":0") is taken from the range of outgoing connections: once
// the listener that found it is closed, any connection of the machine may get it. The ports
// here lie below that range on Linux, macOS and Windows, so only another listener can take
// them. The package does not promise that none does.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const (
	first = 20000
	past  = 32768 // the first port of Linux' range of outgoing connections
	tries = 100
)

// Find returns host:port with a port on which nobody listens, from 20000 to 32767, chosen at
// random. It fails when the host is no address of this machine.
func Find(host string) (string, error) {
	var last error
	for range tries {
		address := net.JoinHostPort(host, strconv.Itoa(first+rand.IntN(past-first)))
		l, err := net.Listen("tcp", address)
		if err == nil {
			return address, l.Close()
		}
		last = err
	}
	return "", fmt.Errorf("no free TCP port on %s among %d tried from %d to %d: %w; give the host as an address of this machine", host, tries, first, past-1, last)
}
