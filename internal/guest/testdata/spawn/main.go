// Command spawn starts a process and does not wait for it.
package main

import "os"

func main() {
	if _, err := os.StartProcess(os.Args[1], []string{os.Args[1], "sleep"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}}); err != nil {
		os.Exit(1)
	}
}
