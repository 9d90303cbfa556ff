package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
)

// TestFreshAfterRotation: the newest positions are acknowledgements, which no checkpoint
// names; a fresh question is answered all the same.
func TestFreshAfterRotation(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3})
	alice := construct(t, c)
	c.Rotate(1)
	c.Wait("all members have acknowledged", func() bool { return c.Acknowledged() })
	if got := balance(t, alice, 2, wire.ModeFresh); got != supply {
		t.Errorf("balance %d, wanted %d", got, supply)
	}
}

// load has users pay one another until stop is called, which returns how much went to bob.
func load(t *testing.T, c *ledgertest.Cluster, alice, bob *ledgertest.User, nodes ...int) (stop func() uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var paid uint64
	group.Go(func() {
		for k := 0; ctx.Err() == nil; k++ {
			command := alice.Command("transfer", transfer(bob, 1))
			for { // the same command, until an outcome is known
				s, err := alice.Session(nodes[k%len(nodes)])
				if err == nil {
					var r []wire.Result
					if r, err = s.Send(command); err == nil {
						if r[0].Status != wire.StatusCommitted || r[0].Outcome.Code != 0 {
							t.Errorf("payment %d: %+v", k, r[0])
							return
						}
						paid++
						break
					}
				}
				var refused *api.Error
				if errors.As(err, &refused) && refused.Status < 500 && refused.Code != api.CodeRequestKey && refused.Code != api.CodeNotFound {
					t.Errorf("payment %d: %v", k, err)
					return
				}
				if n := c.Nodes[nodes[k%len(nodes)]].Node(); n != nil && n.Replica().Err() != nil {
					t.Errorf("payment %d: %v", k, n.Replica().Err())
					return
				}
				time.Sleep(time.Millisecond) // the node starts again meanwhile
			}
		}
	})
	return func() uint64 {
		cancel()
		group.Wait()
		return paid
	}
}

// TestRotationUnderLoad: no command is lost or doubled while epochs go by, and members join.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1, Late: 1, Window: 4})
	alice, bob := construct(t, c), c.User()
	stop := load(t, c, alice, bob, 0, 1)
	for k := range 20 {
		c.Rotate(k % 3)
	}
	c.Nodes[4].Start()
	c.WaitRunning()
	for k := range 5 {
		c.Nodes[2].Kill()
		c.Nodes[2].Start()
		c.WaitRunning()
		c.Rotate(k % 2)
	}
	c.Nodes[3].Kill() // the vault, which has dropped the first epochs' keys
	c.Nodes[3].Start()
	c.WaitRunning()
	paid := stop()
	if paid == 0 {
		t.Error("nothing was paid")
	}
	for _, i := range []int{0, 1, 2, 4} {
		if got := balance(t, bob, i, wire.ModeFresh); got != paid {
			t.Errorf("slot %d: balance %d, wanted %d", i, got, paid)
		}
	}
}

// TestKills ends processes at random, one, several or all, also with the loss of their files, under
// load: what was answered stays so, once, and all executors agree.
func TestKills(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1, Window: 8})
			alice, bob := construct(t, c), c.User()
			stop := load(t, c, alice, bob, 0, 1, 2)
			for range 10 {
				switch rng.IntN(5) {
				case 0, 1, 2:
					i := rng.IntN(4)
					c.Nodes[i].Kill()
					c.Nodes[i].Start()
					if rng.IntN(2) == 0 {
						c.WaitApproving(3)
					}
				case 3:
					c.WaitApproving(3)
					c.Rotate(rng.IntN(3))
				case 4:
					c.WaitApproving(3)
					c.Backup(rng.IntN(3))
					c.Stop()
					for i := range 3 {
						if rng.IntN(3) == 0 {
							c.Nodes[i].Lose(t)
						}
					}
					for _, n := range c.Nodes {
						n.Start()
					}
				}
			}
			c.WaitApproving(3)
			paid := stop()
			for i := range 3 {
				if got := balance(t, bob, i, wire.ModeFresh); got != paid {
					t.Errorf("slot %d: balance %d, wanted %d", i, got, paid)
				}
			}
		})
	}
}
