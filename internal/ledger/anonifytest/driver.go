package anonifytest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// Driver puts the records of ledgers in order.
type Driver struct {
	// Prepare names the order in the options, before the genesis is made of them. What it
	// returns is called with the ledger's id before any node starts. A nil Prepare
	// stands for the embedded log.
	Prepare func(t *testing.T, o *ledgertest.Options) (ready func(ledger wire.Hash))
}

func (d Driver) start(t *testing.T, f form, o ledgertest.Options) world {
	t.Helper()
	if o.Apps == nil {
		o.Apps = []*ledger.App{f.app}
	}
	o.Flags |= f.flags
	ready := func(wire.Hash) {}
	if d.Prepare != nil {
		ready = d.Prepare(t, &o)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	idle := o.Idle
	o.Idle = true
	w := world{ledgertest.Start(t, o), t, f, o.Apps[0].Name, o.Now}
	ready(w.Ledger)
	if !idle {
		w.StartAll()
	}
	return w
}

// Chain is an Ethereum-type chain with a contract for one ledger.
type Chain struct {
	Endpoint string
	HTTP     *http.Client
	ID       uint64
	Contract ethereum.Address
	Poll     time.Duration
	Keys     []*ethereum.Key // of the submitters, by slot
}

// Use has every node of a ledger follow the chain, each with a connection and a folder of its
// own. A node that starts again closes the connection that it had, as its process would.
func (c Chain) Use(t *testing.T, o *ledgertest.Options, ledger func() wire.Hash) {
	t.Helper()
	const maxRecord = 64 << 10
	o.EntryMax = maxRecord
	o.Order = wire.Order{Driver: wire.DriverEthereum, ChainID: c.ID, Contract: c.Contract, Finality: wire.FinalityImmediate, Endpoints: 1}
	if o.Now == nil {
		o.Now = time.Now
	}
	now, folder := o.Now, t.TempDir()
	var mu sync.Mutex
	open := map[int]*ethereum.Log{}
	t.Cleanup(func() {
		for _, l := range open {
			_ = l.Close() // the nodes have stopped
		}
	})
	o.Log = func(tb testing.TB, slot int) order.Log {
		mu.Lock()
		defer mu.Unlock()
		if before := open[slot]; before != nil {
			_ = before.Close() // its node was killed
		}
		l, err := ethereum.Open(ethereum.Config{
			Endpoints: []string{c.Endpoint}, ChainID: c.ID, Contract: c.Contract, Ledger: ledger(), Finality: ethereum.Immediate,
			MaxRecord: maxRecord, Key: c.Keys[slot], Store: ethereum.FolderStore(filepath.Join(folder, fmt.Sprint(slot))),
			HTTP: c.HTTP, Now: now, Poll: c.Poll, Report: func(problem string) { tb.Log(problem) },
		})
		if err != nil {
			tb.Fatal(err)
		}
		open[slot] = l
		return l
	}
}
