//go:build !linux

package simtee

import (
	"context"
	"errors"
)

type registry struct{}

var errLinuxOnly = errors.New("the simulated TEE works on Linux only")

// Serve works on Linux only.
func (s *Server) Serve(context.Context, string) error { return errLinuxOnly }

// ServeReady works on Linux only.
func (s *Server) ServeReady(context.Context, string, func()) error { return errLinuxOnly }
