package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
)

// options are the flags. Those with JSON names belong to the chain itself and are kept in its folder.
type options struct {
	data, listen string
	period       time.Duration
	admin        bool

	ChainID  uint64            `json:"chain_id"`
	GasLimit uint64            `json:"gas_limit"`
	Fork     string            `json:"fork"`
	Fund     map[string]uint64 `json:"fund"` // ether by address
}

func (o *options) addFund(s string) error {
	address, ether, ok := strings.Cut(s, "=")
	n, err := strconv.ParseUint(ether, 10, 64)
	if !ok || err != nil || !common.IsHexAddress(address) {
		return errors.New("wanted is 0xADDRESS=ETHER with whole ether")
	}
	o.Fund[common.HexToAddress(address).Hex()] = n
	return nil
}

func (o *options) check() error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("--listen %s: a development chain listens on loopback only, for example 127.0.0.1:8545", o.listen)
	}
	if _, err := o.config(); err != nil {
		return err
	}
	if o.ChainID == 0 || o.GasLimit < 1_000_000 {
		return fmt.Errorf("chain id %d and %d gas in a block; above 0 and at least 1000000 wanted", o.ChainID, o.GasLimit)
	}
	return nil
}

// remember keeps the chain's own options in its folder, or takes those that are kept there.
func (o *options) remember() error {
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return err
	}
	path := filepath.Join(o.data, "devchain.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		b, err = json.MarshalIndent(o, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	o.Fund = nil
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(o); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return o.check()
}

// config is the chain's rules: proof of stake from the beginning, all forks up to the named one.
func (o *options) config() (*params.ChainConfig, error) {
	all := *params.AllDevChainProtocolChanges
	c := &all
	c.ChainID = new(big.Int).SetUint64(o.ChainID)
	c.BogotaTime = nil
	times := []struct {
		name string
		time **uint64
	}{{"shanghai", &c.ShanghaiTime}, {"cancun", &c.CancunTime}, {"prague", &c.PragueTime}, {"osaka", &c.OsakaTime}}
	known := o.Fork == "london"
	for _, t := range times {
		if known {
			*t.time = nil
		}
		known = known || t.name == o.Fork
	}
	if !known {
		return nil, fmt.Errorf("--fork %q: london, shanghai, cancun, prague or osaka", o.Fork)
	}
	c.BlobScheduleConfig = &params.BlobScheduleConfig{
		Cancun: params.DefaultCancunBlobConfig, Prague: params.DefaultPragueBlobConfig,
	}
	return c, nil
}

func (o *options) genesis() (*core.Genesis, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	g := &core.Genesis{
		Config: config, GasLimit: o.GasLimit, BaseFee: big.NewInt(params.InitialBaseFee), Difficulty: new(big.Int),
		Alloc: core.SystemContractAllocs(),
	}
	for address, ether := range o.Fund {
		wei := new(big.Int).Mul(new(big.Int).SetUint64(ether), big.NewInt(params.Ether))
		g.Alloc[common.HexToAddress(address)] = types.Account{Balance: wei}
	}
	return g, nil
}
