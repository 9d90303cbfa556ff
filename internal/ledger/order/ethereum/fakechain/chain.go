// Package fakechain is an Ethereum-type chain in memory that behaves: it takes
// signed transactions into a pool, makes blocks with real headers and state roots, runs
// the contract Order natively, proves its state, seals headers as QBFT validators do,
// and reorganises. Endpoints of it may lag, fail and lie. It runs no EVM and
// knows no balances. It is for tests only.
//
// It shares no code with the client that it tests, order.ChainHash apart: RLP,
// tries, headers, signatures and the contract are written a second time here.
package fakechain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"hitoku.dev/internal/ledger/order"
)

// Options are the chain's rules. The zero value takes blocks as they are told to be mined.
type Options struct {
	ChainID    uint64
	Contract   [20]byte
	Ledger     [32]byte
	MaxRecord  int
	Allowed    [][20]byte              // submitters; none: anybody
	AtOnce     bool                    // a block for each transaction that comes
	Old        bool                    // headers without a base fee
	BaseFee    uint64                  // wei; transactions that pay less wait
	PerBlock   int                     // transactions at most, 0: no limit
	Finality   uint64                  // how far "finalized" is behind
	Validators []*secp256k1.PrivateKey // who seal by QBFT
	Sealing    int                     // how many of them do, 0: all
	Gas        func(record int) uint64 // what a record costs; nil: nothing, and nobody can tell
}

// Chain is a chain; its methods may be called at any time.
type Chain struct {
	o Options

	mu     sync.Mutex
	blocks []*block
	pool   map[[20]byte]map[uint64]*tx
	salt   uint64 // makes blocks of one height differ
}

type block struct {
	number, time uint64
	hash         []byte
	fields       [][]byte // of the header, encoded
	extra        []byte   // with seals
	txs          []*tx
	logs         []log
	failed       map[[32]byte]bool
	after        *state
}

type log struct {
	position uint64
	data     []byte
}

// state is what holds after a block; it is not changed once it is there.
type state struct {
	head      [32]byte
	seq, time uint64
	nonces    map[[20]byte]uint64
	expected  map[string]uint64
}

func (s *state) clone() *state {
	c := *s
	c.nonces, c.expected = maps.Clone(s.nonces), maps.Clone(s.expected)
	return &c
}

// New returns a chain with its first block.
func New(o Options) *Chain {
	if o.MaxRecord == 0 {
		o.MaxRecord = 1 << 20
	}
	c := &Chain{o: o, pool: map[[20]byte]map[uint64]*tx{}}
	c.add(nil, &state{head: o.Ledger, nonces: map[[20]byte]uint64{}, expected: map[string]uint64{}})
	return c
}

// Clone returns another chain with the same blocks, as a node on another fork has it later.
func (c *Chain) Clone() *Chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	other := &Chain{o: c.o, blocks: slices.Clone(c.blocks), pool: map[[20]byte]map[uint64]*tx{}, salt: c.salt + 1_000_000}
	for a, list := range c.pool {
		other.pool[a] = maps.Clone(list)
	}
	return other
}

// Mine makes blocks.
func (c *Chain) Mine(blocks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range blocks {
		c.mine()
	}
}

// Reorganise replaces the newest blocks by others, one more than there were. Transactions of the old ones go
// back to the pool and into the new ones; with drop they are lost.
func (c *Chain) Reorganise(depth int, drop bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.blocks[len(c.blocks)-depth:]
	c.blocks = c.blocks[: len(c.blocks)-depth : len(c.blocks)-depth]
	for _, b := range old {
		for _, t := range b.txs {
			if !drop {
				c.put(t)
			}
		}
	}
	if drop {
		clear(c.pool)
	}
	c.salt++
	for range depth + 1 {
		c.mine()
	}
}

// Forget empties the pool, as a node that is restarted does.
func (c *Chain) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.pool)
}

// SetBaseFee changes what transactions must pay in wei per gas.
func (c *Chain) SetBaseFee(fee uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.o.BaseFee = fee
}

// Pool returns how many transactions wait.
func (c *Chain) Pool() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, list := range c.pool {
		n += len(list)
	}
	return n
}

// Positions returns how many records the contract holds.
func (c *Chain) Positions() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last().after.seq
}

// Transactions returns how many transactions are in blocks.
func (c *Chain) Transactions() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, b := range c.blocks {
		n += len(b.txs)
	}
	return n
}

func (c *Chain) last() *block { return c.blocks[len(c.blocks)-1] }

func (c *Chain) put(t *tx) {
	if c.pool[t.from] == nil {
		c.pool[t.from] = map[uint64]*tx{}
	}
	c.pool[t.from][t.nonce] = t
}

// send takes a transaction into the pool.
func (c *Chain) send(raw []byte) (*tx, error) {
	t, err := parseTx(raw, c.o.ChainID)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if next := c.last().after.nonces[t.from]; t.nonce < next {
		for _, b := range c.blocks {
			for _, mined := range b.txs {
				if mined.hash == t.hash {
					return nil, fmt.Errorf("already known")
				}
			}
		}
		return nil, fmt.Errorf("nonce too low: next nonce %d, tx nonce %d", next, t.nonce)
	}
	if other := c.pool[t.from][t.nonce]; other != nil {
		switch {
		case other.hash == t.hash:
			return nil, fmt.Errorf("already known")
		case !tenth(t.max, other.max) || !tenth(t.tip, other.tip):
			return nil, fmt.Errorf("replacement transaction underpriced")
		}
	}
	c.put(t)
	if c.o.AtOnce {
		c.mine()
	}
	return t, nil
}

// mine makes one block of what is in the pool and pays enough.
func (c *Chain) mine() {
	s := c.last().after.clone()
	var txs []*tx
	accounts := slices.SortedFunc(maps.Keys(c.pool), func(a, b [20]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, a := range accounts {
		list := c.pool[a]
		for c.o.PerBlock == 0 || len(txs) < c.o.PerBlock {
			t := list[s.nonces[a]]
			if t == nil || t.max < c.o.BaseFee {
				break
			}
			delete(list, t.nonce)
			s.nonces[a]++
			txs = append(txs, t)
		}
		maps.DeleteFunc(list, func(n uint64, _ *tx) bool { return n < s.nonces[a] })
	}
	c.add(txs, s)
}

// submit is the contract: it returns the log, or false where it reverts.
func (c *Chain) submit(s *state, t *tx, time uint64) (log, bool) {
	record, sender, n, ok := t.submission()
	key := string(t.from[:]) + string(sender[:])
	if !ok || t.to != c.o.Contract || len(record) > c.o.MaxRecord || n < s.expected[key] ||
		(c.o.Gas != nil && t.gas < c.o.Gas(len(record))) ||
		(len(c.o.Allowed) > 0 && !slices.Contains(c.o.Allowed, t.from)) {
		return log{}, false
	}
	s.expected[key] = n + 1
	s.seq++
	s.time = time
	s.head = order.ChainHash(s.head, s.seq, time, sha256.Sum256(record))
	data := bytes.Join([][]byte{word(time), sender[:], word(n), word(128), word(uint64(len(record))), record, make([]byte, (32-len(record)%32)%32)}, nil)
	return log{s.seq, data}, true
}

func word(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24), n) }

// add runs transactions on a state and appends the block.
func (c *Chain) add(txs []*tx, s *state) {
	b := &block{after: s, txs: txs, failed: map[[32]byte]bool{}}
	parent := make([]byte, 32)
	b.time = 1_800_000_000
	if len(c.blocks) > 0 {
		p := c.last()
		parent, b.number, b.time = p.hash, p.number+1, p.time+1+c.salt%3
	}
	for _, t := range txs {
		if t.to != c.o.Contract {
			continue
		}
		if l, ok := c.submit(s, t, b.time); ok {
			b.logs = append(b.logs, l)
		} else {
			b.failed[t.hash] = true
		}
	}
	root, _, _ := c.prove(s, nil)
	empty := keccak([]byte{0x80})
	b.fields = [][]byte{
		rlpBytes(parent), rlpBytes(keccak(rlpList())), rlpBytes(make([]byte, 20)), rlpBytes(root), rlpBytes(empty), rlpBytes(empty),
		rlpBytes(make([]byte, 256)), rlpUint(0), rlpUint(b.number), rlpUint(30_000_000), rlpUint(uint64(21000 * len(txs))),
		rlpUint(b.time), nil, rlpBytes(keccak(number(c.salt))), rlpBytes(make([]byte, 8)),
	}
	if !c.o.Old {
		b.fields = append(b.fields, rlpUint(c.o.BaseFee))
	}
	c.seal(b)
	c.blocks = append(c.blocks, b)
}

// seal sets extra data and hash, with the validators' seals where there are some.
func (c *Chain) seal(b *block) {
	hashWith := func(extra []byte) []byte {
		f := slices.Clone(b.fields)
		f[12] = rlpBytes(extra)
		return keccak(rlpList(f...))
	}
	if len(c.o.Validators) == 0 {
		b.extra = fmt.Appendf(nil, "fake %d", c.salt)
		b.hash = hashWith(b.extra)
		return
	}
	var validators [][]byte
	for _, k := range c.o.Validators {
		validators = append(validators, rlpBytes(keccak(k.PubKey().SerializeUncompressed()[1:])[12:]))
	}
	vanity := make([]byte, 32)
	binary.BigEndian.PutUint64(vanity, c.salt)
	extra := func(round uint64, seals ...[]byte) []byte {
		return rlpList(rlpBytes(vanity), rlpList(validators...), rlpList(), rlpUint(round), rlpList(seals...))
	}
	round := b.number % 3
	digest := hashWith(extra(round))
	sealing := c.o.Sealing
	if sealing == 0 {
		sealing = len(c.o.Validators)
	}
	var seals [][]byte
	for _, k := range c.o.Validators[:sealing] {
		sig := ecdsa.SignCompact(k, digest, false)
		seals = append(seals, rlpBytes(append(slices.Clone(sig[1:]), sig[0]-27)))
	}
	b.hash = hashWith(extra(0))
	b.extra = extra(round, seals...)
}

// prove returns the state's root and the proofs of the contract's account and of its slots.
func (c *Chain) prove(s *state, slots [][]byte) (root []byte, account [][]byte, storage [][][]byte) {
	var entries []leaf
	set := func(slot, value []byte) {
		if v := bytes.TrimLeft(value, "\x00"); len(v) > 0 {
			entries = append(entries, newLeaf(slot, rlpBytes(v)))
		}
	}
	counters := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 16), s.time), s.seq)
	set(word(0), s.head[:])
	set(word(1), counters)
	for i := range uint64(12) { // others, so that the trie has branches
		set(word(100+i), word(i+s.seq%3))
	}
	storageRoot, _ := trie(entries, nil)
	for _, slot := range slots {
		_, p := trie(entries, slot)
		storage = append(storage, p)
	}
	accounts := []leaf{newLeaf(c.o.Contract[:], rlpList(rlpUint(1), rlpUint(0), rlpBytes(storageRoot), rlpBytes(keccak([]byte("code")))))}
	for i := range byte(20) {
		accounts = append(accounts, newLeaf([]byte{i}, rlpList(rlpUint(uint64(i)), rlpUint(7), rlpBytes(keccak([]byte{0x80})), rlpBytes(keccak()))))
	}
	root, account = trie(accounts, c.o.Contract[:])
	return root, account, storage
}
