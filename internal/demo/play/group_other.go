//go:build !unix

package play

import "syscall"

// ownGroup does nothing: the demonstration runs on Linux only.
func ownGroup() *syscall.SysProcAttr { return nil }
