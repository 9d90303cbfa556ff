package collateraltest

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Example makes a world for runnable examples, which have no test to end; end
// closes its servers. What cannot be made panics.
func Example(now time.Time) (w *World, end func()) {
	tb := new(example)
	return New(tb, now), tb.end
}

// example stands in for a test.
type example struct {
	testing.TB
	cleanups []func()
}

func (e *example) Helper()                        {}
func (e *example) Cleanup(f func())               { e.cleanups = append(e.cleanups, f) }
func (e *example) Fatal(args ...any)              { panic(fmt.Sprint(args...)) }
func (e *example) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (e *example) end() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
}
