package guest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// mount is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	Point  string // as seen from the process's root
	FSType string
	Source string
}

// maxMountinfo bounds what is read: an engine makes some dozens of mounts.
const maxMountinfo = 4 << 20

// parseMountinfo reads the kernel's list of mounts.
func parseMountinfo(r io.Reader) ([]mount, error) {
	var mounts []mount
	limited := &io.LimitedReader{R: r, N: maxMountinfo}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mountinfo: %w", err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("mountinfo: more than %d bytes", maxMountinfo)
	}
	return mounts, nil
}

func parseMount(line string) (mount, error) {
	fields := strings.Split(line, " ")
	dash := slices.Index(fields, "-")
	if dash < 6 || len(fields) < dash+4 {
		return mount{}, fmt.Errorf("mountinfo: line %q is not of the form that proc(5) describes", line)
	}
	point, err := unescapeMount(fields[4])
	if err != nil {
		return mount{}, err
	}
	if !path.IsAbs(point) {
		return mount{}, fmt.Errorf("mountinfo: mount point %q is not absolute", point)
	}
	source, err := unescapeMount(fields[dash+2])
	if err != nil {
		return mount{}, err
	}
	return mount{Point: point, FSType: fields[dash+1], Source: source}, nil
}

// unescapeMount undoes the kernel's octal escapes (\040 for a blank).
func unescapeMount(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 >= len(s) || s[i+1] > '3' || s[i+1] < '0' || s[i+2] > '7' || s[i+2] < '0' || s[i+3] > '7' || s[i+3] < '0' {
			return "", errors.New("mountinfo: bad escape in " + s)
		}
		b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
		i += 3
	}
	return b.String(), nil
}

// judgeMounts marks the accepted mounts in the world and refuses the others.
// root is where the world's root is in the caller's view; mounts elsewhere do
// not concern it.
func (w *World) judgeMounts(mounts []mount, root string, refused *refusals) {
	sawProc := false
	for _, m := range mounts {
		point, ok := below(root, m.Point)
		if !ok || point == "/" {
			continue
		}
		sawProc = sawProc || point == "/proc" && m.FSType == "proc"
		if wanted := w.mountWanted(point, m); wanted != "" {
			refused.add(Refusal{
				Rule: "mount", Path: point, Wanted: wanted, Seen: fmt.Sprintf("%s from %s", m.FSType, m.Source),
				Advice: "remove the mount, or convert with --rw " + point,
			})
			continue
		}
		w.permit(point, allowMount)
	}
	if !sawProc {
		refused.add(Refusal{Rule: "mount", Path: "/proc", Wanted: "the kernel's process file system", Seen: "no such mount"})
	}
}

// mountWanted returns what should be at point instead, or "" where m may stay.
func (w *World) mountWanted(point string, m mount) string {
	top, rest, _ := strings.Cut(point[1:], "/")
	switch {
	case w.under(point, allowAnything), engineMounts[point]:
		return ""
	case point == "/proc":
		return oneOf(m, "proc")
	case top == "proc":
		return procMountWanted(rest, m)
	case point == "/sys":
		return oneOf(m, "sysfs", "tmpfs")
	case top == "sys":
		return ""
	case point == "/dev":
		return oneOf(m, "tmpfs", "devtmpfs")
	case point == "/dev/termination-log": // the kubelet binds an ordinary file of the host
		return ""
	case top == "dev":
		return oneOf(m, "tmpfs", "devtmpfs", "devpts", "mqueue", "hugetlbfs")
	}
	return "no mount outside /proc, /sys, /dev and the writable folders"
}

// procMountWanted judges what engines hide or protect under /proc. Nothing may
// stand where this program or the application reads about itself.
func procMountWanted(rest string, m mount) string {
	first, _, _ := strings.Cut(rest, "/")
	switch {
	case first == "self", first == "thread-self", first == "net", first == "mounts", first != "" && first[0] >= '0' && first[0] <= '9':
		return "no mount over what the kernel says about processes and networks"
	case first == "sys": // engines make it read-only; the network check looks there
		return oneOf(m, "proc", "binfmt_misc", "autofs")
	}
	return oneOf(m, "proc", "tmpfs", "devtmpfs", "fuse.lxcfs")
}

func oneOf(m mount, types ...string) string {
	if slices.Contains(types, m.FSType) {
		return ""
	}
	return strings.Join(types, " or ")
}

// below returns name as seen from root.
func below(root, name string) (string, bool) {
	if root == "/" {
		return name, true
	}
	if name == root {
		return "/", true
	}
	rest, ok := strings.CutPrefix(name, root+"/")
	return "/" + rest, ok
}
