package simtee

import (
	"fmt"
	"os"
)

// UserNamespace says which user namespace callers live in. Whoever has
// CAP_SYS_ADMIN over a caller's namespace can forge its messages, and everybody
// may make a namespace below his own, so the one that is expected must be said.
type UserNamespace int

const (
	// UserNamespaceAuto means Own for a server that runs as root, and Child otherwise.
	UserNamespaceAuto UserNamespace = iota
	// UserNamespaceOwn is the server's own: an ordinary container engine run by root.
	UserNamespaceOwn
	// UserNamespaceChild is one directly below the server's: a rootless engine, Docker's
	// userns-remap, or the built-in runner.
	UserNamespaceChild
)

// String returns the words used in refusals.
func (u UserNamespace) String() string {
	switch u {
	case UserNamespaceOwn:
		return "the node agent's own user namespace"
	case UserNamespaceChild:
		return "a user namespace directly below the node agent's"
	}
	return fmt.Sprintf("user namespace setting %d", int(u))
}

func (u UserNamespace) resolve() UserNamespace {
	switch {
	case u != UserNamespaceAuto:
		return u
	case os.Geteuid() == 0:
		return UserNamespaceOwn
	}
	return UserNamespaceChild
}
