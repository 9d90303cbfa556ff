package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is one line of the process table.
type process struct {
	pid, parent int
	uids        [4]uint32 // real, effective, saved, file system
}

// family returns the processes that descend from the process self: the program
// and all that it started, also those whose parent has ended (they come back to
// the guest, which is PID 1).
func family(proc string, self int) ([]process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProcess(proc, pid); err == nil {
			all[pid] = p
		} // a process that has ended meanwhile
	}
	var out []process
	for pid, p := range all {
		if pid != self && descends(all, p, self) {
			out = append(out, p)
		}
	}
	return out, nil
}

func descends(all map[int]process, p process, self int) bool {
	for range len(all) {
		if p.parent == self {
			return true
		}
		next, ok := all[p.parent]
		if !ok {
			return false
		}
		p = next
	}
	return false
}

// descendant reports whether the process pid descends from the process self.
func descendant(proc string, pid, self int) bool {
	const deepest = 10000
	for range deepest {
		p, err := readProcess(proc, pid)
		if err != nil || p.parent == 0 {
			return false
		}
		if p.parent == self {
			return true
		}
		pid = p.parent
	}
	return false
}

func readProcess(proc string, pid int) (process, error) {
	data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "status"))
	if err != nil {
		return process{}, err
	}
	return parseProcess(pid, data)
}

// parseProcess reads proc_pid_status(5). The name in its first line is the
// process's own choice, but the kernel escapes line breaks in it.
func parseProcess(pid int, data []byte) (process, error) {
	p := process{pid: pid}
	parent, ok1 := statusField(data, "\nPPid:")
	uids, ok2 := statusField(data, "\nUid:")
	if !ok1 || !ok2 || len(parent) != 1 || len(uids) != len(p.uids) {
		return p, fmt.Errorf("process %d: no PPid or Uid line", pid)
	}
	var err error
	if p.parent, err = strconv.Atoi(parent[0]); err != nil {
		return p, err
	}
	for i, u := range uids {
		n, err := strconv.ParseUint(u, 10, 32)
		if err != nil {
			return p, err
		}
		p.uids[i] = uint32(n)
	}
	return p, nil
}

func statusField(data []byte, key string) ([]string, bool) {
	_, rest, ok := bytes.Cut(data, []byte(key))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strings.Fields(string(line)), ok
}

// holdsSocket looks for an open socket. known is false when the process does
// not let itself be looked at: it runs as another user, or with more capabilities.
func holdsSocket(proc string, pid int, inode uint64) (held, known bool) {
	folder := filepath.Join(proc, strconv.Itoa(pid), "fd")
	open, err := os.ReadDir(folder)
	if err != nil {
		return false, errors.Is(err, fs.ErrNotExist) // it has ended
	}
	want := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	for _, e := range open {
		if target, err := os.Readlink(filepath.Join(folder, e.Name())); err == nil && target == want {
			return true, true
		} else if errors.Is(err, fs.ErrPermission) {
			return false, false
		}
	}
	return false, true
}
