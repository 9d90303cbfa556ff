package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

const (
	rounds = 9
	round  = 150 * time.Millisecond
)

// contender is one side of a comparison; do does the work once.
type contender struct {
	name string
	do   func() error

	rates  []float64 // per second, one a round
	allocs float64
}

// rate is the median round's.
func (c *contender) rate() float64 {
	s := slices.Sorted(slices.Values(c.rates))
	return s[len(s)/2]
}

// target says what the ratio of two contenders' rates should be at least.
type target struct {
	name, over string
	want       float64
}

// compare lets the contenders take turns and prints rates and ratios.
func compare(title string, contenders []*contender, targets []target) error {
	for _, c := range contenders {
		if err := c.do(); err != nil { // and warm what it remembers
			return fmt.Errorf("%s: %s: %w", title, c.name, err)
		}
		c.allocs = allocations(c.do)
	}
	for range rounds {
		for _, c := range contenders {
			n, start := 0, time.Now()
			for time.Since(start) < round {
				if err := c.do(); err != nil {
					return fmt.Errorf("%s: %s: %w", title, c.name, err)
				}
				n++
			}
			c.rates = append(c.rates, float64(n)/time.Since(start).Seconds())
		}
	}
	fmt.Printf("\n%s\n", title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	byName := make(map[string]*contender)
	for _, c := range contenders {
		fmt.Fprintf(w, "  %s\t%.0f/s\t%.1f µs\t%.0f allocations\t\n", c.name, c.rate(), 1e6/c.rate(), c.allocs)
		byName[c.name] = c
	}
	w.Flush()
	for _, t := range targets {
		ratio := byName[t.name].rate() / byName[t.over].rate()
		word := "met"
		if ratio < t.want {
			word = "MISSED"
		}
		fmt.Printf("  %s / %s = %.2f, wanted at least %.2f: %s\n", t.name, t.over, ratio, t.want, word)
	}
	return nil
}

// allocations counts what do allocates, as testing.AllocsPerRun does.
func allocations(do func() error) float64 {
	const runs = 20
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		_ = do()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / runs
}

// scaling prints how much faster two goroutines are than one.
func scaling(title string, do func() error) error {
	rate := func(workers int) (float64, error) {
		var wg sync.WaitGroup
		counts, errs := make([]int, workers), make([]error, workers)
		start := time.Now()
		for i := range workers {
			wg.Go(func() {
				for time.Since(start) < round && errs[i] == nil {
					errs[i] = do()
					counts[i]++
				}
			})
		}
		wg.Wait()
		n := 0
		for i, c := range counts {
			if errs[i] != nil {
				return 0, errs[i]
			}
			n += c
		}
		return float64(n) / time.Since(start).Seconds(), nil
	}
	var ratios []float64
	for range rounds {
		one, err := rate(1)
		if err != nil {
			return err
		}
		two, err := rate(2)
		if err != nil {
			return err
		}
		ratios = append(ratios, two/one)
	}
	slices.Sort(ratios)
	fmt.Printf("  %s on two goroutines / on one = %.2f\n", title, ratios[len(ratios)/2])
	return nil
}
