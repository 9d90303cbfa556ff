//go:build !unix

package demo

import "syscall"

// ownGroup does nothing: the demonstration runs on Linux only.
func ownGroup() *syscall.SysProcAttr { return nil }
