package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/pflag"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
)

// ledgerOrderFlags say in a new genesis where records are put in order.
type ledgerOrderFlags struct {
	driver        string
	chainID       uint64
	contract      string
	endpoint      string
	deployerKey   string
	finality      string
	confirmations uint32
	agree         uint8
	validators    []string
}

func (o *ledgerOrderFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.driver, "order", "embedded", "what puts records in order: embedded (hitoku ledger log), or chain (a contract on an Ethereum-type chain)")
	f.StringVar(&o.endpoint, "endpoint", "", "chain: `URL` of a JSON-RPC endpoint, asked for chain id and nonce")
	f.StringVar(&o.deployerKey, "deployer-key", "", "chain: `file` with the private key that will deploy the contract as its next transaction")
	f.StringVar(&o.contract, "contract", "", "chain: `address` of the contract, where --deployer-key does not tell it")
	f.Uint64Var(&o.chainID, "chain-id", 0, "chain: `id` of the chain, where no --endpoint tells it")
	f.StringVar(&o.finality, "finality", "confirmations", "chain: when a block counts: confirmations, finalized (the chain says it), or immediate (QBFT, IBFT)")
	f.Uint32Var(&o.confirmations, "confirmations", 12, "chain: `number` of blocks on top, with --finality confirmations")
	f.Uint8Var(&o.agree, "agree", 1, "chain: `number` of endpoints that must give the same blocks")
	f.StringArrayVar(&o.validators, "validator", nil, "chain: `address` of a QBFT validator whose seals prove blocks; may be repeated")
}

func (o *ledgerOrderFlags) check() error {
	switch o.driver {
	case "embedded":
		if o.endpoint != "" || o.deployerKey != "" || o.contract != "" || o.chainID != 0 || len(o.validators) > 0 {
			return errors.New("--endpoint, --deployer-key, --contract, --chain-id and --validator belong to --order chain")
		}
		return nil
	case "chain":
	default:
		return fmt.Errorf("--order %q: wanted embedded or chain", o.driver)
	}
	switch {
	case o.finality != "confirmations" && o.finality != "finalized" && o.finality != "immediate":
		return fmt.Errorf("--finality %q: wanted confirmations, finalized or immediate", o.finality)
	case o.agree == 0:
		return errors.New("--agree 0: wanted at least 1")
	case o.deployerKey == "" && o.contract == "" || o.deployerKey != "" && o.contract != "":
		return errors.New("--order chain needs --deployer-key, or the --contract that it leads to, and not both")
	case o.endpoint == "" && (o.chainID == 0 || o.deployerKey != ""):
		return errors.New("--order chain needs --endpoint, or --chain-id and --contract")
	}
	if o.contract != "" {
		if _, err := parseAddress("--contract", o.contract); err != nil {
			return err
		}
	}
	for _, v := range o.validators {
		if _, err := parseAddress("--validator", v); err != nil {
			return err
		}
	}
	return nil
}

func parseAddress(flag, s string) (a ethereum.Address, err error) {
	if a, err = ethereum.ParseAddress(s); err != nil {
		err = fmt.Errorf("%s: %w", flag, err)
	}
	return a, err
}

func defaultEntryMax(driver uint8) uint32 {
	if driver == wire.DriverEthereum {
		return ethereum.DefaultMaxRecord
	}
	return 128 << 10
}

// genesis makes the genesis's Order. It asks the endpoint where it must.
func (o *ledgerOrderFlags) genesis(ctx context.Context) (wire.Order, error) {
	if o.driver == "embedded" {
		return wire.Order{Driver: wire.DriverEmbedded, Finality: wire.FinalityImmediate}, nil
	}
	out := wire.Order{Driver: wire.DriverEthereum, ChainID: o.chainID, Endpoints: o.agree}
	switch o.finality {
	case "confirmations":
		out.Finality, out.Confirmations = wire.FinalityConfirmations, o.confirmations
	case "finalized":
		out.Finality = wire.FinalityFinalized
	default:
		out.Finality = wire.FinalityImmediate
	}
	for _, v := range o.validators {
		a, err := parseAddress("--validator", v)
		if err != nil {
			return out, err
		}
		out.Validators = append(out.Validators, a)
	}
	slices.SortFunc(out.Validators, func(a, b [20]byte) int { return slices.Compare(a[:], b[:]) })
	out.Validators = slices.Compact(out.Validators)
	if o.contract != "" {
		var err error
		if out.Contract, err = parseAddress("--contract", o.contract); err != nil {
			return out, err
		}
	}
	if o.endpoint == "" {
		return out, nil
	}
	return out, o.ask(ctx, &out)
}

// ask takes the chain's id, and the address that the deployer's next contract gets, from the endpoint.
func (o *ledgerOrderFlags) ask(ctx context.Context, out *wire.Order) error {
	client := &http.Client{}
	id, err := ethereum.AskChainID(ctx, client, o.endpoint)
	if err != nil {
		return err
	}
	if o.chainID != 0 && o.chainID != id {
		return fmt.Errorf("the endpoint %s is of chain %d, --chain-id says %d", o.endpoint, id, o.chainID)
	}
	out.ChainID = id
	if o.deployerKey == "" {
		return nil
	}
	key, err := readChainKey(o.deployerKey)
	if err != nil {
		return err
	}
	d := ethereum.Deployer{Endpoint: o.endpoint, ChainID: id, Key: key, HTTP: client}
	address, _, err := d.Next(ctx)
	out.Contract = address
	return err
}

// readChainKey reads the private key of an account of a chain: 64 hexadecimal digits.
func readChainKey(file string) (*ethereum.Key, error) {
	raw, err := keyfile.ReadSecret(file)
	if err != nil {
		return nil, err
	}
	key, err := ethereum.ParseKey(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}
