package main

import (
	"fmt"
	"time"

	"hitoku.dev/internal/ledger/wire"
)

// rotation measures what a COMMIT costs by the number of members: three executors, the others vaults, which are
// members as executors are.
func (b *bench) rotation(t *bed) {
	fmt.Printf("\nrotation: a COMMIT that begins a new epoch (state machines; X25519)\n")
	fmt.Printf("  %7s %13s %12s %14s %14s %20s\n", "members", "COMMIT bytes", "a member", "make, CPU ms", "open, CPU ms", "and an ACK, bytes")
	for _, n := range []int{3, 16, 64, 256} {
		l := newLab(t, executors, n-executors, 120_000)
		for range 4 { // the first members' ACKs
			l.round()
		}
		epoch := l.epoch(0)
		_, err := l.nodes[0].Rotate()
		t.check(err)
		begin := used()
		l.nodes[0].Tick()
		made := used() - begin
		l.submit(0)
		record := l.log[len(l.log)-1].Record
		rec, err := wire.ParseRecord(record)
		t.check(err)
		if rec.Header.Type != wire.TypeCommit {
			t.Fatalf("a record of type %d, wanted a COMMIT", rec.Header.Type)
		}
		begin = used()
		l.deliver(1)
		opened := used() - begin
		if l.epoch(1) != epoch+1 {
			t.Fatalf("epoch %d after the COMMIT, wanted %d", l.epoch(1), epoch+1)
		}
		mark := len(l.log)
		l.nodes[1].Tick()
		l.submit(1)
		fmt.Printf("  %7d %13d %12d %14.2f %14.2f %20d\n", n, len(record), len(record)/n, milli(made), milli(opened), len(l.log[mark].Record))
	}
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
