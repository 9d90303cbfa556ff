package simtee

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// checkCode refuses a process whose code in memory is not its program's. A page
// of code that was changed, by a debugger that has gone since, is private to the
// process: it is no longer a page of the file. Since Linux 6.7 the kernel can be
// asked for such pages of the mappings with code; before, it counts them in smaps
// (proc_pid_smaps(5)), for all mappings, which takes it a hundred times as long.
func (p *process) checkCode(prog *program) error {
	maps, err := p.read("maps")
	if err != nil {
		return err
	}
	code, err := checkText(maps, prog.path, prog.static)
	if err != nil {
		return err
	}
	err = p.checkPages(code)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	smaps, err := p.read("smaps")
	if err != nil {
		return err
	}
	_, err = checkText(smaps, prog.path, prog.static)
	return err
}

// mapping is a range of addresses with code in it.
type mapping struct {
	start, end uint64
	name       string
}

// checkText refuses mappings with code that is no program's. It reads maps, or
// smaps with the count of changed pages. A static program runs no code of any
// other file. What was changed in data is not to be seen.
func checkText(text []byte, path string, static bool) (code []mapping, err error) {
	var files []string
	var present string // name of the present mapping, when it holds code
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"): // first line of a mapping
			name, permissions := strings.Join(fields[min(5, len(fields)):], " "), fields[1]
			if present = ""; !strings.Contains(permissions, "x") {
				continue
			}
			if present = name; name == "[vsyscall]" { // the kernel's own, the same for all processes
				continue
			}
			switch {
			case name == "[vdso]": // the kernel's
			case strings.Contains(permissions, "w") || !strings.HasPrefix(name, "/"):
				return nil, changedText("executable memory " + permissions + " that is no file's")
			case len(files) == 0 || files[len(files)-1] != name:
				files = append(files, name)
			}
			m, err := parseRange(fields[0])
			if err != nil {
				return nil, err
			}
			m.name = name
			code = append(code, m)
		case len(fields) == 3 && fields[0] == "Anonymous:" && present != "" && fields[1] != "0":
			return nil, changedText(fields[1] + " kB of " + present + " changed in memory")
		}
	}
	if static && (len(files) != 1 || files[0] != path) {
		return nil, changedText(path + ", a static program, with the code of " + strings.Join(files, ", "))
	}
	return code, nil
}

func parseRange(s string) (m mapping, err error) {
	from, to, _ := strings.Cut(s, "-")
	if m.start, err = strconv.ParseUint(from, 16, 64); err == nil {
		m.end, err = strconv.ParseUint(to, 16, 64)
	}
	if err != nil {
		return m, fmt.Errorf("%q is no range of addresses: %w", s, err)
	}
	return m, nil
}

func changedText(seen string) error {
	return &RefusedError{
		Rule: "caller_text", Wanted: "program text in memory as in the file", Seen: seen,
		Advice: "somebody changed the program after it was loaded",
	}
}

// checkPages refuses code with pages that are no file's. Its error is
// errors.ErrUnsupported where the kernel cannot be asked.
func (p *process) checkPages(code []mapping) error {
	raw, err := p.dir.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(dir uintptr) {
		var fd int
		if fd, err = unix.Openat(int(dir), "pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		for _, m := range code {
			var found bool
			if found, err = privatePages(fd, m); found {
				err = changedText("pages of " + m.name + " changed in memory")
			}
			if err != nil {
				return
			}
		}
	})
	switch {
	case cerr != nil:
		return cerr
	case errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT):
		return gone(p.pid)
	}
	return err
}

// pageScan and pageRegion are struct pm_scan_arg and struct page_region of linux/fs.h.
type pageScan struct {
	size, flags                    uint64
	start, end, walkEnd            uint64
	vec                            *pageRegion
	vecLen, maxPages               uint64
	inverted, all, anyOf, returned uint64
}

type pageRegion [3]uint64 // start, end, categories

const (
	pagemapScan = 0xc0606610 // PAGEMAP_SCAN

	pageIsFile    = 1 << 2 // of a file or shared
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
)

// privatePages reports whether a mapping has a page, in memory or swapped, that
// is not the mapped file's.
func privatePages(fd int, m mapping) (bool, error) {
	var region pageRegion
	scan := pageScan{
		start: m.start, end: m.end, vec: &region, vecLen: 1, maxPages: 1,
		inverted: pageIsFile, all: pageIsFile, anyOf: pageIsPresent | pageIsSwapped, returned: pageIsPresent,
	}
	scan.size = uint64(unsafe.Sizeof(scan))
	var pin runtime.Pinner
	pin.Pin(&region)
	defer pin.Unpin()
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pagemapScan, uintptr(unsafe.Pointer(&scan)))
		switch errno {
		case 0:
			return n > 0, nil
		case unix.EINTR:
		case unix.ENOTTY, unix.EINVAL:
			return false, errors.ErrUnsupported
		default:
			return false, fmt.Errorf("pages of %s: %w", m.name, errno)
		}
	}
}
