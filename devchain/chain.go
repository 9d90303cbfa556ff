package main

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/rawdb"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/rpc"
)

// chain is the running node and who makes its blocks.
type chain struct {
	stack  *node.Node
	eth    *eth.Ethereum
	beacon *catalyst.SimulatedBeacon
	period time.Duration

	mu sync.Mutex // blocks are made, and taken back, one at a time
}

func start(o options) (*chain, error) {
	if err := o.remember(); err != nil {
		return nil, err
	}
	genesis, err := o.genesis()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(o.listen)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	n := node.DefaultConfig
	n.Name, n.DataDir = "hitoku-devchain", filepath.Join(o.data, "node")
	n.IPCPath, n.P2P = "", p2p.Config{NoDiscovery: true, MaxPeers: 0, ListenAddr: ""}
	n.HTTPHost, n.HTTPPort, n.HTTPModules = host, number, []string{"eth", "net", "web3"}
	// LevelDB hands each write to the system at once; Pebble keeps up to 32 KiB back, which kill -9 would lose.
	n.DBEngine = rawdb.DBLeveldb
	n.AuthAddr, n.AuthPort = "127.0.0.1", 0
	if o.admin {
		n.HTTPModules = append(n.HTTPModules, "dev")
	}
	stack, err := node.New(&n)
	if err != nil {
		return nil, err
	}
	c := &chain{stack: stack, period: o.period}
	if err := c.assemble(o, genesis); err != nil {
		return nil, errors.Join(err, stack.Close())
	}
	return c, nil
}

func (c *chain) assemble(o options, genesis *core.Genesis) error {
	e := ethconfig.Defaults
	e.Genesis, e.NetworkId, e.SyncMode = genesis, o.ChainID, ethconfig.FullSync
	// Every block's state goes to the disk at once, and all of them stay: nothing is lost by kill -9.
	e.NoPruning, e.StateScheme = true, rawdb.HashScheme
	e.LogNoHistory = true
	e.Miner.GasCeil, e.Miner.GasPrice = o.GasLimit, big.NewInt(1)
	e.TxPool.NoLocals, e.TxPool.Journal = true, ""
	e.TxPool.AccountSlots, e.TxPool.GlobalSlots = 4096, 16384
	e.TxPool.AccountQueue, e.TxPool.GlobalQueue = 4096, 16384
	var err error
	if c.eth, err = eth.New(c.stack, &e); err != nil {
		return err
	}
	apis := []rpc.API{{Namespace: "eth", Service: filters.NewFilterAPI(filters.NewFilterSystem(c.eth.APIBackend, filters.Config{}))}}
	// Of two methods with one name the later registered serves.
	apis = append(apis, rpc.API{Namespace: "eth", Service: &sender{c}})
	if o.admin {
		apis = append(apis, rpc.API{Namespace: "dev", Service: &admin{c}})
	}
	c.stack.RegisterAPIs(apis)
	if err := c.stack.Start(); err != nil {
		return err
	}
	c.beacon, err = catalyst.NewSimulatedBeacon(0, common.Address{}, c.eth)
	return err
}

func (c *chain) endpoint() string { return c.stack.HTTPEndpoint() }

// produce makes blocks until the context ends: in each period, or when transactions come.
func (c *chain) produce(ctx context.Context) error {
	if c.period > 0 {
		tick := time.NewTicker(c.period)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				c.mine(1)
			}
		}
	}
	txs := make(chan core.NewTxsEvent, 64)
	sub := c.eth.TxPool().SubscribeTransactions(txs, true)
	defer sub.Unsubscribe()
	looks := 0
	for {
		// A block makes the pool look again at those that wait for an earlier one.
		pending, waiting := c.eth.TxPool().Stats()
		if looks++; pending > 0 || waiting > 0 && looks%5 == 0 {
			c.mine(1)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-sub.Err():
			return err
		case <-txs:
		// What did not fit into a block, or came back by a reorganisation, gives no event.
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *chain) mine(blocks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range blocks {
		c.beacon.Commit()
	}
}

func (c *chain) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.beacon.Stop(), c.stack.Close())
}

// sender takes transactions while no block is made. With blocks made at once for each transaction, ones
// that come while the pool takes a block up have been seen to be known to it and never mined.
type sender struct{ c *chain }

// SendRawTransaction is eth_sendRawTransaction.
func (s *sender) SendRawTransaction(ctx context.Context, raw hexutil.Bytes) (common.Hash, error) {
	tx := new(types.Transaction)
	if err := tx.UnmarshalBinary(raw); err != nil {
		return common.Hash{}, err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.c.eth.TxPool().Sync(); err != nil {
		return common.Hash{}, err
	}
	return tx.Hash(), s.c.eth.APIBackend.SendTx(ctx, tx)
}

// admin is the JSON-RPC name space "dev".
type admin struct{ c *chain }

// Mine makes blocks and returns the head's number.
func (a *admin) Mine(blocks uint64) (uint64, error) {
	if blocks > 1000 {
		return 0, fmt.Errorf("%d blocks, at most 1000 at once", blocks)
	}
	a.c.mine(int(blocks))
	return a.c.eth.BlockChain().CurrentBlock().Number.Uint64(), nil
}

// Reorganise takes the last depth blocks back and puts depth+1 others in their place. Their transactions
// come back by the pool, into the new blocks; with drop they are lost. It returns the head's number.
func (a *admin) Reorganise(depth uint64, drop bool) (uint64, error) {
	c := a.c
	c.mu.Lock()
	defer c.mu.Unlock()
	bc := c.eth.BlockChain()
	head := bc.CurrentBlock().Number.Uint64()
	if depth == 0 || depth > head || depth > 60 {
		return 0, fmt.Errorf("%d blocks back from block %d: 1 to 60, and not beyond the genesis block", depth, head)
	}
	parent := bc.GetBlockByNumber(head - depth)
	if parent == nil {
		return 0, fmt.Errorf("block %d is not there", head-depth)
	}
	if _, err := bc.SetCanonical(parent); err != nil {
		return 0, err
	}
	if err := c.eth.TxPool().Sync(); err != nil {
		return 0, err
	}
	if drop {
		c.eth.TxPool().Clear()
	}
	for range depth + 1 {
		c.beacon.Commit()
	}
	return bc.CurrentBlock().Number.Uint64(), nil
}
