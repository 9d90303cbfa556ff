// Command app is the program inside the containers of the guest's tests.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hitoku.dev/enclave/app"
	"hitoku.dev/internal/ledger/member"
)

func main() {
	verb := "report"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "report":
		report()
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "signals":
		signals()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "orphans":
		orphans()
	case "sleep":
		time.Sleep(50 * time.Millisecond)
	case "echo":
		echo(os.Args[2])
	case "last":
		lastWords(os.Args[2])
	case "evidence":
		evidence()
	case "ledger":
		ledger()
	case "write":
		if err := os.WriteFile(os.Args[2], []byte("x"), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(9)
		}
	}
}

// report prints how this process was started.
func report() {
	groups, _ := os.Getgroups()
	folder, _ := os.Getwd()
	var open []string
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if n, _ := strconv.Atoi(e.Name()); n > 2 && err == nil && !strings.HasPrefix(target, "anon_inode:") && !strings.HasSuffix(target, "/fd") {
			open = append(open, target)
		}
	}
	files := map[string]string{}
	for _, name := range []string{"/run/key.pem", "/run/cert.pem", "/run/chain.pem"} {
		if data, err := os.ReadFile(name); err == nil {
			files[filepath.Base(name)] = string(data)
		}
	}
	_, stdoutErr := os.OpenFile("/dev/stdout", os.O_WRONLY, 0)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"args": os.Args, "env": os.Environ(), "uid": os.Getuid(), "gid": os.Getgid(), "groups": groups, "dir": folder, "open": open,
		"ppid": os.Getppid(), "files": files, "stdout": fmt.Sprint(stdoutErr),
	})
}

func signals() {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM)
	fmt.Println("ready")
	for s := range ch {
		fmt.Println(s)
		if s == syscall.SIGTERM {
			os.Exit(7)
		}
	}
}

// orphans leaves grandchildren behind and waits until nobody is a zombie.
func orphans() {
	self, _ := os.Executable()
	for range 5 {
		child, err := os.StartProcess("/bin/spawn", []string{"/bin/spawn", self}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		child.Wait()
	}
	for range 200 {
		if n := children(1); n == 1 {
			fmt.Println("reaped")
			os.Exit(0)
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("zombies:", children(1))
	os.Exit(1)
}

func children(parent int) int {
	n := 0
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		data, _ := os.ReadFile(s)
		_, rest, ok := strings.Cut(string(data), ") ")
		if f := strings.Fields(rest); ok && len(f) > 1 && f[1] == strconv.Itoa(parent) {
			n++
		}
	}
	return n
}

func echo(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() { io.Copy(c, c); c.Close() }()
	}
}

// lastWords answers one connection at length and ends at once.
func lastWords(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	c, err := l.Accept()
	if err != nil {
		os.Exit(1)
	}
	c.Write(make([]byte, 4<<20))
	os.Exit(0)
}

func evidence() {
	e, err := app.Get(context.Background(), app.Socket, [32]byte{1}, make([]byte, 32))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(e)
}

// ledger starts as a ledger node does, proves itself and asks for a key.
func ledger() {
	log, err := member.CleanStart(os.Args)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	a := member.FromApp(app.Socket, nil)
	p, err := a.Evidence(context.Background(), [32]byte{1}, [32]byte{2})
	if err != nil {
		fmt.Fprintln(log, err)
		os.Exit(1)
	}
	key, err := a.SealKey(context.Background(), [32]byte{3})
	if err != nil {
		fmt.Fprintln(log, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(map[string][]byte{"evidence": p.Evidence, "binding": p.Binding, "key": key})
}
