package faulttest

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

const supply = 1_000_000

// payment is a transfer with its outcome.
type payment struct {
	from, to int
	amount   uint64
	result   wire.Result
}

// clients are accounts that pay one another without end, each its next command when the outcome
// of the one before is known.
type clients struct {
	t     *testing.T
	c     *ledgertest.Cluster
	users []*ledgertest.User
	stop  context.CancelFunc
	group sync.WaitGroup
	done  atomic.Int64 // payments with an outcome

	mu       sync.Mutex
	payments []payment
}

// startClients makes accounts, has the first one construct the token, and begins.
func startClients(t *testing.T, c *ledgertest.Cluster, number int, seed uint64) *clients {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &clients{t: t, c: c, stop: stop}
	for range number {
		s.users = append(s.users, c.User())
	}
	if r := s.users[0].Do(0, "construct", fmt.Sprintf(`{"total_supply":%d}`, supply)); r.Outcome.Code != ledger.CodeOK {
		t.Fatalf("construct: %+v", r)
	}
	for i := range s.users {
		s.group.Go(func() { s.pay(ctx, i, rand.New(rand.NewPCG(seed, uint64(i)+100))) })
	}
	return s
}

func (s *clients) pay(ctx context.Context, who int, rng *rand.Rand) {
	u := s.users[who]
	sessions := map[int]*ledgertest.Session{}
	for ctx.Err() == nil {
		p := payment{from: who, to: rng.IntN(len(s.users)), amount: uint64(rng.IntN(supply / 2))}
		account := s.users[p.to].Account()
		command := u.Command("transfer", fmt.Sprintf(`{"recipient":"%s","amount":%d}`, hex.EncodeToString(account[:]), p.amount))
		known := 0
		for try := 0; known == 0 || rng.IntN(8) == 0 && try < 100; try++ { // an outcome that is known is asked for again, now and then
			r, err := s.send(u, sessions, rng.IntN(executors), command)
			if err != nil {
				if s.t.Context().Err() != nil {
					return // the test has given up
				}
				time.Sleep(time.Millisecond) // nodes are down, or not reached
				continue
			}
			switch {
			case r.Status != wire.StatusCommitted && (r.Outcome.Code == ledger.CodeBusy || r.Outcome.Code == ledger.CodeBehind):
				continue
			case r.Status != wire.StatusCommitted:
				s.t.Errorf("user %d: a payment was not committed: %+v", who, r)
				return
			case r.Outcome.Code == ledger.CodeNonceUsed || r.Outcome.Code == ledger.CodeNonceGap:
				s.t.Errorf("user %d: a command came into effect twice, or out of turn: %+v", who, r)
				return
			case known > 0 && (r.Position != p.result.Position || r.Index != p.result.Index || r.Outcome.Code != p.result.Outcome.Code):
				s.t.Errorf("user %d: one command has two outcomes: %+v and %+v", who, p.result, r)
				return
			}
			p.result = r
			known++
		}
		s.mu.Lock()
		s.payments = append(s.payments, p)
		s.mu.Unlock()
		s.done.Add(1)
	}
}

// send asks one node. What it says about itself in the open is no outcome.
func (s *clients) send(u *ledgertest.User, sessions map[int]*ledgertest.Session, node int, command []byte) (wire.Result, error) {
	session := sessions[node]
	if session == nil {
		var err error
		if session, err = u.Session(node); err != nil {
			return wire.Result{}, err
		}
		sessions[node] = session
	}
	out, err := session.Send(command)
	if err != nil {
		delete(sessions, node) // another incarnation has another key
		return wire.Result{}, err
	}
	return out[0], nil
}

// finish waits until every payment has its outcome.
func (s *clients) finish() []payment {
	s.stop()
	s.group.Wait()
	slices.SortFunc(s.payments, func(a, b payment) int {
		if a.result.Position != b.result.Position {
			return int(a.result.Position) - int(b.result.Position)
		}
		return int(a.result.Index) - int(b.result.Index)
	})
	return s.payments
}

// verify holds every executor's balances against a model that makes the payments in the order of the ledger.
func (s *clients) verify() {
	s.t.Helper()
	model := make([]uint64, len(s.users))
	model[0] = supply
	for _, p := range s.finish() {
		want := ledger.CodeOK
		if model[p.from] < p.amount {
			want = ledger.CodeRefused
		} else {
			model[p.from] -= p.amount
			model[p.to] += p.amount
		}
		if p.result.Outcome.Code != want {
			s.t.Fatalf("payment of %d by user %d at position %d: %s, wanted %s", p.amount, p.from, p.result.Position,
				ledger.CodeWord(p.result.Outcome.Code), ledger.CodeWord(want))
		}
	}
	for node := range executors {
		sum := uint64(0)
		for i, u := range s.users {
			r := u.Query(node, "balanceOf", "{}", wire.ModeFresh)
			got, err := strconv.ParseUint(string(r.Outcome.Result), 10, 64)
			if err != nil || got != model[i] {
				s.t.Errorf("slot %d: user %d has %s, wanted %d (%+v)", node, i, r.Outcome.Result, model[i], r)
			}
			sum += got
		}
		if r := s.users[0].Query(node, "totalSupply", "{}", wire.ModeFresh); sum != supply || string(r.Outcome.Result) != strconv.Itoa(supply) {
			s.t.Errorf("slot %d: balances sum up to %d, total supply %s, wanted %d", node, sum, r.Outcome.Result, supply)
		}
	}
}

// agree waits until all executors have committed all that they have executed, and compares their digests.
func agree(t *testing.T, c *ledgertest.Cluster) {
	t.Helper()
	var last [executors]wire.Checkpoint
	c.Wait("executors have committed the same position", func() bool {
		first := c.Nodes[0].Replica().Status()
		for i, n := range c.Nodes[:executors] {
			st := n.Replica().Status()
			own := n.Replica().Checkpoints(st.Committed-1, 2)
			if st.Executed != first.Executed || st.Committed != first.Committed || len(own) != 1 || own[0].Checkpoint.Position != st.Committed {
				return false
			}
			last[i] = own[0].Checkpoint
		}
		return true
	})
	for i, got := range last {
		if got != last[0] {
			t.Errorf("slot %d: %+v, slot 0 has %+v", i, got, last[0])
		}
	}
}
