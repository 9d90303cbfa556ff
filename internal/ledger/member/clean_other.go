//go:build !linux

package member

import (
	"errors"
	"os"
)

// CleanStart works on Linux only, as every TEE for nodes does.
func CleanStart([]string) (*os.File, error) {
	return nil, errors.New("a ledger node runs in a TEE, real or simulated, on Linux only")
}
