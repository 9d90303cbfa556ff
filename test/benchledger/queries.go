package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
)

// queries measures sealed questions to one node.
func (b *bench) queries(t *bed) {
	c := start(t, ledgertest.Options{Vaults: 1}, nil)
	accounts := c.fund(16)
	n := b.count(8000)
	questions := func() (out [][]byte, openers []*keys.ReplyOpener) {
		for i := range n {
			q, o := seal(t, c.infos[0], wire.RequestQuery, 1024, accounts[i%len(accounts)].question(c.Ledger, "balanceOf"))
			out, openers = append(out, q), append(openers, o)
		}
		return out, openers
	}
	in, out, s := measure(t, 1024), measure(t, 1024), measureSmall()
	crypto := in.hpke + in.verify + out.hmac + out.encr + 5*s.hmac

	r := c.Nodes[0].Replica()
	list, openers := questions()
	direct, cpu := c.ask(list, openers, func(q []byte) ([]byte, error) { return r.Query(context.Background(), q, nil) })
	fmt.Printf("\nsealed queries a second on one node (balanceOf, answered from committed state, 16 at once; sealing by the clients is done before)\n")
	fmt.Printf("  the node's state machine: %7.0f a second, %3.0f µs of processor time each, %.2f × its cryptography alone (%.0f µs: HPKE, Ed25519, sealed reply)\n",
		direct, cpu, cpu/(float64(crypto.Nanoseconds())/1e3), float64(crypto.Nanoseconds())/1e3)
	list, openers = questions()
	rest, cpu := c.ask(list, openers, func(q []byte) ([]byte, error) {
		var out api.QueryReply
		err := call(c.http[0], "POST", c.Nodes[0].URL+"/api/v1/state/query", api.QueryRequest{Request: q}, &out)
		return out.Reply, err
	})
	fmt.Printf("  REST over TLS:            %7.0f a second, %3.0f µs of processor time each, client's TLS and JSON included\n", rest, cpu)
}

// ask asks from 16 goroutines; it returns questions a second, and microseconds of processor time each.
func (c *cluster) ask(list [][]byte, openers []*keys.ReplyOpener, one func([]byte) ([]byte, error)) (rate, cpu float64) {
	const workers = 16
	replies := make([][]byte, len(list))
	var group sync.WaitGroup
	errs := make([]error, workers)
	begin, before := time.Now(), used()
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(list); i += workers {
				if replies[i], errs[w] = one(list[i]); errs[w] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	took, spent := time.Since(begin), used()-before
	for _, err := range errs {
		c.bed.check(err)
	}
	for i := 0; i < len(list); i += 97 {
		p, err := wire.ParseReply(replies[i])
		c.bed.check(err)
		body, err := openers[i].Open(p)
		c.bed.check(err)
		if x := body.Results[0]; x.Status != wire.StatusAnswer {
			c.bed.Fatalf("question %d: status %d, outcome %d %s", i, x.Status, x.Outcome.Code, x.Outcome.Message)
		}
	}
	return float64(len(list)) / took.Seconds(), float64(spent.Microseconds()) / float64(len(list))
}
