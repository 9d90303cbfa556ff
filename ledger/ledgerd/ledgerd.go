// Package ledgerd is the whole program of a ledger node but its applications, so that
// a program with applications of your own is
//
//	package main
//
//	import "hitoku.dev/ledger/ledgerd"
//
//	func main() { ledgerd.Main(shop.App) }
//
// The program runs inside a TEE: under the simulated one, started by `hitoku ledger
// node` and `hitoku ledger vault` with --program, or in a converted image
// (docs/ledger.md). Build it statically, with CGO_ENABLED=0; what is measured is its
// file, so two builds that differ in a byte are two programs to the ledger's policy.
//
// Whether it is an executor or a vault follows from its slot. Everything that it
// reads from its host (arguments, configuration, files, network) may be a lie;
// package nodeconfig and docs/ledger.md say what a lie can do.
package ledgerd

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/nodeconfig"
	"hitoku.dev/ledger"
)

// Main is the program's main function. It does not return. Exit codes: 0 it was asked
// to end, 1 refused or failed, 2 wrong usage.
//
// Nothing may run before it: it begins by replacing the process by one without the
// host's environment. So applications must not do anything in init functions or
// package variables that depends on the environment.
func Main(apps ...*ledger.App) {
	stderr, err := member.CleanStart(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hitoku-ledger:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, apps, os.Stdin, os.Stdout, stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, argv []string, apps []*ledger.App, stdin io.Reader, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("hitoku-ledger", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("config", "", "`file` with the configuration (JSON, docs/ledger.md); - is standard input")
	names := f.Bool("applications", false, "print the names and versions of the applications as JSON, and end")
	f.Usage = func() {
		fmt.Fprintln(stderr, "A node of a ledger. It runs inside a TEE; `hitoku ledger node` and `hitoku ledger vault` start it under a simulated one.")
		f.PrintDefaults()
	}
	switch err := f.Parse(argv[min(1, len(argv)):]); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if f.NArg() > 0 || (*file == "") == !*names {
		fmt.Fprintln(stderr, "hitoku-ledger: wanted --config FILE, or --applications")
		return 2
	}
	if *names {
		return list(apps, stdout, stderr)
	}
	config, err := read(*file, stdin)
	if err != nil {
		fmt.Fprintln(stderr, "hitoku-ledger:", err)
		return 2
	}
	var handler slog.Handler = slog.NewTextHandler(stderr, nil)
	if config.LogJSON {
		handler = slog.NewJSONHandler(stderr, nil)
	}
	if err := serve(ctx, config, apps, slog.New(handler)); err != nil {
		fmt.Fprintln(stderr, "hitoku-ledger:", err)
		return 1
	}
	return 0
}

// list prints what a genesis must name.
func list(of []*ledger.App, stdout, stderr io.Writer) int {
	machine, err := ledger.NewMachine(of...)
	if err != nil {
		fmt.Fprintln(stderr, "hitoku-ledger:", err)
		return 1
	}
	type application struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Access  string `json:"access"` // "signatures", or "none" where anyone may claim any account
	}
	apps := []application{}
	for _, a := range machine.Apps() {
		apps = append(apps, application{a.Name, a.Version, a.Access.String()})
	}
	if err := json.NewEncoder(stdout).Encode(apps); err != nil {
		return 1
	}
	return 0
}

func read(file string, stdin io.Reader) (*nodeconfig.Config, error) {
	if file == "-" {
		return nodeconfig.Read(stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := nodeconfig.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}
