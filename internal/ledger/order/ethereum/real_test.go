//go:build e2e

package ethereum

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hitoku.dev/internal/freeport"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ordertest"
)

// The tests of this file run on nodes of other people's making: go-ethereum within hitoku-devchain, and geth itself.
// HITOKU_BIN is the folder of hitoku-devchain, HITOKU_GETH is geth; test/e2e/run.sh sets both.

// real is a running node.
type real struct {
	url    string
	rich   *Key // of an account that owns ether; nil where the node signs for it
	poll   time.Duration
	config func(*Config)
	kill   func()

	mu sync.Mutex // the rich account's nonces
}

func (r *real) endpoint() *endpoint {
	return &endpoint{url: r.url, client: http.DefaultClient, timeout: 30 * time.Second}
}

// launch starts a program and waits until a line of its output matches.
func launch(t *testing.T, ready string, program string, args ...string) (match string, kill func()) {
	t.Helper()
	cmd := exec.Command(program, args...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	var last bytes.Buffer
	var mu sync.Mutex
	t.Cleanup(func() {
		if mu.Lock(); t.Failed() {
			t.Logf("%s wrote:\n%s", program, last.Bytes()[max(0, last.Len()-8<<10):])
		}
		mu.Unlock()
	})
	go func() {
		re := regexp.MustCompile(ready)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 16<<20) // a line that does not fit would leave the program waiting for its reader
		for lines.Scan() {
			if m := re.FindStringSubmatch(lines.Text()); m != nil && len(found) == 0 {
				found <- m[1]
			}
			mu.Lock()
			last.Write(append(lines.Bytes(), '\n'))
			mu.Unlock()
		}
	}()
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = w.Close()
		})
	}
	t.Cleanup(kill)
	select {
	case match = <-found:
	case <-time.After(time.Minute):
		kill()
		t.Fatalf("%s is not ready after a minute: %s", program, last.String())
	}
	return match, kill
}

func startDevchain(t *testing.T, folder, listen string, args ...string) *real {
	t.Helper()
	rich, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{0x77}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--data", folder, "--listen", listen, "--fund", rich.Address().String() + "=1000000"}, args...)
	bin := os.Getenv("HITOKU_BIN")
	if bin == "" {
		t.Fatal("HITOKU_BIN is not set; run test/e2e/run.sh")
	}
	url, kill := launch(t, `JSON-RPC on (http://\S+)`, bin+"/hitoku-devchain", args...)
	return &real{url: url, rich: rich, poll: 20 * time.Millisecond, kill: kill, config: func(*Config) {}}
}

func startGeth(t *testing.T) *real {
	t.Helper()
	geth := os.Getenv("HITOKU_GETH")
	if geth == "" {
		t.Fatal("HITOKU_GETH is not set; run test/e2e/run.sh")
	}
	address, kill := launch(t, `HTTP server started\s+endpoint=(\S+)`, geth, "--dev", "--dev.period", "1", "--datadir", t.TempDir(),
		"--http", "--http.addr", "127.0.0.1", "--http.port", "0", "--authrpc.port", "0", "--port", "0", "--nodiscover", "--ipcdisable")
	return &real{url: "http://" + address, poll: 100 * time.Millisecond, kill: kill,
		config: func(c *Config) { c.Finality, c.Confirmations = Confirmations, 1 }}
}

func (r *real) deployer(k *Key) *Deployer {
	return &Deployer{Endpoint: r.url, ChainID: 1337, Key: k, HTTP: http.DefaultClient, Poll: r.poll}
}

// account is a fresh key with ether.
func (r *real) account(t *testing.T) *Key {
	t.Helper()
	k, err := NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const ether = 1_000_000_000_000_000_000
	e := r.endpoint()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rich == nil {
		var accounts []string
		if err := e.call(t.Context(), &accounts, "eth_accounts"); err != nil || len(accounts) == 0 {
			t.Fatal(accounts, err)
		}
		var hash string
		tx := map[string]string{"from": accounts[0], "to": k.Address().String(), "value": "0x56bc75e2d63100000"}
		if err := e.call(t.Context(), &hash, "eth_sendTransaction", tx); err != nil {
			t.Fatal(err)
		}
	} else {
		_, nonce, err := r.deployer(r.rich).Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		to := k.Address()
		raw, hash := valueTransaction(r.rich, 1337, nonce, to, ether)
		if err := e.send(t.Context(), raw, hash); err != nil {
			t.Fatal(err)
		}
	}
	for {
		var balance string
		if err := e.call(t.Context(), &balance, "eth_getBalance", k.Address().String(), "latest"); err != nil {
			t.Fatal(err)
		}
		if balance != "0x0" {
			return k
		}
		time.Sleep(r.poll)
	}
}

// valueTransaction is a legacy transfer of ether, which the driver itself never makes.
func valueTransaction(k *Key, chainID, nonce uint64, to Address, wei uint64) ([]byte, Hash) {
	var b []byte
	for _, n := range []uint64{nonce, 20 * gwei, 21000} {
		b = appendRLPUint(b, n)
	}
	b = appendRLPBytes(b, to[:])
	b = appendRLPUint(b, wei)
	b = appendRLPBytes(b, nil)
	unsigned := appendRLPUint(appendRLPUint(appendRLPUint(append([]byte(nil), b...), chainID), 0), 0)
	sig := k.Sign(keccak(appendRLPList(nil, unsigned)))
	b = appendRLPUint(b, chainID*2+35+uint64(sig[64]))
	raw := appendRLPList(nil, appendSignature(b, sig))
	return raw, keccak(raw)
}

var realLedger = [32]byte{0x1e, 0xd6}

// contract deploys an Order for submitters where Next says.
func (r *real) contract(t *testing.T, k *Key, terms Terms) Receipt {
	t.Helper()
	d := r.deployer(k)
	want, nonce, err := d.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := d.Deploy(t.Context(), terms, nonce)
	if err != nil || receipt.Contract != want {
		t.Fatalf("%+v, %v; contract at %s wanted", receipt, err, want)
	}
	return receipt
}

func (r *real) terms(k *Key) Terms {
	return Terms{Ledger: realLedger, MaxRecord: 20000, Threshold: 1, Signers: []Address{k.Address()}, Submitters: []Address{k.Address()}}
}

func (r *real) open(t *testing.T, k *Key, contract Address, folder string, change func(*Config)) *Log {
	t.Helper()
	c := Config{Endpoints: []string{r.url}, ChainID: 1337, Contract: contract, Ledger: realLedger, Finality: Immediate, MaxRecord: 20000,
		Key: k, Store: FolderStore(folder), HTTP: http.DefaultClient, Now: time.Now, Poll: r.poll, Report: func(s string) { t.Log(s) }}
	r.config(&c)
	if change != nil {
		change(&c)
	}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (r *real) conformance(t *testing.T) {
	ordertest.Run(t, func(t *testing.T) ordertest.Place {
		k := r.account(t)
		contract := r.contract(t, k, r.terms(k)).Contract
		folder := t.TempDir()
		opened := 0
		return ordertest.Place{Shared: true, Open: func(t *testing.T) order.Log {
			if opened++; opened > 1 && strings.HasSuffix(t.Name(), "Readers") {
				return r.open(t, nil, contract, "", nil)
			}
			return r.open(t, k, contract, folder, nil)
		}}
	})
}

func TestRealConformance(t *testing.T) {
	t.Parallel()
	for _, fork := range []string{"london", "cancun", "osaka"} {
		t.Run(fork, func(t *testing.T) {
			t.Parallel()
			startDevchain(t, t.TempDir(), "127.0.0.1:0", "--fork", fork).conformance(t)
		})
	}
	t.Run("geth", func(t *testing.T) {
		t.Parallel()
		startGeth(t).conformance(t)
	})
}

func (r *real) reorganise(t *testing.T, depth int, drop bool) {
	t.Helper()
	var head uint64
	if err := r.endpoint().call(t.Context(), &head, "dev_reorganise", depth, drop); err != nil {
		t.Fatal(err)
	}
}

func (r *real) mine(t *testing.T, blocks int) {
	t.Helper()
	var head uint64
	if err := r.endpoint().call(t.Context(), &head, "dev_mine", blocks); err != nil {
		t.Fatal(err)
	}
}

// TestRealReorganisation takes six blocks back: above the final block nobody sees it, below it the log halts.
func TestRealReorganisation(t *testing.T) {
	t.Parallel()
	r := startDevchain(t, t.TempDir(), "127.0.0.1:0", "--admin")
	for _, drop := range []bool{false, true} {
		k := r.account(t)
		contract := r.contract(t, k, r.terms(k)).Contract
		r.mine(t, 7)
		l := r.open(t, k, contract, t.TempDir(), func(c *Config) { c.Finality, c.Confirmations = Confirmations, 6 })
		for n := range uint64(5) {
			if err := l.Submit(t.Context(), ordertest.Submission(1, n)); err != nil {
				t.Fatal(err)
			}
			r.mine(t, 1)
		}
		for mined := 0; mined < 5; time.Sleep(r.poll) {
			mined = 0
			if err := l.sender.acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, p := range l.sender.list {
				if p.mined {
					mined++
				}
			}
			l.sender.release()
			mined += int(l.Status().Position)
		}
		final := l.Status().Position
		r.reorganise(t, 6, drop)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					var head uint64
					_ = r.endpoint().call(context.Background(), &head, "dev_mine", 1)
				}
			}
		})
		list := ordertest.Collect(t, l, 0, 5)
		close(stop)
		wg.Wait()
		for i, e := range list {
			if !bytes.Equal(e.Record, ordertest.Submission(1, uint64(i)).Record) {
				t.Fatalf("drop %v: position %d holds %q", drop, i+1, e.Record)
			}
		}
		t.Logf("drop %v: %d of 5 were final before six blocks went", drop, final)
		r.mine(t, 20)
		for l.Status().Block == 0 || l.Status().Pending > 0 {
			time.Sleep(r.poll)
		}
		r.reorganise(t, 15, false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := l.Wait(ctx, 1<<60); !errors.Is(err, order.ErrReorganised) {
			t.Fatalf("final blocks were taken back: %v, ErrReorganised wanted", err)
		}
		cancel()
	}
}

// TestRealKill kills the chain's process, loses its pool, and goes on where it was.
func TestRealKill(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	listen, err := freeport.Find("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	r := startDevchain(t, folder, listen)
	k := r.account(t)
	contract := r.contract(t, k, r.terms(k)).Contract
	l := r.open(t, k, contract, t.TempDir(), nil)
	for n := range uint64(3) {
		if err := l.Submit(t.Context(), ordertest.Submission(1, n)); err != nil {
			t.Fatal(err)
		}
	}
	ordertest.Collect(t, l, 0, 3)
	r.kill()
	if err := l.Submit(t.Context(), ordertest.Submission(1, 3)); err != nil {
		t.Logf("while the chain is down: %v", err)
		return
	}
	startDevchain(t, folder, listen)
	ordertest.Collect(t, l, 0, 4)
}

// TestRealAllowList changes who may submit by two of three keys, and tries everything that must fail.
func TestRealAllowList(t *testing.T) {
	t.Parallel()
	r := startDevchain(t, t.TempDir(), "127.0.0.1:0")
	owner, stranger := r.account(t), r.account(t)
	var signers []*Key
	for range 3 {
		k, err := NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, k)
	}
	slices.SortFunc(signers, func(a, b *Key) int { x, y := a.Address(), b.Address(); return bytes.Compare(x[:], y[:]) })
	terms := r.terms(owner)
	terms.Threshold, terms.Signers = 2, []Address{signers[0].Address(), signers[1].Address(), signers[2].Address()}

	d := r.deployer(owner)
	f, err := d.DeployFactory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	salt := [32]byte{5}
	want, err := d.AddressOf(t.Context(), f.Contract, salt)
	if err != nil {
		t.Fatal(err)
	}
	made, err := d.Make(t.Context(), f.Contract, salt, terms)
	if err != nil || made.Contract != want {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := d.Make(t.Context(), f.Contract, salt, terms); err == nil {
		t.Fatal("a salt served twice")
	}
	contract := made.Contract
	for name, bad := range map[string]func(*Terms){
		"no threshold":      func(x *Terms) { x.Threshold = 0 },
		"threshold":         func(x *Terms) { x.Threshold = 4 },
		"signers descend":   func(x *Terms) { x.Signers = []Address{x.Signers[1], x.Signers[0]} },
		"signer twice":      func(x *Terms) { x.Signers = []Address{x.Signers[0], x.Signers[0]} },
		"zero signer":       func(x *Terms) { x.Signers = []Address{{}, x.Signers[0]} },
		"records of none":   func(x *Terms) { x.MaxRecord = 0 },
		"records too large": func(x *Terms) { x.MaxRecord = 1<<24 + 1 },
	} {
		x := terms
		bad(&x)
		_, nonce, err := d.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Deploy(t.Context(), x, nonce); err == nil {
			t.Errorf("%s: the contract was made", name)
		}
	}
	send := func(k *Key, data []byte) error {
		_, nonce, err := r.deployer(k).Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.deployer(k).Send(t.Context(), nonce, &contract, data)
		return err
	}
	sender := [32]byte{1}
	if err := send(owner, submitCall([]byte("r"), sender, 0)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]error{
		"stranger": send(stranger, submitCall([]byte("r"), sender, 0)),
		"repeated": send(owner, submitCall([]byte("r"), sender, 0)),
		"empty":    send(owner, submitCall(nil, sender, 1)),
		"large":    send(owner, submitCall(make([]byte, terms.MaxRecord+1), sender, 1)),
		"last n":   send(owner, submitCall([]byte("r"), sender, 1<<64-1)),
		"cut":      send(owner, submitCall(make([]byte, 100), sender, 1)[:150]),
	} {
		if bad == nil {
			t.Errorf("%s: submit was taken", name)
		}
	}
	add, remove := []Address{stranger.Address()}, []Address{owner.Address()}
	digest := ChangeDigest(1337, contract, add, remove, 0)
	sign := func(d Hash, list ...int) (s [][65]byte) {
		for _, i := range list {
			s = append(s, signers[i].SignChange(d))
		}
		return s
	}
	high := sign(digest, 0, 1)
	high[1] = highS(high[1])
	for name, sigs := range map[string][][65]byte{
		"one":            sign(digest, 0),
		"three":          sign(digest, 0, 1, 2),
		"descending":     sign(digest, 1, 0),
		"one twice":      sign(digest, 0, 0),
		"stranger":       {signers[0].SignChange(digest), stranger.SignChange(digest)},
		"high s":         high,
		"garbage":        {{}, {}},
		"other chain":    sign(ChangeDigest(1, contract, add, remove, 0), 0, 1),
		"other contract": sign(ChangeDigest(1337, f.Contract, add, remove, 0), 0, 1),
		"other nonce":    sign(ChangeDigest(1337, contract, add, remove, 1), 0, 1),
		"other list":     sign(ChangeDigest(1337, contract, remove, add, 0), 0, 1),
	} {
		if _, err := d.Change(t.Context(), contract, add, remove, sigs); err == nil {
			t.Errorf("%s: the allow-list was changed", name)
		}
	}
	if _, err := r.deployer(stranger).Change(t.Context(), contract, add, remove, sign(digest, 0, 2)); err != nil {
		t.Fatalf("two of three, sent by anybody: %v", err)
	}
	if _, err := d.Change(t.Context(), contract, add, remove, sign(digest, 0, 2)); err == nil {
		t.Error("a change was repeated")
	}
	if n, err := d.Changes(t.Context(), contract); err != nil || n != 1 {
		t.Errorf("%d changes, %v", n, err)
	}
	if ok, err := d.Allowed(t.Context(), contract, owner.Address()); ok || err != nil {
		t.Error("the owner may submit still", err)
	}
	if err := send(owner, submitCall([]byte("r"), sender, 5)); err == nil {
		t.Error("who was removed submits")
	}
	// Its own count begins anew, with a gap.
	if err := send(stranger, submitCall([]byte("s"), sender, 3)); err != nil {
		t.Error(err)
	}
	l := r.open(t, nil, contract, "", nil)
	list := ordertest.Collect(t, l, 0, 2)
	if string(list[0].Record) != "r" || string(list[1].Record) != "s" {
		t.Errorf("%v", list)
	}
}

// highS is the other signature of the same digest by the same key.
func highS(sig [65]byte) [65]byte {
	order := [32]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
		0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41}
	borrow := 0
	for i := 31; i >= 0; i-- {
		d := int(order[i]) - int(sig[32+i]) - borrow
		borrow = 0
		if d < 0 {
			d, borrow = d+256, 1
		}
		sig[32+i] = byte(d)
	}
	sig[64] = 27 + (1 - (sig[64] - 27))
	return sig
}
