package proto

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// maxFiles is how many descriptors a packet may carry before the kernel cuts
// the rest off; more than one is refused anyway.
const maxFiles = 4

// ErrTooLong means that a packet did not fit.
var ErrTooLong = errors.New("packet is too long")

// Packet is one message as the kernel delivered it. The receiver owns Files.
type Packet struct {
	Data        []byte
	Credentials *syscall.Ucred // of the sender, in the receiver's namespaces; nil where none came
	Files       []*os.File
}

// Close closes the files of p.
func (p *Packet) Close() {
	for _, f := range p.Files {
		f.Close()
	}
	p.Files = nil
}

// Receive reads one packet of at most limit bytes. Whatever comes, no
// descriptor is leaked.
func Receive(c *net.UnixConn, limit int) (*Packet, error) {
	data := make([]byte, limit+1)
	oob := make([]byte, syscall.CmsgSpace(syscall.SizeofUcred)+syscall.CmsgSpace(maxFiles*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(data, oob)
	p := &Packet{Data: data[:max(n, 0)]}
	if perr := p.readControl(oob[:max(oobn, 0)]); err == nil {
		err = perr
	}
	switch {
	case err != nil:
	case flags&syscall.MSG_CTRUNC != 0:
		err = fmt.Errorf("packet carries more than %d descriptors", maxFiles)
	case flags&syscall.MSG_TRUNC != 0 || n > limit:
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLong, limit)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Packet) readControl(oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	for i := range messages {
		switch m := &messages[i]; {
		case m.Header.Level != syscall.SOL_SOCKET:
		case m.Header.Type == syscall.SCM_RIGHTS:
			fds, rerr := syscall.ParseUnixRights(m)
			for _, fd := range fds {
				p.Files = append(p.Files, os.NewFile(uintptr(fd), "received"))
			}
			err = errors.Join(err, rerr)
		case m.Header.Type == syscall.SCM_CREDENTIALS:
			cred, cerr := syscall.ParseUnixCredentials(m)
			if cerr == nil && p.Credentials == nil {
				p.Credentials = cred
			}
			err = errors.Join(err, cerr)
		}
	}
	return err
}

// Send writes one packet, with a descriptor when file is not nil.
func Send(c *net.UnixConn, data []byte, file *os.File) error {
	var oob []byte
	if file != nil {
		oob = syscall.UnixRights(int(file.Fd()))
	}
	n, oobn, err := c.WriteMsgUnix(data, oob, nil)
	if err == nil && (n != len(data) || oobn != len(oob)) {
		err = errors.New("packet was cut")
	}
	return err
}
