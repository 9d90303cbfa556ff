//go:build !linux

package simtee

import (
	"context"
	"errors"
)

type registry struct{}

// Serve works on Linux only.
func (s *Server) Serve(context.Context, string) error {
	return errors.New("the simulated TEE works on Linux only")
}
