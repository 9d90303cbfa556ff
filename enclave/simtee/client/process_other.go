//go:build !linux

package client

import (
	"errors"
	"os"
)

var errLinuxOnly = errors.New("the simulated TEE works on Linux only")

// Undumpable works on Linux only.
func Undumpable() error { return errLinuxOnly }

func sealedFile([]byte) (*os.File, error) { return nil, errLinuxOnly }
