//go:build !unix

package agent

import "os"

// lock does nothing: the agent serves workloads on Linux only.
func lock(*os.File) error { return nil }
