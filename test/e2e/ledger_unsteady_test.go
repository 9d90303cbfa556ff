//go:build e2e

package e2e

import (
	"errors"
	"testing"
	"time"

	"hitoku.dev/internal/demo/play"
	"hitoku.dev/internal/ledger/hosttest"
)

// TestLedgerOnUnsteadyChain runs nodes on the development chain while it takes six blocks back, with and
// without their transactions, while its endpoint is away for 20 s, and while nodes and chain are killed.
func TestLedgerOnUnsteadyChain(t *testing.T) {
	t.Parallel() // blocks are waited for most of the time
	h := newLedgerHost(t)
	keys := h.keys()
	listen := play.FreeOr("127.0.0.1", 0)
	h.orderBy = []string{"--data", h.Path("chain"), "--listen", listen, "--admin", "--period", "400ms"} // its time, at least a second a block, must not run far ahead
	for _, a := range keys {
		h.orderBy = append(h.orderBy, "--fund", a+"=1000")
	}
	h.startOrder()
	h.overChain(keys, listen, "--finality", "confirmations", "--confirmations", "7")
	canaries := hosttest.NewCanaries(t)
	canaries.Construct(t.Context(), h.client())
	p := h.pay(canaries, 8, 1)
	for _, drop := range []bool{false, true} {
		p.more(4)
		h.until(h.order, "a record in the newest block", func() error {
			var n string
			if h.call(&n, "eth_getBlockTransactionCountByNumber", "latest"); n == "0x0" {
				return errors.New("it has none")
			}
			return nil
		})
		h.call(nil, "dev_reorganise", 6, drop)
		p.more(8)
		h.running()
	}
	h.line.Cut(true)
	time.Sleep(20 * time.Second) // the outage
	h.line.Cut(false)
	p.more(8)
	h.nodes[2].Kill()
	h.order.Kill()
	h.startOrder()
	h.start(2)
	h.running()
	p.more(8)
	p.verify(canaries)
	h.secret(canaries)
}
