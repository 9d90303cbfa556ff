// Command benchledger measures the ledger beside what it is compared with, in one
// run, and prints each result as a ratio: commands through three nodes and a vault
// on either order, confidential transfers beside plain ERC-20 transfers on one
// chain, sealed queries, the processor's time beside that of the cryptography alone, a
// restart beside a replay, and what a rotation costs.
//
// Figures are of the machine that it runs on, where nodes, log, chain and clients
// share its processors. It starts what it needs on loopback, and removes it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	bin    string
	scale  float64 // of the time that each measurement takes
	fork   string  // of the development chain
	gas    uint64  // in a block of it
	period time.Duration
	slow   time.Duration // between blocks, where gas shall be what limits
}

func main() {
	b := &bench{}
	flag.StringVar(&b.bin, "bin", "bin", "`folder` with hitoku-devchain")
	flag.Float64Var(&b.scale, "scale", 1, "how long to measure, 1 for the documented figures")
	flag.StringVar(&b.fork, "fork", "cancun", "`fork` of the development chain")
	flag.Uint64Var(&b.gas, "gas-limit", 30_000_000, "`gas` in a block of the development chain")
	flag.DurationVar(&b.period, "period", time.Second, "time between blocks for commands a second")
	flag.DurationVar(&b.slow, "gas-period", 12*time.Second, "time between blocks for confidential beside plain transfers, as on Ethereum; long enough that gas limits both, not the processors")
	only := flag.String("only", "primitives,processor,embedded,queries,rotation,restart,chain,gas", "which measurements")
	profile := flag.String("cpuprofile", "", "`file` for a profile (go tool pprof)")
	flag.Parse()
	if err := b.main(*only, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "benchledger:", err)
		os.Exit(1)
	}
}

func (b *bench) main(only, profile string) (err error) {
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer func() { pprof.StopCPUProfile(); _ = f.Close() }()
	}
	parts := map[string]func(*bed){
		"primitives": b.primitives, "processor": b.processor, "embedded": b.embedded, "queries": b.queries,
		"rotation": b.rotation, "restart": b.restart, "chain": b.chain, "gas": b.byGas,
	}
	for _, name := range strings.Split(only, ",") {
		part := parts[name]
		if part == nil {
			return fmt.Errorf("no measurement is called %q", name)
		}
		if err := onBed(part); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// lasting is how long a measurement takes.
func (b *bench) lasting(d time.Duration) time.Duration { return time.Duration(float64(d) * b.scale) }

// count is how many of something a measurement takes, at least one.
func (b *bench) count(n int) int { return max(1, int(float64(n)*b.scale)) }
