//go:build e2e

package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// A run of schedules has a seed: HITOKU_SEED repeats one, HITOKU_SCHEDULES says how many there are.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestLedgerKills kills processes at random points under load: nodes, vault, log, one, several or all.
func TestLedgerKills(t *testing.T) {
	seed, schedules := setting(t, "HITOKU_SEED", uint64(time.Now().UnixNano())%1e9), setting(t, "HITOKU_SCHEDULES", 10)
	t.Logf("again with HITOKU_SEED=%d HITOKU_SCHEDULES=%d", seed, schedules)
	h := newLedgerHost(t)
	h.overLog()
	canaries := h.open()
	p := h.pay(canaries, 4, seed)
	for k := range schedules {
		rng := rand.New(rand.NewPCG(seed, k))
		h.schedule(rng, p)
		h.running()
		p.more(4)
	}
	p.verify(canaries)
	canaries.Play(t.Context(), h.client())
	h.secret(canaries)
}

// schedule kills some processes at random moments and starts them again in random order.
func (h *ledgerHost) schedule(rng *rand.Rand, p *payers) {
	victims := rng.Perm(5)[:1+rng.IntN(5)] // 0 is the log
	if rng.IntN(2) == 0 {
		victims = victims[:1]
	}
	for _, v := range victims {
		time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond) // the random point
		if v == 0 {
			h.order.Kill()
		} else {
			h.nodes[v].Kill()
		}
	}
	h.t.Logf("killed %v after %d payments", victims, p.done.Load())
	rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, v := range victims {
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		if v == 0 {
			h.startOrder()
		} else {
			h.start(v)
		}
	}
}
