// Command bench measures the verifiers of hitoku.dev/attest beside their peers
// in Go: the same evidence, one process, one run. It is a module of its own, so
// that the peers are no dependency of the product.
//
// The contenders of a comparison take turns in short rounds, so that a noisy
// machine disturbs all of them alike; what is printed is the median round. The
// evidence is real: it lies in the folder that HITOKU_EVIDENCE names, or in
// ../../shared/evidence. Without it there is nothing that every peer accepts,
// and the command says so and ends with 1.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	dir := os.Getenv("HITOKU_EVIDENCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "evidence")
	}
	if _, err := os.Stat(filepath.Join(dir, "intel-cases.json")); err != nil {
		return fmt.Errorf("no real evidence in %s: HITOKU_EVIDENCE names the folder", dir)
	}
	evidence := os.DirFS(dir)
	fmt.Printf("%s %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	return errors.Join(benchTDX(evidence), benchSGX(evidence), benchSNP(evidence))
}
