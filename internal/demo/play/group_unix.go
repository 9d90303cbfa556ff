//go:build unix

package play

import "syscall"

// ownGroup keeps Ctrl-C, which goes to the whole foreground group, from a child:
// the demonstration ends its children itself, in order.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
