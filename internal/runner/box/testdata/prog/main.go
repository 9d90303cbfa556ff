// Command prog is what the tests of package box run in a container.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch os.Args[1] {
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "kill":
		signal.Reset()
		// Process 1 is spared by the kernel, so a child dies.
		syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	case "wait":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("waiting")
		s := <-c
		os.Exit(40 + int(s.(syscall.Signal)))
	case "ignore":
		signal.Ignore(syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("waiting")
		time.Sleep(time.Hour)
	case "serve":
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello from %s", hostname()) })
		fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[2], nil))
		os.Exit(1)
	case "get":
		res, err := http.Get(os.Args[2])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		io.Copy(os.Stdout, res.Body)
	case "cat":
		for _, name := range os.Args[2:] {
			raw, err := os.ReadFile(name)
			fmt.Printf("%s", raw)
			if err != nil {
				fmt.Println(err)
			}
		}
	case "write":
		fmt.Println(os.WriteFile(os.Args[2], []byte("written"), 0o644))
	case "sock":
		c, err := net.Dial("unix", os.Args[2])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		io.Copy(os.Stdout, c)
	case "look":
		json.NewEncoder(os.Stdout).Encode(look())
	}
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

type view struct {
	PID, UID, GID int
	Groups        []int
	Host          string
	Dir           string
	Env           []string
	Caps          string
	Interfaces    []string
	Mounts        []string
	Root          []string
	Processes     int
	FDs           []string
}

func look() view {
	v := view{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Host: hostname(), Env: os.Environ()}
	v.Groups, _ = os.Getgroups()
	v.Dir, _ = os.Getwd()
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			v.Caps = strings.TrimSpace(rest)
		}
	}
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		v.Interfaces = append(v.Interfaces, i.Name)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 5 {
			v.Mounts = append(v.Mounts, f[4]+" "+f[5])
		}
	}
	root, _ := os.ReadDir("/")
	for _, e := range root {
		v.Root = append(v.Root, e.Name())
	}
	procs, _ := os.ReadDir("/proc")
	for _, e := range procs {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			v.Processes++
		}
	}
	for fd := range 64 {
		if to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && fd > 2 {
			v.FDs = append(v.FDs, to)
		}
	}
	return v
}
