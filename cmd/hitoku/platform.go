package main

import (
	"fmt"
	"os"
	"runtime"
)

// elsewhere is what the client verbs are good for on every system.
const elsewhere = "here, use the client commands against a manager on Linux: hitoku login, account, app, image, convert, task, node, verify"

// needsLinux refuses, on other systems, what works on Linux only. amd64 says that
// the processor matters too.
func needsLinux(what string, amd64 bool) error {
	if runtime.GOOS == "linux" && (!amd64 || runtime.GOARCH == "amd64") {
		return nil
	}
	system := "Linux"
	if amd64 {
		system = "Linux on amd64"
	}
	return fmt.Errorf("%s needs %s, and this is %s/%s; %s", what, system, runtime.GOOS, runtime.GOARCH, elsewhere)
}

// needsLinuxToRun refuses to start a container where no node agent can be: the
// agent of the machine that runs it serves the TEE. An engine elsewhere is fine.
func needsLinuxToRun() error {
	if runtime.GOOS == "linux" || os.Getenv("DOCKER_HOST") != "" || os.Getenv("CONTAINER_HOST") != "" {
		return nil
	}
	return fmt.Errorf("run: a confidential image needs a node agent beside it, which needs Linux, and this is %s/%s; `hitoku run --print …` prints the docker command to run there, and DOCKER_HOST names an engine there", runtime.GOOS, runtime.GOARCH)
}
