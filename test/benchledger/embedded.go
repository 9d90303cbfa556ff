package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/embedded"
)

// Submit implements order.Log.
func (l timed) Submit(ctx context.Context, s order.Submission) error {
	t := time.Now()
	err := l.Log.Submit(ctx, s)
	l.spent.mu.Lock()
	defer l.spent.mu.Unlock()
	l.spent.time += time.Since(t)
	l.spent.records++
	l.spent.bytes += len(s.Record)
	return err
}

const (
	headThroughput = "\ncommitted ERC-20 transfers a second: 3 nodes and a vault, REST over TLS, fsync in log and sealed files, %s\n" +
		"  (clients, nodes and log share this machine's processors; signing and sealing by the clients is done before)\n"
	lineThroughput = "  %-40s %8.0f a second, median latency %6.0f ms; %4.0f µs of processor time a command, %3.0f commands and %5.0f bytes a record\n"
)

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// embedded measures commands a second on the log in a file.
func (b *bench) embedded(t *bed) {
	fmt.Printf(headThroughput, "embedded log")
	for _, shape := range []struct{ users, each int }{{64, 1}, {24, 16}, {24, 64}} {
		e := &spent{}
		log, err := embedded.Open(t.TempDir(), embedded.Options{Now: time.Now, Rand: rand.Reader, MaxRecord: 120_000})
		t.check(err)
		c := start(t, ledgertest.Options{Vaults: 1, Log: func(testing.TB, int) order.Log { return timed{log, e} }}, nil)
		lasting := b.lasting(6 * time.Second)
		requests := 2 + int(lasting.Seconds()*6000)/shape.users/shape.each
		l := c.prepare(shape.users, requests, shape.each)
		*e = spent{}
		before, cpu := c.Nodes[1].Replica().Stats(), used()
		answers, begin := c.run(l, lasting)
		cpu = used() - cpu
		took := time.Since(begin)
		after := c.Nodes[1].Replica().Stats()
		rate, median := middle(answers, begin, shape.each)
		commands := float64(len(answers) * shape.each)
		fmt.Printf(lineThroughput, fmt.Sprintf("%d clients, %d a request:", shape.users, shape.each), rate, ms(median), float64(cpu.Microseconds())/commands,
			float64(after.Commands-before.Commands)/float64(after.Batches-before.Batches), float64(e.bytes)/float64(e.records))
		fmt.Printf("    share of one node's clock: open %s, verify %s, execute %s, seal %s; order (write and fsync, of all three nodes) %s\n",
			share(after.Open-before.Open, took), share(after.Verify-before.Verify, took), share(after.Execute-before.Execute, took), share(after.Seal-before.Seal, took), share(int64(e.time), took))
		c.Stop()
		t.check(log.Close())
	}
}

func share(nanoseconds int64, of time.Duration) string {
	return fmt.Sprintf("%.1f %%", 100*float64(nanoseconds)/float64(of.Nanoseconds()))
}
