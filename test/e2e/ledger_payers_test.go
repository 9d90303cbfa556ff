//go:build e2e

package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hitoku.dev/internal/ledger/hosttest"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/client"
)

const funds = 1_000_000

// payers pay one another until they are told to stop, and know every outcome.
type payers struct {
	h        *ledgerHost
	accounts []hosttest.Account
	stop     context.CancelFunc
	group    sync.WaitGroup
	done     atomic.Int64

	mu       sync.Mutex
	payments []payment
}

type payment struct {
	from, to int
	amount   uint64
	outcome  client.Outcome
}

func (h *ledgerHost) pay(canaries *hosttest.Canaries, number int, seed uint64) *payers {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	p := &payers{h: h, stop: stop}
	var ids []ledger.AccountID
	for range number {
		a := hosttest.NewAccount(h.t)
		id := a.ID()
		canaries.Secrets.Bytes("a payer's id", id[:])
		p.accounts, ids = append(p.accounts, a), append(ids, id)
	}
	canaries.Fund(ctx, h.client(), funds, ids...)
	for i := range p.accounts {
		c := h.client()
		p.group.Go(func() { p.run(ctx, c, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	return p
}

func (p *payers) run(ctx context.Context, c *client.Client, who int, rng *rand.Rand) {
	for nonce := uint64(1); ctx.Err() == nil; nonce++ {
		x := payment{from: who, to: rng.IntN(len(p.accounts)), amount: uint64(rng.IntN(funds))}
		to := p.accounts[x.to].ID()
		call := client.Call{Application: "erc20", Name: "transfer", Arguments: fmt.Appendf(nil, `{"recipient":"%s","amount":%d}`, hex.EncodeToString(to[:]), x.amount)}
		command, err := client.SignCommand(p.h.ledger, p.accounts[who], call, nonce, 1<<40)
		if err != nil {
			p.h.t.Error(err)
			return
		}
		for {
			out, err := c.Send(p.h.t.Context(), command) // the same again until its outcome is known
			if err == nil && out[0].Committed {
				x.outcome = out[0]
				break
			}
			if p.h.t.Context().Err() != nil {
				return
			}
			if err == nil {
				p.h.t.Errorf("payer %d: %+v", who, out[0])
				return
			}
			time.Sleep(20 * time.Millisecond) // nodes start again meanwhile
		}
		p.mu.Lock()
		p.payments = append(p.payments, x)
		p.mu.Unlock()
		p.done.Add(1)
	}
}

// more waits until so many payments more have an outcome.
func (p *payers) more(n int64) {
	p.h.t.Helper()
	want := p.done.Load() + n
	p.h.until(p.h.nodes[4], "payments go on", func() error {
		if got := p.done.Load(); got < want {
			return fmt.Errorf("%d payments, wanted %d", got, want)
		}
		return nil
	})
}

// verify ends the payments and compares them, at each executor, with a model that makes them in the ledger's order.
func (p *payers) verify(canaries *hosttest.Canaries) {
	t := p.h.t
	t.Helper()
	p.stop()
	p.group.Wait()
	slices.SortFunc(p.payments, func(a, b payment) int {
		if d := int(a.outcome.Position) - int(b.outcome.Position); d != 0 {
			return d
		}
		return int(a.outcome.Index) - int(b.outcome.Index)
	})
	model := slices.Repeat([]uint64{funds}, len(p.accounts))
	for _, x := range p.payments {
		want := ledger.CodeOK
		if model[x.from] < x.amount {
			want = ledger.CodeRefused
		} else {
			model[x.from] -= x.amount
			model[x.to] += x.amount
		}
		if x.outcome.Code != want {
			t.Fatalf("payment of %d by %d: %+v, wanted %s", x.amount, x.from, x.outcome, ledger.CodeWord(want))
		}
	}
	for slot := 1; slot <= 3; slot++ {
		c, sum := p.h.client(slot), canaries.Balances()
		for i, a := range p.accounts {
			answer, err := c.Query(t.Context(), a, client.Call{Application: "erc20", Name: "balanceOf", Arguments: []byte("{}")}, true)
			got, _ := strconv.ParseUint(string(answer.Result), 10, 64)
			if err != nil || got != model[i] {
				t.Errorf("slot %d: payer %d has %s, wanted %d: %v", slot, i, answer.Result, model[i], err)
			}
			sum += got
		}
		canaries.Check(t.Context(), c)
		if sum != canaries.Supply() {
			t.Errorf("slot %d: balances sum up to %d, the supply is %d", slot, sum, canaries.Supply())
		}
	}
	p.h.agree()
	t.Logf("%d payments", len(p.payments))
}
