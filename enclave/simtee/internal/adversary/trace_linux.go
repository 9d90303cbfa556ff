package main

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// trace debugs another thread: attach to it, change its memory, let it go.
func trace(command string, args []string) (string, error) {
	tid, err := strconv.Atoi(args[0])
	if err != nil {
		return "", err
	}
	switch command {
	case "attach":
		if err := unix.PtraceAttach(tid); err != nil {
			return "", fmt.Errorf("attach: %w", err)
		}
		_, err := unix.Wait4(tid, nil, unix.WALL, nil)
		return "", err
	case "poke": // an address, in hexadecimal: writes back what is there
		address, err := strconv.ParseUint(args[1], 16, 64)
		if err != nil {
			return "", err
		}
		b := make([]byte, 8)
		if _, err := unix.PtracePeekText(tid, uintptr(address), b); err != nil {
			return "", err
		}
		_, err = unix.PtracePokeText(tid, uintptr(address), b)
		return hex.EncodeToString(b), err
	}
	return "", unix.PtraceDetach(tid)
}
