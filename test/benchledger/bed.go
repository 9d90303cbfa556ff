package main

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// bed lets packages for tests run whole ledgers outside go test: what fails ends the measurement.
type bed struct {
	testing.TB // nil: what is not overridden below is not called

	mu       sync.Mutex
	cleanups []func()
}

// failure is what Fatal panics with.
type failure struct{ text string }

func (b *bed) Helper()                           {}
func (b *bed) Log(...any)                        {}
func (b *bed) Logf(string, ...any)               {}
func (b *bed) Fatal(args ...any)                 { panic(failure{fmt.Sprint(args...)}) }
func (b *bed) Fatalf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

func (b *bed) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

func (b *bed) TempDir() string {
	dir, err := os.MkdirTemp("", "benchledger-")
	b.check(err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// check ends the measurement at an error.
func (b *bed) check(err error) {
	if err != nil {
		b.Fatal(err)
	}
}

// onBed runs one measurement and cleans up after it.
func onBed(part func(*bed)) (err error) {
	b := &bed{}
	defer func() {
		if x := recover(); x != nil {
			f, ok := x.(failure)
			if !ok {
				panic(x)
			}
			err = fmt.Errorf("%s", f.text)
		}
		for i := len(b.cleanups) - 1; i >= 0; i-- {
			b.cleanups[i]()
		}
	}()
	part(b)
	return nil
}
