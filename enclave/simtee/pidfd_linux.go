package simtee

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo asks PIDFD_GET_INFO; x/sys has the structure but no wrapper.
func pidfdInfo(fd uintptr, info *unix.PidfdInfo) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(unix.PIDFD_GET_INFO), uintptr(unsafe.Pointer(info)))
	runtime.KeepAlive(info)
	return errno
}
