//go:build e2e

package ethereum

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"testing"

	"hitoku.dev/contracts"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ordertest"
)

// TestRealGas measures what records cost beside plain ERC-20 transfers, before and after EIP-7623. The figures of
// docs/ledger-chain.md come from its output; it fails where a record costs more than they say.
func TestRealGas(t *testing.T) {
	t.Parallel()
	for _, fork := range []string{"cancun", "osaka"} {
		t.Run(fork, func(t *testing.T) {
			t.Parallel()
			r := startDevchain(t, t.TempDir(), "127.0.0.1:0", "--fork", fork)
			k := r.account(t)
			terms := r.terms(k)
			terms.MaxRecord = 100_000
			made := r.contract(t, k, terms)
			t.Logf("deploying the contract: %d gas", made.GasUsed)
			send := func(to *Address, data []byte) Receipt {
				_, nonce, err := r.deployer(k).Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				receipt, err := r.deployer(k).Send(t.Context(), nonce, to, data)
				if err != nil {
					t.Fatal(err)
				}
				return receipt
			}
			token := send(nil, append(contracts.Token(), uintWord(1_000_000)...)).Contract
			transfer := func() uint64 {
				return send(&token, append(append(selector("transfer(address,uint256)"), addressWord(Address{9})...), uintWord(5)...)).GasUsed
			}
			transfer()
			plain := transfer()
			t.Logf("a plain ERC-20 transfer between accounts that have some: %d gas", plain)
			record := make([]byte, 65536)
			if _, err := io.ReadFull(rand.Reader, record); err != nil {
				t.Fatal(err)
			}
			n := uint64(0)
			submit := func(size int) uint64 {
				data := submitCall(record[:size], [32]byte{1}, n)
				gas := send(&made.Contract, data).GasUsed
				if gas > submitGas(size) {
					t.Errorf("%d bytes: %d gas, the driver offers %d", size, gas, submitGas(size))
				}
				n++
				return gas
			}
			t.Logf("a sender's first record of 1 byte: %d gas", submit(1))
			var line []string
			for _, size := range []int{1, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536} {
				gas := submit(size)
				line = append(line, fmt.Sprintf("%d bytes %d gas (%.1f a byte; %.1f transfers of 182 bytes for one plain)", size, gas, float64(gas)/float64(size),
					float64(plain)*float64(size)/182/float64(gas)))
			}
			t.Log(strings.Join(line, "\n"))
		})
	}
}

// TestRealGasLimit has the driver name gas for records long and short, of new senders and known ones: all are taken, and
// what is named is not far above what is used, so that blocks are filled. geth's development chain charges more for new
// storage than forks that are scheduled.
func TestRealGasLimit(t *testing.T) {
	t.Parallel()
	run := func(name string, start func(*testing.T) *real) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			k := r.account(t)
			terms := r.terms(k)
			terms.MaxRecord = 100_000
			contract := r.contract(t, k, terms).Contract
			l := r.open(t, k, contract, t.TempDir(), func(c *Config) { c.MaxRecord = terms.MaxRecord })
			for i, x := range []struct {
				sender byte
				n      uint64
				size   int
			}{{1, 0, 1}, {1, 1, 100_000}, {2, 0, 1}, {1, 2, 65_700}, {3, 0, 65_700}, {1, 3, 1}, {1, 4, 2048}, {1, 5, 10_000}, {4, 0, 300}} {
				record := make([]byte, x.size)
				_, _ = rand.Read(record) // never fails
				if err := l.Submit(t.Context(), order.Submission{Record: record, Sender: ordertest.Sender(x.sender), N: x.n}); err != nil {
					t.Fatal(err)
				}
				if err := l.sender.acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
				if l.sender.gas.full == 0 {
					t.Errorf("the chain does not say what records cost")
				}
				limit := l.sender.list[len(l.sender.list)-1].tx
				l.sender.release()
				if list := ordertest.Collect(t, l, uint64(i), 1); !bytes.Equal(list[0].Record, record) {
					t.Fatalf("record %d of %d bytes is not at its position", i, x.size)
				}
				_, hash := limit.sign(k)
				var receipt struct{ GasUsed string }
				if err := r.endpoint().call(t.Context(), &receipt, "eth_getTransactionReceipt", hash.String()); err != nil {
					t.Fatal(err)
				}
				used, err := parseQuantity(receipt.GasUsed)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d bytes: %d gas used, %d named (%.1f %% more), %d where nobody can tell", x.size, used, limit.gas, 100*float64(limit.gas)/float64(used)-100, submitGas(x.size))
				if x.size >= 65_700 && limit.gas > used+used/12 {
					t.Errorf("%d bytes: %d gas is named for %d used", x.size, limit.gas, used)
				}
			}
		})
	}
	for _, fork := range []string{"london", "cancun", "osaka"} {
		run(fork, func(t *testing.T) *real { return startDevchain(t, t.TempDir(), "127.0.0.1:0", "--fork", fork) })
	}
	run("geth", startGeth)
}
