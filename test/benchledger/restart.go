package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

const (
	cells  = 1_000_000 // of the state that a node starts again with
	atOnce = 1000      // that one command makes
)

// filler is an application that makes many cells of the size of balances at once.
var filler = func() *ledger.App {
	balances := ledger.NewMap[ledger.AccountID, uint64]("balances")
	return &ledger.App{
		Name: "filler", Version: "1", Access: ledger.Signatures, State: []ledger.Stored{balances},
		Commands: []ledger.CommandDef{ledger.Command("fill", func(ctx *ledger.Context, p struct{ From uint64 }) {
			for i := range uint64(atOnce) {
				var a ledger.AccountID
				binary.BigEndian.PutUint64(a[:], (p.From+i)*0x9e3779b97f4a7c15)
				balances.Set(ctx, a, 1)
			}
		})},
	}
}()

// heard counts what nodes say: that one took its own files, and that its files are under a new epoch's key.
type heard struct {
	slog.Handler
	own, rings *atomic.Int32
}

func (h heard) Enabled(context.Context, slog.Level) bool { return true }
func (h heard) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h heard) Handle(_ context.Context, r slog.Record) error {
	switch {
	case strings.HasPrefix(r.Message, "opened the own sealed files"):
		h.own.Add(1)
	case strings.HasPrefix(r.Message, "sealed files are under a new epoch"):
		h.rings.Add(1)
	}
	return nil
}

// restart sets a node's way back from its own files beside executing the log again.
func (b *bench) restart(t *bed) {
	transfers := b.count(30_000)
	replay, made := b.replay(t, transfers)
	scaled := replay * time.Duration(cells) / time.Duration(made)
	var own, rings atomic.Int32
	c := start(t, ledgertest.Options{Apps: []*ledger.App{erc20.App, filler}, Logger: slog.New(heard{slog.DiscardHandler, &own, &rings}), Window: 1}, nil)
	a := newAccount(t)
	for from := 0; from < cells; {
		var items [][]byte
		for ; len(items) < 25; from += atOnce {
			items = append(items, a.command(c.Ledger, filler.Name, "fill", fmt.Sprintf(`{"from":%d}`, from)))
		}
		q, o := seal(t, c.infos[0], wire.RequestCommands, replyBucket(len(items)), items...)
		reply, err := c.send(0, q)
		t.check(err)
		t.check(committed(reply, o))
	}
	c.Wait("all have executed all", func() bool {
		for _, n := range c.Nodes[:executors] {
			if n.Replica().Status().Cells < cells {
				return false
			}
		}
		return true
	})
	c.Rotate(0) // the files go over to a new epoch's key
	c.Wait("files under the new epoch's key", func() bool { return rings.Load() >= 2*executors })
	n := c.Nodes[2]
	n.Kill()
	runtime.GC()
	begin := time.Now()
	n.Start()
	for !n.Replica().Status().Running {
		time.Sleep(time.Millisecond)
	}
	took := time.Since(begin)
	if got := n.Replica().Status().Cells; got < cells || own.Load() != 1 {
		t.Fatalf("the node runs with %d cells, and has opened its own files %d times", got, own.Load())
	}
	c.WaitRunning()
	c.Stop()
	fmt.Printf("\nrestart with %d cells\n", cells)
	fmt.Printf("  from the own sealed files, process start to running, with evidence, JOIN and COMMIT: %.2f s\n", took.Seconds())
	fmt.Printf("  executing the log again: %.2f s for %d transfers to as many new accounts on one node, so %.0f s for %d cells (scaled)\n", replay.Seconds(), made, scaled.Seconds(), cells)
	fmt.Printf("  ratio %.1f %% (goal 5 %%)\n", 100*took.Seconds()/scaled.Seconds())
}

// replay has two nodes make a log, and times a third that follows it alone.
func (b *bench) replay(t *bed, n int) (took time.Duration, made int) {
	l := newLab(t, executors, 0, 120_000)
	owner := l.fund(1, 1<<40)[0]
	l.asleep[2] = true
	l.nodes[2].Tick() // what it has sent so far is final
	from := l.at[2]
	items := make([][]byte, 0, n)
	for i := range n {
		var to [32]byte
		binary.BigEndian.PutUint64(to[:], uint64(i+1)*0x9e3779b97f4a7c15)
		items = append(items, owner.transfer(l.ledger, to))
	}
	cells := l.nodes[0].Status().Cells
	l.sendAtOnce(items)
	runtime.GC()
	begin := time.Now()
	l.check(l.nodes[2].Apply(l.log[from:]...))
	took = time.Since(begin)
	st := l.nodes[2].Status()
	if st.Executed != uint64(len(l.log)) {
		t.Fatalf("executed to %d of %d", st.Executed, len(l.log))
	}
	return took, l.nodes[0].Status().Cells - cells
}

// sendAtOnce has node 0 take commands in requests of 256 before anything is ordered, so that records are full.
func (l *lab) sendAtOnce(items [][]byte) {
	info := l.info(0)
	var ids []wire.Hash
	for len(items) > 0 {
		k := min(256, len(items))
		q, _ := seal(l.bed, info, wire.RequestCommands, replyBucket(k), items[:k]...)
		items = items[k:]
		id, _, err := l.nodes[0].Submit(q)
		l.check(err)
		ids = append(ids, id)
	}
	l.until("replies", func() bool {
		for _, id := range ids {
			if reply, _ := l.nodes[0].Ticket(id); reply == nil {
				return false
			}
		}
		return true
	})
}
