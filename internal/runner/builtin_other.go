//go:build !linux

package runner

import (
	"context"
	"errors"
)

var errLinux = errors.New("builtin: the built-in runner needs Linux; use Docker or Podman")

func checkBuiltin() error { return errLinux }

func startBuiltin(context.Context, Options) (Container, error) { return nil, errLinux }

// StartCode returns the exit code of a program that could not be started.
func StartCode(error) (int, bool) { return 0, false }
