package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"golang.org/x/crypto/sha3"
	"hitoku.dev/contracts"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
)

// byGas sets confidential transfers beside plain ones, on a chain whose gas is what limits both.
func (b *bench) byGas(t *bed) {
	fmt.Printf("\nconfidential transfers beside plain ERC-20 transfer transactions: the same development chain (%s, block of %d gas each %s), first one, then the other, each saturating it\n", b.fork, b.gas, b.slow)
	c := b.startChain(t, b.slow, executors+1+8)
	o, ready := c.options(&spent{})
	k := start(t, o, ready)

	plain := c.plain(b)
	pr, pg := rates(t, plain, func(x block) int { return x.transactions })
	fmt.Printf("  plain:        %7.1f a second, %6.0f gas each, blocks %.0f %% full\n", pr, pg, fullness(plain))

	lasting := b.lasting(8 * b.slow)
	l := k.prepare(256, 2+int(lasting/b.slow), 64) // at once more than two blocks hold; nobody has two in one block
	watch := c.watch()
	first := k.Nodes[1].Replica().Stats()
	answers, begin := k.run(l, lasting)
	blocks := full(watch())
	stats := k.Nodes[1].Replica().Stats()
	perRecord := float64(stats.Commands-first.Commands) / float64(stats.Batches-first.Batches)
	rate, median := middle(answers, begin, 64)
	if len(blocks) == 0 {
		t.Fatal("too few full blocks; raise -scale")
	}
	cr, cg := rates(t, blocks, func(x block) int { return x.transactions })
	cr, cg = cr*perRecord, cg/perRecord
	fmt.Printf("  confidential: %7.1f a second (answered: %.1f, median latency %.0f ms), %6.0f gas each, blocks %.0f %% full, %.0f commands a record\n", cr, rate, ms(median), cg, fullness(blocks), perRecord)
	fmt.Printf("  ratio: %.2f × by time, %.2f × by gas (goal 5); a signed transfer has %d bytes\n", cr/pr, pg/cg, len(newAccount(t).transfer(k.Ledger, wire.Hash{})))
	k.Stop()
}

// rates are what a number of blocks held, a second and by gas.
func rates(t *bed, list []block, count func(block) int) (second, gas float64) {
	if len(list) < 2 {
		t.Fatal("too few full blocks; raise -scale")
	}
	n, g := 0, uint64(0)
	for _, b := range list[1:] {
		n, g = n+count(b), g+b.gas
	}
	return float64(n) / list[len(list)-1].at.Sub(list[0].at).Seconds(), float64(g) / float64(n)
}

func fullness(list []block) float64 {
	var used, limit uint64
	for _, b := range list[1:] {
		used, limit = used+b.gas, limit+b.limit
	}
	return 100 * float64(used) / float64(limit)
}

// plain deploys the token, and fills blocks with transfers between accounts that own some.
func (c *devchain) plain(b *bench) []block {
	ctx := context.Background()
	owner := c.keys[executors+1]
	d := &ethereum.Deployer{Endpoint: c.url, ChainID: chainID, Key: owner, HTTP: c.http, Poll: 50 * time.Millisecond, Fees: ethereum.Fees{Max: maxFee}}
	_, nonce, err := d.Next(ctx)
	c.bed.check(err)
	supply := word(nil)
	supply[24] = 1
	made, err := d.Send(ctx, nonce, nil, append(contracts.Token(), supply...))
	c.bed.check(err)
	people := c.keys[executors+2:]
	for i, p := range people { // everybody owns some: later transfers change cells that exist
		c.sendRaw(sign(owner, nonce+1+uint64(i), made.Contract, transferCall(p.Address(), 1<<30)))
	}
	for {
		n, err := c.mined(owner.Address())
		c.bed.check(err)
		if n >= nonce+1+uint64(len(people)) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	blocks := b.count(4)
	total := int(b.gas/33_838) * (blocks + 3) / len(people)
	watch := c.watch()
	for i := range total {
		for j, p := range people {
			c.sendRaw(sign(p, uint64(i), made.Contract, transferCall(people[(j+1)%len(people)].Address(), 1)))
		}
	}
	for {
		n, err := c.mined(people[len(people)-1].Address())
		c.bed.check(err)
		if n >= uint64(total) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	list := full(watch())
	if len(list) < 2 {
		c.bed.Fatal("plain transfers filled too few blocks; raise -scale")
	}
	return list
}

// mined is how many transactions of an account are in blocks.
func (c *devchain) mined(of ethereum.Address) (uint64, error) {
	var s string
	if err := c.rpc(&s, "eth_getTransactionCount", of.String(), "latest"); err != nil {
		return 0, err
	}
	return strconv.ParseUint(s[2:], 16, 64)
}

func (c *devchain) sendRaw(raw []byte) {
	var hash string
	c.bed.check(c.rpc(&hash, "eth_sendRawTransaction", "0x"+hex.EncodeToString(raw)))
}

func word(b []byte) []byte { return append(make([]byte, 32-len(b)), b...) }

func transferCall(to ethereum.Address, amount uint64) []byte {
	b := append(keccak([]byte("transfer(address,uint256)"))[:4], word(to[:])...)
	return append(b, word(number(amount))...)
}

// number is big-endian without leading zeros.
func number(n uint64) []byte {
	b := wire.U64(n)
	return b[bits.LeadingZeros64(n)/8:]
}

func keccak(b []byte) []byte {
	k := sha3.NewLegacyKeccak256()
	_, _ = k.Write(b) // never fails
	return k.Sum(nil)
}

// rlp encodes byte strings, and lists of what is encoded.
func rlp(b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return b
	}
	return append(rlpHead(0x80, len(b)), b...)
}

func rlpList(items ...[]byte) []byte {
	b := bytes.Join(items, nil)
	return append(rlpHead(0xc0, len(b)), b...)
}

func rlpHead(kind byte, n int) []byte {
	if n < 56 {
		return []byte{kind + byte(n)}
	}
	length := number(uint64(n))
	return append([]byte{kind + 55 + byte(len(length))}, length...)
}

// sign makes a transaction with a dynamic fee (EIP-1559) that calls a contract.
func sign(k *ethereum.Key, nonce uint64, to ethereum.Address, data []byte) []byte {
	fields := [][]byte{
		rlp(number(chainID)), rlp(number(nonce)), rlp(number(gwei)), rlp(number(maxFee)), rlp(number(60_000)), rlp(to[:]), rlp(nil), rlp(data), rlpList(),
	}
	sig := k.Sign(ethereum.Hash(keccak(append([]byte{2}, rlpList(fields...)...))))
	fields = append(fields, rlp(number(uint64(sig[64]))), rlp(bytes.TrimLeft(sig[:32], "\x00")), rlp(bytes.TrimLeft(sig[32:64], "\x00")))
	return append([]byte{2}, rlpList(fields...)...)
}
