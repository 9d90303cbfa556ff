package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
)

// chainFeeFlags say what is paid to a chain.
type chainFeeFlags struct{ fees ethereum.Fees }

func (o *chainFeeFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&o.fees.Legacy, "legacy-fees", false, "send transactions with a gas price, for networks without EIP-1559 and networks without fees")
	f.Uint64Var(&o.fees.Price, "gas-price", 0, "gas price in `wei` with --legacy-fees")
	f.Uint64Var(&o.fees.Tip, "tip", 0, "what the block's maker gets beyond the base fee, in `wei` per gas (default 1 gwei)")
	f.Uint64Var(&o.fees.Max, "max-fee", 0, "the most that is ever paid, in `wei` per gas (default 500 gwei)")
}

type ledgerDeployOptions struct {
	output
	chainFeeFlags
	genesis, endpoint, key string
	submitters, signers    []string
	threshold              int
}

func newLedgerDeployCommand() *cobra.Command {
	var o ledgerDeployOptions
	cmd := &cobra.Command{
		Use:   "deploy --genesis FILE --endpoint URL --key FILE --submitter ADDRESS",
		Short: "Put a ledger's contract on its chain, at the address that the genesis names",
		Long: `Deploy the contract that puts the ledger's records in order. It begins with the
ledger id, and its address must be the one in the genesis, which follows from the
deployer's account and the number of its transactions. So nothing else may be sent
from that account between "hitoku ledger init" and this.

The contract only orders. Its allow-list of accounts that may submit keeps strangers
from filling it; --signer and --threshold say who may change the list later. What
makes a record count is inside it, and judged by the nodes.`,
		Example: "  hitoku ledger deploy --genesis shop/genesis --endpoint http://127.0.0.1:8545 --key deployer.key --submitter 0x2b5ad5c4795c026514f8317c7a215e218dccd6cf",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.genesis, "genesis", "", "genesis `file` (required)")
	f.StringVar(&o.endpoint, "endpoint", "", "`URL` of a JSON-RPC endpoint (required)")
	f.StringVar(&o.key, "key", "", "`file` with the deployer's private key (required)")
	f.StringArrayVar(&o.submitters, "submitter", nil, "`address` of an account that may submit records, may be repeated (required)")
	f.StringArrayVar(&o.signers, "signer", nil, "`address` of an account that signs changes of the allow-list, may be repeated (default: the deployer)")
	f.IntVar(&o.threshold, "threshold", 0, "`number` of signers that a change needs (default: more than half)")
	o.chainFeeFlags.register(f)
	o.flag(cmd)
	cmd.AddCommand(newLedgerDeployKeyCommand())
	return cmd
}

func (o *ledgerDeployOptions) run(cmd *cobra.Command) error {
	if o.genesis == "" || o.endpoint == "" || o.key == "" || len(o.submitters) == 0 {
		return usageError{errors.New("ledger deploy: --genesis, --endpoint, --key and --submitter are all needed")}
	}
	submitters, err := addresses("--submitter", o.submitters)
	if err != nil {
		return usageError{fmt.Errorf("ledger deploy: %w", err)}
	}
	signers, err := addresses("--signer", o.signers)
	if err != nil {
		return usageError{fmt.Errorf("ledger deploy: %w", err)}
	}
	if o.threshold < 0 || o.threshold > max(1, len(signers)) {
		return usageError{fmt.Errorf("ledger deploy: --threshold %d for %d signers", o.threshold, max(1, len(signers)))}
	}
	if err := o.deploy(cmd, submitters, signers); err != nil {
		return fmt.Errorf("ledger deploy: %w", err)
	}
	return nil
}

func (o *ledgerDeployOptions) deploy(cmd *cobra.Command, submitters, signers []ethereum.Address) error {
	g, _, id, err := readGenesis(o.genesis)
	if err != nil {
		return err
	}
	if g.Order.Driver != wire.DriverEthereum {
		return fmt.Errorf("%s is of a ledger whose order is the embedded log: there is nothing to deploy; start `hitoku ledger log`", o.genesis)
	}
	key, err := readChainKey(o.key)
	if err != nil {
		return err
	}
	ctx, client := cmd.Context(), &http.Client{}
	chain, err := ethereum.AskChainID(ctx, client, o.endpoint)
	if err != nil {
		return err
	}
	if chain != g.Order.ChainID {
		return fmt.Errorf("the endpoint %s is of chain %d, the genesis names %d", o.endpoint, chain, g.Order.ChainID)
	}
	d := &ethereum.Deployer{Endpoint: o.endpoint, ChainID: chain, Key: key, Fees: o.fees, HTTP: client}
	nonce, err := nextIs(ctx, d, g.Order.Contract)
	if err != nil {
		return err
	}
	if len(signers) == 0 {
		signers = []ethereum.Address{key.Address()}
	}
	if o.threshold == 0 {
		o.threshold = len(signers)/2 + 1
	}
	receipt, err := d.Deploy(ctx, ethereum.Terms{Ledger: id, MaxRecord: int(g.EntryMax), Threshold: o.threshold, Signers: signers, Submitters: submitters}, nonce)
	if err != nil {
		return err
	}
	v := struct {
		Contract    string `json:"contract"`
		Ledger      string `json:"ledger"`
		Transaction string `json:"transaction"`
		Block       uint64 `json:"block"`
		GasUsed     uint64 `json:"gas_used"`
	}{receipt.Contract.String(), fmt.Sprintf("%x", id), receipt.Transaction.String(), receipt.Block, receipt.GasUsed}
	return o.print(cmd, v, func(w io.Writer) {
		fmt.Fprintf(w, "contract\t%s, as the genesis says\nledger\t%s\ntransaction\t%s\nblock\t%d (nodes may be given --first-block %d)\ngas\t%d\n",
			v.Contract, v.Ledger, v.Transaction, v.Block, v.Block, v.GasUsed)
	})
}

// nextIs returns the nonce with which the deployer's next contract lies at the address, and refuses any other.
func nextIs(ctx context.Context, d *ethereum.Deployer, want ethereum.Address) (uint64, error) {
	next, nonce, err := d.Next(ctx)
	if err != nil {
		return 0, err
	}
	if next != want {
		return 0, fmt.Errorf("the next contract of account %s would lie at %s, the genesis names %s: another account, or something was sent from it since; found the ledger anew (`hitoku ledger init`) and deploy at once", d.Key.Address(), next, want)
	}
	return nonce, nil
}

// addresses reads addresses, ascending and each once.
func addresses(flag string, list []string) ([]ethereum.Address, error) {
	var out []ethereum.Address
	for _, s := range list {
		a, err := parseAddress(flag, s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b ethereum.Address) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(out), nil
}

// readGenesis reads and checks a genesis file.
func readGenesis(file string) (wire.Genesis, wire.Policy, wire.Hash, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return wire.Genesis{}, wire.Policy{}, wire.Hash{}, err
	}
	f, err := wire.ParseGenesisFile(raw)
	if err == nil {
		var g wire.Genesis
		var p wire.Policy
		var id wire.Hash
		if g, p, id, err = f.Open(); err == nil {
			return g, p, id, nil
		}
	}
	return wire.Genesis{}, wire.Policy{}, wire.Hash{}, fmt.Errorf("%s: %w", file, err)
}

func newLedgerDeployKeyCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "key FILE",
		Short: "Make an account of the chain: a private key in a new file, and print its address",
		Long: `Make the private key of an account of an Ethereum-type chain (secp256k1), write it to a
new file of mode 0600, and print the account's address. For a file that is there, only
print the address.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			key, err := chainKey(a[0])
			if err != nil {
				return fmt.Errorf("ledger deploy key: %w", err)
			}
			v := struct {
				File    string `json:"file"`
				Address string `json:"address"`
			}{a[0], key.Address().String()}
			return out.print(cmd, v, func(w io.Writer) { fmt.Fprintln(w, v.Address) })
		},
	}
	out.flag(cmd)
	return cmd
}

func chainKey(file string) (*ethereum.Key, error) {
	if exists(file) {
		return readChainKey(file)
	}
	key, err := ethereum.NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, keyfile.WriteSecret(file, []byte(key.Hex()+"\n"))
}
