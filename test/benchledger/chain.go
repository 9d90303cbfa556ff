package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
)

const (
	chainID = 1337
	gwei    = 1_000_000_000
)

// maxFee lets base fees rise as far as they do in the minutes of a measurement.
const maxFee = uint64(10_000 * gwei)

// devchain is a process of hitoku-devchain.
type devchain struct {
	url  string
	rich *ethereum.Key   // deploys
	keys []*ethereum.Key // own ether
	http *http.Client
	bed  *bed
}

// startChain runs a new development chain on which so many accounts own ether.
func (b *bench) startChain(t *bed, period time.Duration, accounts int) *devchain {
	c := &devchain{http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, bed: t}
	args := []string{"--data", filepath.Join(t.TempDir(), "chain"), "--listen", "127.0.0.1:0", "--period", period.String(),
		"--gas-limit", strconv.FormatUint(b.gas, 10), "--fork", b.fork}
	for range accounts + 1 {
		k, err := ethereum.NewKey(rand.Reader)
		t.check(err)
		c.keys = append(c.keys, k)
		args = append(args, "--fund", k.Address().String()+"=1000000")
	}
	c.rich, c.keys = c.keys[0], c.keys[1:]
	cmd := exec.Command(filepath.Join(b.bin, "hitoku-devchain"), args...)
	out, err := cmd.StdoutPipe()
	t.check(err)
	cmd.Stderr = io.Discard
	t.check(cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	t.check(err)
	_, url, ok := strings.Cut(strings.TrimSpace(line), "JSON-RPC on ")
	if !ok {
		t.Fatalf("hitoku-devchain says %q, wanted where JSON-RPC is", line)
	}
	c.url = url
	return c
}

// rpc is one JSON-RPC call.
func (c *devchain) rpc(out any, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	raw, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	r, err := c.http.Post(c.url, "application/json", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }() // it was read
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", method, answer.Error.Message)
	}
	return json.Unmarshal(answer.Result, out)
}

// block is what is counted of one.
type block struct {
	number, gas, limit uint64
	transactions       int
	at                 time.Time // when it was seen
}

func (c *devchain) block(number string) (b block, err error) {
	var j *struct {
		Number, GasUsed, GasLimit string
		Transactions              []json.RawMessage
	}
	if err := c.rpc(&j, "eth_getBlockByNumber", number, false); err != nil || j == nil {
		return b, err
	}
	for _, x := range []struct {
		to *uint64
		s  string
	}{{&b.number, j.Number}, {&b.gas, j.GasUsed}, {&b.limit, j.GasLimit}} {
		if *x.to, err = strconv.ParseUint(strings.TrimPrefix(x.s, "0x"), 16, 64); err != nil {
			return b, err
		}
	}
	b.transactions, b.at = len(j.Transactions), time.Now()
	return b, nil
}

// watch sees blocks until stop, which returns them.
func (c *devchain) watch() (stop func() []block) {
	ctx, cancel := context.WithCancel(context.Background())
	var list []block
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			if b, err := c.block("latest"); err == nil && (len(list) == 0 || b.number > list[len(list)-1].number) {
				list = append(list, b)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() []block { cancel(); group.Wait(); return list }
}

// options has a cluster's nodes use the chain; ready makes the contract.
func (c *devchain) options(e *spent) (o ledgertest.Options, ready func(wire.Hash)) {
	d := &ethereum.Deployer{Endpoint: c.url, ChainID: chainID, Key: c.rich, HTTP: c.http, Poll: 50 * time.Millisecond, Fees: ethereum.Fees{Max: maxFee}}
	contract, nonce, err := d.Next(context.Background())
	c.bed.check(err)
	var ledger wire.Hash
	ready = func(id wire.Hash) {
		ledger = id
		terms := ethereum.Terms{Ledger: id, MaxRecord: 120_000, Threshold: 1, Signers: []ethereum.Address{c.rich.Address()}}
		for _, k := range c.keys[:executors+1] {
			terms.Submitters = append(terms.Submitters, k.Address())
		}
		_, err := d.Deploy(context.Background(), terms, nonce)
		c.bed.check(err)
	}
	folder := c.bed.TempDir()
	o.Vaults, o.Tick = 1, 200*time.Millisecond // as nodes on a chain have it
	o.Order = wire.Order{Driver: wire.DriverEthereum, ChainID: chainID, Contract: contract, Finality: wire.FinalityImmediate, Endpoints: 1}
	o.Log = func(_ testing.TB, slot int) order.Log {
		l, err := ethereum.Open(ethereum.Config{
			Endpoints: []string{c.url}, ChainID: chainID, Contract: contract, Ledger: ledger, Finality: ethereum.Immediate, MaxRecord: 120_000,
			Key: c.keys[slot], Store: ethereum.FolderStore(filepath.Join(folder, strconv.Itoa(slot))), HTTP: c.http, Now: time.Now,
			Poll: 100 * time.Millisecond, Fees: ethereum.Fees{Max: maxFee},
		})
		c.bed.check(err)
		c.bed.Cleanup(func() { _ = l.Close() })
		return timed{l, e}
	}
	return o, ready
}

// full are the blocks of the middle: without the first two, where the load begins, and the last, where it ends.
func full(list []block) []block {
	for len(list) > 0 && list[0].transactions == 0 {
		list = list[1:]
	}
	for len(list) > 0 && list[len(list)-1].transactions == 0 {
		list = list[:len(list)-1]
	}
	if len(list) < 5 {
		return nil
	}
	return list[2 : len(list)-1]
}

// chain measures commands a second on the development chain.
func (b *bench) chain(t *bed) {
	fmt.Printf(headThroughput, fmt.Sprintf("development chain (a process of its own; %s, block of %d gas each %s, final at once)", b.fork, b.gas, b.period))
	for _, shape := range []struct{ users, each int }{{256, 1}, {64, 64}} {
		c := b.startChain(t, b.period, executors+1)
		e := &spent{}
		o, ready := c.options(e)
		k := start(t, o, ready)
		lasting := b.lasting(14 * time.Second)
		l := k.prepare(shape.users, 2+int(lasting/b.period), shape.each)
		*e = spent{}
		before, cpu := k.Nodes[1].Replica().Stats(), used()
		answers, begin := k.run(l, lasting)
		cpu = used() - cpu
		after := k.Nodes[1].Replica().Stats()
		rate, median := middle(answers, begin, shape.each)
		fmt.Printf(lineThroughput, fmt.Sprintf("%d clients, %d a request:", shape.users, shape.each), rate, ms(median), float64(cpu.Microseconds())/float64(len(answers)*shape.each),
			float64(after.Commands-before.Commands)/float64(after.Batches-before.Batches), float64(e.bytes)/float64(e.records))
		k.Stop()
	}
}
