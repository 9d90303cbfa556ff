package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger/erc20"
)

// cluster is three nodes, and maybe a vault, in this process: REST over TLS on loopback, sealed files, fsync.
type cluster struct {
	*ledgertest.Cluster
	bed   *bed
	http  []*http.Client
	infos []wire.KeyInfo
}

const executors = 3

// start runs a cluster whose log is made by open, the embedded one for nil.
func start(b *bed, o ledgertest.Options, ready func(wire.Hash)) *cluster {
	o.Executors, o.EntryMax = executors, 120_000
	o.CheckpointEvery, o.AnchorAge = 1024, 100_000
	if o.Tick == 0 {
		o.Tick = 20 * time.Millisecond // as nodes have it
	}
	o.Timing = replica.Timing{Stagger: 10, Resubmit: 100, Checkpoint: 50, Lonely: 100, VaultWait: 100} // so are these
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Idle = true
	c := &cluster{Cluster: ledgertest.Start(b, o), bed: b}
	if ready != nil {
		ready(c.Ledger)
	}
	c.StartAll()
	for i := range executors {
		client := c.Nodes[i].HTTP()
		t := client.Transport.(*http.Transport)
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 1024, 1024
		c.http = append(c.http, client)
		c.infos = append(c.infos, c.info(i))
	}
	return c
}

func (c *cluster) info(i int) wire.KeyInfo {
	var k api.KeyReply
	c.bed.check(c.Nodes[i].Get("/api/v1/enclave_encryption_key", &k))
	info, err := wire.ParseKeyInfo(k.KeyInfo)
	c.bed.check(err)
	return info
}

func call(client *http.Client, method, url string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	q, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	r, err := client.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }() // it was read
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.200s", method, url, r.Status, raw)
	}
	return json.Unmarshal(raw, out)
}

// send hands one sealed request to a node and waits for the sealed reply.
func (c *cluster) send(i int, request []byte) ([]byte, error) {
	var t api.TicketReply
	if err := call(c.http[i], "POST", c.Nodes[i].URL+"/api/v1/state", api.StateRequest{Request: request}, &t); err != nil {
		return nil, err
	}
	for t.Reply == nil {
		if err := call(c.http[i], "GET", c.Nodes[i].URL+"/api/v1/tickets/"+t.Ticket+"?wait=30", nil, &t); err != nil {
			return nil, err
		}
	}
	return t.Reply, nil
}

// fund makes accounts that own something.
func (c *cluster) fund(n int) []*account {
	owner := newAccount(c.bed)
	items := [][]byte{owner.command(c.Ledger, erc20.App.Name, "construct", `{"total_supply":1000000000000000}`)}
	var out []*account
	for range n {
		a := newAccount(c.bed)
		out = append(out, a)
		items = append(items, owner.command(c.Ledger, erc20.App.Name, "transfer", fmt.Sprintf(`{"recipient":"%x","amount":%d}`, a.id, 1<<30)))
	}
	for len(items) > 0 {
		k := min(100, len(items))
		q, o := seal(c.bed, c.infos[0], wire.RequestCommands, replyBucket(k), items[:k]...)
		items = items[k:]
		reply, err := c.send(0, q)
		c.bed.check(err)
		c.bed.check(committed(reply, o))
	}
	return out
}

// answer is one request's.
type answer struct {
	at     time.Time
	took   time.Duration
	reply  []byte
	opener *keys.ReplyOpener
}

// load has clients, each bound to one node in turn, send what they have prepared, one request after
// the other, until it is over. Signing and sealing was done before.
type load struct {
	each    int
	clients []*sealed
}

// prepare makes clients that have so many requests each.
func (c *cluster) prepare(users, requests, each int) load {
	l := load{each: each}
	to := newAccount(c.bed).id
	for i, a := range c.fund(users) {
		l.clients = append(l.clients, prepare(c.bed, c.Ledger, c.infos[i%executors], a, to, requests, each))
	}
	return l
}

// run sends until the deadline, or all was sent.
func (c *cluster) run(l load, lasting time.Duration) (answers []answer, begin time.Time) {
	var mu sync.Mutex
	var group sync.WaitGroup
	var failed error
	begin = time.Now()
	for i, s := range l.clients {
		group.Go(func() {
			for k, q := range s.requests {
				if time.Since(begin) > lasting {
					return
				}
				t := time.Now()
				reply, err := c.send(i%executors, q)
				mu.Lock()
				if err != nil {
					failed = err
					mu.Unlock()
					return
				}
				answers = append(answers, answer{time.Now(), time.Since(t), reply, s.openers[k]})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	c.bed.check(failed)
	for i := 0; i < len(answers); i += 1 + len(answers)/50 { // all were executed, and none refused
		c.bed.check(committed(answers[i].reply, answers[i].opener))
	}
	return answers, begin
}

// middle is the rate of commands, and the median latency, after the first fifth of the time.
func middle(answers []answer, begin time.Time, each int) (rate float64, median time.Duration) {
	end := slices.MaxFunc(answers, func(a, b answer) int { return a.at.Compare(b.at) }).at
	from := begin.Add(end.Sub(begin) / 5)
	var took []time.Duration
	for _, a := range answers {
		if a.at.After(from) {
			took = append(took, a.took)
		}
	}
	slices.Sort(took)
	return float64(len(took)*each) / end.Sub(from).Seconds(), took[len(took)/2]
}

// timed measures what a log takes for handing over.
type timed struct {
	order.Log
	spent *spent
}

type spent struct {
	mu      sync.Mutex
	time    time.Duration
	records int
	bytes   int
}
