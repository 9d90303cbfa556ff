package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// errNotListening means that the program has not opened its port (yet).
var errNotListening = errors.New("nobody listens there")

// portOwner is what listens on a port when all of it is the program's.
type portOwner struct {
	inodes  []uint64 // of the sockets, sorted
	exposed bool     // one of them can be reached from outside without TLS
}

// ownership answers whether a port on loopback belongs to the program (security
// decision S17): another container in a shared network namespace, or a process
// of the host, must not receive what the TLS front has decrypted.
type ownership struct {
	proc string
	self int // the guest's process id: the program and its children descend from it
	// user is whom the program was started as. One that binds its port and then becomes
	// somebody else (lighttpd) leaves a socket of this user and no process.
	user uint32

	mu    sync.Mutex
	known map[uint64]bool // inodes of sockets that were found to be the program's; a socket's inode and owner do not change
}

// check returns the sockets behind port when all of them belong to the program.
// A socket belongs to it when its owner is the user that the program was started
// as, or that of one of its processes, and it is open in one of them, as far as
// the kernel lets this process see that.
func (o *ownership) check(port int) (portOwner, error) {
	listeners, err := listenersOn(o.proc, port)
	if err != nil {
		return portOwner{}, err
	}
	exposed := slices.ContainsFunc(listeners, func(l listener) bool { return !l.loopback() })
	listeners = slices.DeleteFunc(listeners, func(l listener) bool { return !l.reachable() })
	if len(listeners) == 0 {
		return portOwner{}, errNotListening
	}
	inodes := make([]uint64, len(listeners))
	for i, l := range listeners {
		inodes[i] = l.inode
	}
	slices.Sort(inodes)
	if o.seen(inodes) {
		return portOwner{inodes, exposed}, nil
	}
	processes, err := family(o.proc, o.self)
	if err != nil {
		return portOwner{}, err
	}
	for _, l := range listeners {
		if err := o.belongs(l, processes); err != nil {
			return portOwner{}, fmt.Errorf("port %d: %w", port, err)
		}
	}
	o.remember(inodes)
	return portOwner{inodes, exposed}, nil
}

func (o *ownership) seen(inodes []uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range inodes {
		if !o.known[i] {
			return false
		}
	}
	return true
}

// maxKnown bounds what a program that opens and closes its port forever leaves behind.
const maxKnown = 1024

func (o *ownership) remember(inodes []uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) > maxKnown {
		o.known = make(map[uint64]bool)
	}
	for _, i := range inodes {
		o.known[i] = true
	}
}

func (o *ownership) belongs(l listener, processes []process) error {
	if l.uid != o.user && !slices.ContainsFunc(processes, func(p process) bool { return slices.Contains(p.uids[:], l.uid) }) {
		return fmt.Errorf("the listening socket belongs to user %[1]d; the program was started as user %[2]d, and none of its processes is user %[1]d", l.uid, o.user)
	}
	hidden := false
	for _, p := range processes {
		held, known := holdsSocket(o.proc, p.pid, l.inode)
		if held {
			return nil
		}
		hidden = hidden || !known
	}
	if hidden {
		return nil // a process of another user may hold it: the user check has to do
	}
	return errors.New("the listening socket is in none of the program's processes: the network is shared with somebody else")
}

// hostNetwork reports whether this is the machine's first network namespace:
// the kernel shows these settings only there.
func hostNetwork(proc string) bool {
	for _, name := range []string{"netdev_max_backlog", "dev_weight"} {
		if _, err := os.Stat(filepath.Join(proc, "sys/net/core", name)); err == nil {
			return true
		}
	}
	return false
}
