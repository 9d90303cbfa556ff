// Command hitoku-devchain is a development chain: one process that behaves as an
// Ethereum-type node with JSON-RPC on loopback, for demonstrations, tests and
// benchmarks of the ledger. It is go-ethereum with a simulated consensus, in a
// module and a program of its own, so that nothing else links go-ethereum.
//
// Each block is on the disk when it is made: the chain survives kill -9. There is
// nobody to agree with, so nothing that it orders is proved: assurance "operator".
// Never hold value on it: with --admin anybody on this machine may reorganise it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns 0 when it was stopped, 1 when something failed, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "hitoku-devchain:", err)
		return 2
	}
	c, err := start(o)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "hitoku-devchain:", err)
		return 1
	}
	_, _ = fmt.Fprintf(stdout, "hitoku-devchain: chain %d, JSON-RPC on %s\n", o.ChainID, c.endpoint())
	err = c.produce(ctx)
	if err = errors.Join(err, c.close()); err != nil {
		_, _ = fmt.Fprintln(stderr, "hitoku-devchain:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	o := options{Fund: map[string]uint64{}}
	f := flag.NewFlagSet("hitoku-devchain", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.data, "data", filepath.Join(home, ".local", "share", "hitoku", "devchain"), "`folder` of the chain; what was set when it was made stays")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8545", "`host:port` of JSON-RPC; loopback only, port 0 takes a free one")
	f.DurationVar(&o.period, "period", 0, "time between blocks; 0: a block at once for each transaction")
	f.BoolVar(&o.admin, "admin", false, "offer dev_reorganise and dev_mine on JSON-RPC, for tests")
	f.Uint64Var(&o.ChainID, "chain-id", 1337, "chain `id` of a new chain")
	f.Uint64Var(&o.GasLimit, "gas-limit", 30_000_000, "`gas` in a block of a new chain")
	f.StringVar(&o.Fork, "fork", "cancun", "`fork` that a new chain begins with: london, shanghai, cancun, prague or osaka")
	f.Func("fund", "`address=ether` that a new chain begins with; may be repeated", o.addFund)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q; --help lists the flags", f.Arg(0))
	}
	if o.period < 0 || (o.period > 0 && o.period < 10*time.Millisecond) {
		return o, fmt.Errorf("--period %s: 0, or 10ms and more", o.period)
	}
	return o, o.check()
}
