package main

import (
	"os"
	"runtime/debug"
)

// collectLess lets the garbage collector of a server wait for more garbage than usual:
// manager and node agent hold a few megabytes and throw a hundred kilobytes away with
// each request, so that it would run every few requests. It is left alone where GOGC
// is set.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
