//go:build !linux

package proto

import (
	"errors"
	"net"
	"os"
)

var errLinuxOnly = errors.New("the simulated TEE works on Linux only")

// Packet is one message.
type Packet struct{ Data []byte }

// Close does nothing here.
func (*Packet) Close() {}

// Receive works on Linux only.
func Receive(*net.UnixConn, int) (*Packet, error) { return nil, errLinuxOnly }

// Send works on Linux only.
func Send(*net.UnixConn, []byte, *os.File) error { return errLinuxOnly }
