package replica_test

import (
	"bytes"
	"flag"
	"fmt"
	"strconv"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

var (
	seedFlag      = flag.Uint64("seed", 0, "run this one schedule")
	schedulesFlag = flag.Int("schedules", 100, "how many random schedules to run")
)

// TestSchedules lets the host do its worst at random: deliver late and in bits, lose, repeat,
// reorder and forge records, hold back checkpoints, kill nodes, cut the power. Whatever it does,
// nothing that was acknowledged is lost or doubled and all nodes agree; and once the host is honest
// again every command gets its outcome.
func TestSchedules(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		runSchedule(t, *seedFlag)
		return
	}
	n := *schedulesFlag
	if testing.Short() {
		n = min(n, 15)
	}
	for i := range n {
		seed := uint64(i + 1)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			runSchedule(t, seed)
		})
	}
}

// intent is a command that a user wants done, whatever happens to nodes.
type intent struct {
	u      *user
	item   []byte
	from   int
	to     int
	amount uint64
	tries  []*pending
	result *wire.Result
}

func runSchedule(t *testing.T, seed uint64) {
	w := newWorld(t, worldOptions{executors: 3, vaults: 1, seed: seed, window: seed % 9, rotation: 40, checkpointEvery: uint32(seed % 7 * 5)})
	defer func() {
		if t.Failed() {
			t.Logf("again with: go test ./internal/ledger/replica -run TestSchedules -seed %d", seed)
		}
	}()
	w.startAll()
	users := []*user{w.user(), w.user(), w.user(), w.user()}
	if x := users[0].do(w.nodes[0], "construct", `{"total_supply":1000000}`); x.Outcome.Code != 0 {
		t.Fatalf("construct: %+v", x)
	}
	s := &schedule{w: w, users: users}
	for range 700 {
		s.step()
	}
	s.heal()
	s.verify()
}

type schedule struct {
	w       *world
	users   []*user
	intents []*intent
	open    []*intent // without a result, one for each user at most
	held    [][]byte  // records that the host took and may bring later
}

// step is one act of the host, or of a client.
func (s *schedule) step() {
	w, rng := s.w, s.w.rng
	n := w.nodes[rng.IntN(len(w.nodes))]
	switch roll := rng.IntN(100); {
	case roll < 25:
		n.deliver(1 + rng.IntN(4))
	case roll < 50:
		n.tick()
	case roll < 68:
		n.submit(1 + rng.IntN(3))
	case roll < 82:
		n.gossip(w.nodes[rng.IntN(len(w.nodes))])
	case roll < 90:
		s.client()
	case roll < 92:
		w.now = w.now.Add(time.Duration(rng.IntN(10)) * time.Second)
	case roll < 93 && len(n.queue) > 0: // lose a record
		s.held = append(s.held, n.queue[0].Record)
		n.queue = n.queue[1:]
	case roll < 94 && len(s.held) > 0: // bring one back, late
		w.append(s.held[rng.IntN(len(s.held))])
	case roll < 95 && len(w.log) > 0: // repeat one
		w.append(w.log[rng.IntN(len(w.log))].Record)
	case roll < 96 && len(n.queue) > 1: // out of order
		n.queue[0], n.queue[1] = n.queue[1], n.queue[0]
	case roll < 97 && len(w.log) > 0: // forge
		junk := bytes.Clone(w.log[rng.IntN(len(w.log))].Record)
		junk[rng.IntN(len(junk))] ^= 1 << rng.IntN(8)
		w.append(junk[:len(junk)-rng.IntN(2)])
	case roll < 98:
		if n.r != nil && n.r.Err() == nil {
			_, _ = n.r.Rotate()
		}
	case roll < 99: // kill -9, and start again
		n.kill()
		n.start()
	default:
		if rng.IntN(8) == 0 { // total power cut
			for _, n := range w.nodes {
				n.kill()
			}
			for _, n := range w.nodes {
				n.start()
			}
		}
		w.approve()
	}
	w.check()
}

// client makes a new transfer, or tries an old one again at some node.
func (s *schedule) client() {
	rng := s.w.rng
	s.poll()
	who := rng.IntN(len(s.users))
	u := s.users[who]
	var in *intent
	for _, o := range s.open {
		if o.from == who {
			in = o
		}
	}
	if in == nil {
		in = &intent{u: u, from: who, to: rng.IntN(len(s.users)), amount: uint64(rng.IntN(400000))}
		in.item = u.command("transfer", `{"recipient":"`+s.users[in.to].account()+`","amount":`+strconv.FormatUint(in.amount, 10)+`}`)
		s.intents, s.open = append(s.intents, in), append(s.open, in)
	}
	if p := u.send(s.w.nodes[rng.IntN(3)], in.item); p != nil {
		in.tries = append(in.tries, p)
	}
}

// poll collects outcomes; two tickets for one command must tell the same.
func (s *schedule) poll() {
	var open []*intent
	for _, in := range s.open {
		for _, p := range in.tries {
			if p.result != nil {
				continue
			}
			done, _ := in.u.poll(p)
			if !done {
				continue
			}
			switch {
			case p.result.Status != wire.StatusCommitted:
				if c := p.result.Outcome.Code; c != ledger.CodeBehind {
					s.w.t.Fatalf("transfer was not committed: %+v", p.result)
				}
			case p.result.Outcome.Code == ledger.CodeNonceUsed || p.result.Outcome.Code == ledger.CodeNonceGap:
				s.w.t.Fatalf("one command came into effect twice, or out of turn: %+v", p.result)
			case in.result == nil:
				in.result = p.result
			case in.result.Position != p.result.Position || in.result.Index != p.result.Index || in.result.Outcome.Code != p.result.Outcome.Code:
				s.w.t.Fatalf("one command has two outcomes: %+v and %+v", in.result, p.result)
			}
		}
		if in.result == nil {
			open = append(open, in)
		}
	}
	s.open = open
}

// heal is an honest host until all commands have their outcome.
func (s *schedule) heal() {
	for _, n := range s.w.nodes {
		if n.r != nil && n.r.Err() != nil {
			s.w.t.Fatalf("slot %d halted although the log was one: %v", n.slot, n.r.Err())
		}
	}
	s.w.settle("all nodes run again", s.w.allRunning)
	i := 0
	s.w.settle("all commands have outcomes", func() bool {
		s.poll()
		for _, in := range s.open {
			i++
			if p := in.u.send(s.w.nodes[i%3], in.item); p != nil {
				in.tries = append(in.tries, p)
			}
		}
		return len(s.open) == 0
	})
}

// verify holds every node's balances against a model that runs the acknowledged transfers.
func (s *schedule) verify() {
	t := s.w.t
	model := []uint64{1_000_000, 0, 0, 0}
	ordered := append([]*intent(nil), s.intents...)
	for i := range ordered {
		for j := i; j > 0 && before(ordered[j].result, ordered[j-1].result); j-- {
			ordered[j], ordered[j-1] = ordered[j-1], ordered[j]
		}
	}
	for _, in := range ordered {
		want := ledger.CodeOK
		if model[in.from] < in.amount {
			want = ledger.CodeRefused
		} else {
			model[in.from] -= in.amount
			model[in.to] += in.amount
		}
		if in.result.Outcome.Code != want {
			t.Fatalf("transfer of %d from %d at position %d: %s, wanted %s", in.amount, in.from, in.result.Position, ledger.CodeWord(in.result.Outcome.Code), ledger.CodeWord(want))
		}
	}
	for _, n := range s.w.nodes[:3] {
		for i, u := range s.users {
			if got := u.balance(n); got != strconv.FormatUint(model[i], 10) {
				t.Fatalf("slot %d: user %d has %s, wanted %d", n.slot, i, got, model[i])
			}
		}
	}
	t.Logf("%d commands, %d positions, epoch %d", len(s.intents), len(s.w.log), s.w.nodes[0].r.Status().Epoch)
}

func before(a, b *wire.Result) bool {
	return a.Position < b.Position || a.Position == b.Position && a.Index < b.Index
}
