package faulttest

import (
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"
	"hitoku.dev/internal/ledger/hosttest"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/embedded"
	"hitoku.dev/internal/ledger/replica"
)

var (
	schedulesFlag = flag.Int("schedules", 3, "how many random schedules to run")
	seedFlag      = flag.Uint64("seed", 0, "run this one schedule")
	actsFlag      = flag.Int("acts", 14, "how many acts of the host a schedule has")
)

const (
	executors = 3
	vault     = executors // its slot
	slots     = executors + 1
	payers    = 5
)

// TestSchedules lets hosts do at random what they can, under load, and then be honest again.
func TestSchedules(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		runSchedule(t, *seedFlag)
		return
	}
	for i := range *schedulesFlag {
		t.Run(fmt.Sprintf("seed=%d", i+1), func(t *testing.T) {
			t.Parallel()
			runSchedule(t, uint64(i+1))
		})
	}
}

// host is everything around the nodes of one ledger.
type host struct {
	t        *testing.T
	rng      *mathrand.Rand
	c        *ledgertest.Cluster
	clients  *clients
	logs     [slots]*unreliable
	machines [slots]*machine
	relays   [slots]*hosttest.Relay
	skew     [slots]atomic.Int64 // of the clock, in nanoseconds
	did      []string
}

func runSchedule(t *testing.T, seed uint64) {
	h := newHost(t, seed)
	defer func() {
		if t.Failed() {
			t.Logf("what the host did: %s\nagain with: go test ./internal/ledger/faulttest -run TestSchedules -seed %d -acts %d", strings.Join(h.did, ", "), seed, *actsFlag)
		}
	}()
	for range *actsFlag {
		h.act()
		h.linger()
	}
	h.heal()
	h.clients.verify()
	agree(t, h.c)
	t.Logf("seed %d: %d payments, position %d, epoch %d; %s", seed, len(h.clients.payments), h.c.Nodes[0].Replica().Status().Position,
		h.c.Nodes[0].Replica().Status().Epoch, strings.Join(h.did, ", "))
}

func newHost(t *testing.T, seed uint64) *host {
	t.Helper()
	h := &host{t: t, rng: mathrand.New(mathrand.NewPCG(seed, 1))}
	all, err := embedded.Open(t.TempDir(), embedded.Options{Now: time.Now, Rand: rand.Reader, MaxRecord: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = all.Close() }) // the test is over
	for i := range slots {
		h.logs[i] = &unreliable{Log: all, rng: mathrand.New(mathrand.NewPCG(seed, uint64(i)+10))}
		h.machines[i] = newMachine(seed<<8 + uint64(i))
	}
	var logger *slog.Logger // the test's log
	if *seedFlag == 0 {
		logger = slog.New(slog.DiscardHandler)
	}
	h.c = ledgertest.Start(t, ledgertest.Options{
		Logger:    logger,
		Executors: executors, Vaults: 1, Window: 2 + seed%12, CheckpointEvery: uint32(4 + seed%30), Compact: 16 << 10,
		Timing: replica.Timing{Stagger: 20, Resubmit: 100, Checkpoint: 50, VaultWait: 100, Lonely: 100},
		FS:     func(slot int, _ disk.FS) disk.FS { return h.machines[slot].folder() },
		Log:    func(_ testing.TB, slot int) order.Log { return h.logs[slot] },
		Front: func(slot int, address string) string {
			h.relays[slot] = hosttest.NewRelay(t, fmt.Sprintf("slot %d", slot), address, nil)
			return h.relays[slot].Address()
		},
		Clock: func(slot int) func() time.Time {
			return func() time.Time { return time.Now().Add(time.Duration(h.skew[slot].Load())) }
		},
	})
	h.clients = startClients(t, h.c, payers, seed)
	return h
}

// linger lets clients get on, but does not wait for what cannot come about.
func (h *host) linger() {
	want := h.clients.done.Load() + int64(h.rng.IntN(20))
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	enough := time.NewTimer(250 * time.Millisecond)
	defer enough.Stop()
	for h.clients.done.Load() < want {
		select {
		case <-poll.C:
		case <-enough.C:
			return
		}
	}
}

func (h *host) note(format string, a ...any) { h.did = append(h.did, fmt.Sprintf(format, a...)) }

// act is one act of the host, or of an administrator.
func (h *host) act() {
	i := h.rng.IntN(slots)
	switch roll := h.rng.IntN(100); {
	case roll < 25:
		h.kill(i)
		h.start(i)
	case roll < 32: // stays down for a while
		h.kill(i)
	case roll < 42:
		h.up()
	case roll < 50:
		h.note("power cut")
		for i := range h.c.Nodes {
			h.kill(i)
		}
		h.up()
	case roll < 65:
		f := faults{
			drop: h.rng.IntN(40), repeat: h.rng.IntN(50), reorder: h.rng.IntN(30), forge: h.rng.IntN(50), old: h.rng.IntN(50),
			slow: time.Duration(h.rng.IntN(20)) * time.Millisecond, down: h.rng.IntN(4) == 0,
		}
		h.note("log of %d: %+v", i, f)
		h.logs[i].set(f)
	case roll < 70:
		h.note("logs as they should be")
		for _, l := range h.logs {
			l.set(faults{})
		}
	case roll < 78:
		cut := h.rng.IntN(2) == 0
		h.note("cut %d off: %v", i, cut)
		h.relays[i].Break()
		h.relays[i].Cut(cut)
	case roll < 84:
		by := time.Duration(h.rng.IntN(13)-6) * time.Hour
		h.note("clock of %d: %v", i, by)
		h.skew[i].Store(int64(by))
	case roll < 92:
		how := []string{"full", "sync", ""}[h.rng.IntN(3)]
		h.note("disk of %d: %q", i, how)
		h.machines[i].fail(how)
	case roll < 96:
		h.note("rotate at %d", i)
		if n := h.c.Nodes[i].Node(); n != nil {
			_, _ = n.Replica().Rotate() // it may not be able to
		}
	default:
		h.note("approve")
		if h.c.Nodes[vault].Node() != nil {
			h.c.Approve(vault)
		}
	}
}

// kill ends a process, or the whole machine with what its disk has not made durable.
func (h *host) kill(i int) {
	s := disktest.Survival(h.rng.IntN(int(disktest.Modes)))
	if h.c.Nodes[i].Node() == nil {
		return
	}
	h.note("kill %d (%d)", i, s)
	h.machines[i].crash(s, h.c.Nodes[i].Kill)
	if err := h.c.Nodes[i].Err(); err != nil && strings.Contains(err.Error(), "halted") {
		h.t.Errorf("slot %d had halted although there was one log: %v", i, err)
	}
}

// start starts a process; where the disk fails it may not come up, and then it is started on one that does not.
func (h *host) start(i int) {
	if h.c.Nodes[i].Node() != nil {
		return
	}
	h.note("start %d", i)
	if err := h.c.Nodes[i].TryStart(); err != nil {
		h.note("%d does not start: %v", i, err)
		h.machines[i].fail("")
		h.c.Nodes[i].Start()
	}
}

func (h *host) up() {
	for i := range h.c.Nodes {
		h.start(i)
	}
}

// heal is an honest host, until all nodes run and every command has its outcome.
func (h *host) heal() {
	for i := range slots {
		h.logs[i].set(faults{})
		h.machines[i].fail("")
		h.relays[i].Cut(false)
		h.skew[i].Store(0)
	}
	h.up()
	for _, n := range h.c.Nodes {
		if err := n.Replica().Err(); err != nil {
			h.t.Fatalf("slot %d has halted although there was one log: %v", n.Slot, err)
		}
	}
	h.c.WaitApproving(vault)
}
