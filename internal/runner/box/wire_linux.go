package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// send writes one message, with files.
func send(c *net.UnixConn, m *message, files ...*os.File) error {
	if len(m.Error) > maxMessage/2 {
		m.Error = m.Error[:maxMessage/2]
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(raw, rights, nil)
	return err
}

// receive reads one message. The caller closes the files.
func receive(c *net.UnixConn) (*message, []*os.File, error) {
	raw, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*8))
	n, oobn, flags, _, err := c.ReadMsgUnix(raw, oob)
	if err != nil {
		return nil, nil, err
	}
	files, err := filesOf(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	m := new(message)
	switch {
	case n == 0:
		err = io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("control message is too long")
	default:
		err = json.Unmarshal(raw[:n], m)
	}
	if err != nil {
		closeFiles(files)
		return nil, nil, err
	}
	return m, files, nil
}

func filesOf(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			closeFiles(files)
			return nil, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func listenerOf(files []*os.File) (net.Listener, error) {
	defer closeFiles(files)
	if len(files) != 1 {
		return nil, fmt.Errorf("helper: %d files, wanted a listening socket", len(files))
	}
	return net.FileListener(files[0])
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
