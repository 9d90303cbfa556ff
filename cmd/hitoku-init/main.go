// Command hitoku-init is the first program inside the TEE: the entry point of
// images that `hitoku convert` makes. It takes no flags; its arguments are the
// program's.
//
// What it imports is in everybody's trusted base. What it does, trusts and does
// not promise stands in package guest.
package main

import (
	"context"
	"crypto/rand"
	"os"

	"hitoku.dev/enclave/gramine"
	"hitoku.dev/internal/guest"
)

func main() { os.Exit(run()) }

func run() int {
	log := guest.NewLog(os.Stderr)
	if guest.OnSGX("/") {
		env := os.Environ()
		os.Clearenv()
		return guest.RunSGX(context.Background(), guest.SGXOptions{
			Root:    "/",
			Args:    os.Args[min(1, len(os.Args)):],
			Env:     env,
			Device:  gramine.Folder(gramine.Dir),
			Log:     log,
			Clock:   guest.SystemClock{},
			Rand:    rand.Reader,
			Replace: guest.ReplaceProcess,
		})
	}
	hostEnv, err := guest.CleanStart(os.Args)
	if err != nil {
		log.Error(err)
		return 1
	}
	return guest.Run(context.Background(), guest.Options{
		Root:    "/",
		Proc:    "/proc",
		Args:    os.Args[min(1, len(os.Args)):],
		HostEnv: hostEnv,
		Stdio:   [3]*os.File{os.Stdin, os.Stdout, os.Stderr},
		Log:     log,
		Clock:   guest.SystemClock{},
		Rand:    rand.Reader,
		Dial:    guest.DialSimulated,
	})
}
