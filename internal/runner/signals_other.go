//go:build !unix

package runner

import "time"

// Forward does nothing: there is no built-in runner here.
func Forward(Container, time.Duration) (stop func()) { return func() {} }
