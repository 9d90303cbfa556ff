//go:build !linux

package simhost

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }

// Explain adds what helps to an error of a command's Start.
func Explain(err error) error { return err }
