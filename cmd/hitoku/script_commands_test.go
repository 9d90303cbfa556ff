package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hitoku.dev/internal/manager/serve"
)

// startManager serves a real manager inside this process until the script ends.
func startManager(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan serve.Ready, 1), make(chan error, 1)
	o := serve.Options{Dir: ts.MkAbs("manager"), Listen: "127.0.0.1:0", Version: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	go func() { ended <- serve.Run(ctx, o, func(r serve.Ready) { ready <- r }) }()
	select {
	case r := <-ready:
		ts.Setenv("MANAGER", r.URL)
		ts.Setenv("PIN", r.Pin)
		ts.Setenv("CODE", r.Code)
		ts.Setenv("CA", r.CA)
	case err := <-ended:
		stop()
		ts.Fatalf("manager: %v", err)
	}
	ts.Defer(func() {
		stop()
		ts.Check(<-ended)
	})
}

// readJSON checks that the last output is one JSON value and takes things out of it.
func readJSON(ts *testscript.TestScript, _ bool, args []string) {
	name := "stdout"
	if len(args) > 0 && !strings.Contains(args[0], "=") {
		name, args = args[0], args[1:]
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(name)))
	dec.UseNumber()
	var whole any
	if err := dec.Decode(&whole); err != nil {
		ts.Fatalf("%s is no JSON: %v", name, err)
	}
	if dec.More() {
		ts.Fatalf("%s has more than one JSON value", name)
	}
	if whole == nil {
		ts.Fatalf("%s is null", name)
	}
	for _, arg := range args {
		if path, want, ok := strings.Cut(arg, "=="); ok {
			if got := pick(ts, whole, path); got != want {
				ts.Fatalf("%s is %q, wanted %q", path, got, want)
			}
			continue
		}
		variable, path, _ := strings.Cut(arg, "=")
		ts.Setenv(variable, pick(ts, whole, path))
	}
}

// pick follows a path of member names and indexes; "len" is the length of a list.
func pick(ts *testscript.TestScript, v any, path string) string {
	for step := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			member, ok := x[step]
			if !ok {
				ts.Fatalf("%s: there is no member %s", path, step)
			}
			v = member
		case []any:
			if step == "len" {
				return strconv.Itoa(len(x))
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				ts.Fatalf("%s: no item %s among %d", path, step, len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("%s: nothing is below %v", path, v)
		}
	}
	if text, ok := v.(string); ok {
		return text
	}
	raw, err := json.Marshal(v)
	ts.Check(err)
	return string(raw)
}

// exits runs a command and checks its exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, wanted %d", got, want)
	}
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not appear", args[0])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// install makes the program findable under its own folder, for what it looks for beside itself.
func install(ts *testscript.TestScript, _ bool, args []string) {
	self, err := exec.LookPath("hitoku")
	if err != nil { // the scripts' PATH is not this process's
		self = findIn(ts.Getenv("PATH"), "hitoku")
	}
	real, err := filepath.EvalSymlinks(self)
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	to := filepath.Join(dir, "hitoku")
	if os.Link(real, to) == nil {
		return
	}
	raw, err := os.ReadFile(real)
	ts.Check(err)
	ts.Check(os.WriteFile(to, raw, 0o755))
}

func findIn(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return name
}
