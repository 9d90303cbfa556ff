package ethereum

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hitoku.dev/contracts"
)

// Deployer makes contracts and changes their allow-lists, by one endpoint that is believed: what it says wrong comes
// out when the ledger's nodes prove the contract's state.
type Deployer struct {
	Endpoint string // URL
	ChainID  uint64
	Key      *Key
	Fees     Fees
	HTTP     *http.Client
	Poll     time.Duration // between two looks for a receipt; 0 is 1 s
}

// Receipt tells of a transaction that is in a block and succeeded.
type Receipt struct {
	Transaction Hash
	Contract    Address // that was made, if one was
	Block       uint64
	GasUsed     uint64
	logs        []logJSON
}

func (d *Deployer) endpoint() *endpoint {
	return &endpoint{url: d.Endpoint, client: d.HTTP, timeout: 30 * time.Second}
}

// Next returns the address at which this account's next transaction makes a contract, and that transaction's nonce. A genesis
// names the address before the contract is there, since the contract begins with the genesis's hash.
func (d *Deployer) Next(ctx context.Context) (Address, uint64, error) {
	nonce, err := d.endpoint().number(ctx, "eth_getTransactionCount", d.Key.Address().String(), "pending")
	if err != nil {
		return Address{}, 0, err
	}
	return contractAddress(d.Key.Address(), nonce), nonce, nil
}

// Deploy makes an Order contract with the transaction of a nonce, so that it lies where Next said. A nonce that is used gives an error.
func (d *Deployer) Deploy(ctx context.Context, t Terms, nonce uint64) (Receipt, error) {
	r, err := d.Send(ctx, nonce, nil, t.creation())
	if want := contractAddress(d.Key.Address(), nonce); err == nil && r.Contract != want {
		err = fmt.Errorf("ethereum: the contract was made at %s, %s wanted", r.Contract, want)
	}
	return r, err
}

// DeployFactory makes a Factory with the account's next transaction.
func (d *Deployer) DeployFactory(ctx context.Context) (Receipt, error) {
	_, nonce, err := d.Next(ctx)
	if err != nil {
		return Receipt{}, err
	}
	return d.Send(ctx, nonce, nil, contracts.Factory())
}

// AddressOf returns where a factory makes this account's contract for a salt, whatever its terms are.
func (d *Deployer) AddressOf(ctx context.Context, factory Address, salt [32]byte) (Address, error) {
	input := append(selector("addressOf(address,bytes32)"), addressWord(d.Key.Address())...)
	word, err := d.view(ctx, factory, append(input, salt[:]...))
	return Address(word[12:]), err
}

// Make has a factory make an Order contract at the address that AddressOf gives.
func (d *Deployer) Make(ctx context.Context, factory Address, salt [32]byte, t Terms) (Receipt, error) {
	want, err := d.AddressOf(ctx, factory, salt)
	if err != nil {
		return Receipt{}, err
	}
	_, nonce, err := d.Next(ctx)
	if err != nil {
		return Receipt{}, err
	}
	r, err := d.Send(ctx, nonce, &factory, t.makeCall(salt))
	if err != nil {
		return r, err
	}
	for _, j := range r.logs {
		data, err := parseHex(j.Data, 32)
		if err == nil && len(j.Topics) == 3 && j.Address == factory.String() && Address(data[12:]) == want {
			r.Contract = want
			return r, nil
		}
	}
	return r, fmt.Errorf("ethereum: the factory made no contract at %s", want)
}

// ChangeDigest is what m signers sign (EIP-712) to change the allow-list of a contract, so and no other, once: changes is how often it
// was changed before.
func ChangeDigest(chainID uint64, contract Address, add, remove []Address, changes uint64) Hash {
	words := func(list []Address) (b []byte) {
		for _, a := range list {
			b = append(b, addressWord(a)...)
		}
		return b
	}
	text := func(s string) []byte { return keccakBytes([]byte(s)) }
	domain := keccak(text("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
		text("hitoku order"), text("1"), uintWord(chainID), addressWord(contract))
	content := keccak(text("Change(address[] add,address[] remove,uint64 nonce)"),
		keccakBytes(words(add)), keccakBytes(words(remove)), uintWord(changes))
	return keccak([]byte{0x19, 0x01}, domain[:], content[:])
}

// SignChange signs a ChangeDigest: r, s, v, 65 bytes.
func (k *Key) SignChange(digest Hash) [65]byte {
	sig := k.Sign(digest)
	sig[64] += 27
	return sig
}

// Changes returns how often a contract's allow-list was changed.
func (d *Deployer) Changes(ctx context.Context, contract Address) (uint64, error) {
	word, err := d.view(ctx, contract, selector("changes()"))
	if err != nil {
		return 0, err
	}
	return item{bytes: trim(word[:])}.uint()
}

// Allowed says whether an account may submit.
func (d *Deployer) Allowed(ctx context.Context, contract, account Address) (bool, error) {
	word, err := d.view(ctx, contract, append(selector("allowed(address)"), addressWord(account)...))
	return word[31] == 1, err
}

// Change changes the allow-list with signatures in ascending order of their signers' addresses.
func (d *Deployer) Change(ctx context.Context, contract Address, add, remove []Address, signatures [][65]byte) (Receipt, error) {
	var joined []byte
	for _, s := range signatures {
		joined = append(joined, s[:]...)
	}
	_, nonce, err := d.Next(ctx)
	if err != nil {
		return Receipt{}, err
	}
	return d.Send(ctx, nonce, &contract, changeCall(add, remove, joined))
}

func trim(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// view calls a contract without a transaction, for one word.
func (d *Deployer) view(ctx context.Context, to Address, input []byte) (word Hash, err error) {
	var s string
	e := d.endpoint()
	if err := e.call(ctx, &s, "eth_call", map[string]string{"to": to.String(), "data": hexBytes(input)}, "latest"); err != nil {
		return word, err
	}
	b, err := parseHex(s, 32)
	if err != nil {
		return word, fmt.Errorf("ethereum: %s answers no word; is it the contract?", to)
	}
	return Hash(b), nil
}

// Send sends a transaction with data to a contract, or makes one, and waits until it is in a block.
func (d *Deployer) Send(ctx context.Context, nonce uint64, to *Address, data []byte) (Receipt, error) {
	if err := d.Fees.check(); err != nil {
		return Receipt{}, err
	}
	e := d.endpoint()
	call := map[string]string{"from": d.Key.Address().String(), "data": hexBytes(data)}
	if to != nil {
		call["to"] = to.String()
	}
	gas, err := e.number(ctx, "eth_estimateGas", call)
	if err != nil {
		return Receipt{}, err
	}
	h, err := e.block(ctx, "latest")
	if err != nil {
		return Receipt{}, err
	}
	fees, base := d.Fees, uint64(0)
	if len(h.fields) <= minFields {
		fees.Legacy = true
	} else if base, err = h.fields[minFields].uint(); err != nil {
		return Receipt{}, err
	}
	t := transaction{chainID: d.ChainID, nonce: nonce, legacy: fees.Legacy, gas: gas + gas/8, to: to, data: data}
	t.tip, t.max = fees.price(base, 0)
	raw, hash := t.sign(d.Key)
	if err := e.send(ctx, raw, hash); err != nil {
		return Receipt{}, err
	}
	return d.wait(ctx, e, hash)
}

type receiptJSON struct {
	Status   string    `json:"status"`
	Contract *string   `json:"contractAddress"`
	Block    string    `json:"blockNumber"`
	GasUsed  string    `json:"gasUsed"`
	Logs     []logJSON `json:"logs"`
}

func (d *Deployer) wait(ctx context.Context, e *endpoint, hash Hash) (Receipt, error) {
	tick := time.NewTicker(orDefault(d.Poll, time.Second))
	defer tick.Stop()
	for {
		var j *receiptJSON
		if err := e.call(ctx, &j, "eth_getTransactionReceipt", hash.String()); err != nil {
			var said *rpcError
			// A node that is still indexing says so by an error.
			if !errors.As(err, &said) {
				return Receipt{Transaction: hash}, err
			}
		}
		if j != nil {
			return j.receipt(hash)
		}
		select {
		case <-ctx.Done():
			return Receipt{Transaction: hash}, fmt.Errorf("ethereum: transaction %s is in no block yet: %w", hash, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (j *receiptJSON) receipt(hash Hash) (Receipt, error) {
	r := Receipt{Transaction: hash, logs: j.Logs}
	block, err := parseQuantity(j.Block)
	if err != nil {
		return r, fmt.Errorf("ethereum: receipt of %s: %w", hash, err)
	}
	if r.GasUsed, err = parseQuantity(j.GasUsed); err != nil {
		return r, fmt.Errorf("ethereum: receipt of %s: %w", hash, err)
	}
	r.Block = block
	if j.Contract != nil {
		if r.Contract, err = ParseAddress(*j.Contract); err != nil {
			return r, err
		}
	}
	if j.Status != "0x1" {
		return r, fmt.Errorf("ethereum: transaction %s failed in block %d, %d gas used", hash, r.Block, r.GasUsed)
	}
	return r, nil
}
