// Package contracts holds the compiled contracts of the ledger: Order, which puts
// records in order, and Factory, which makes Orders at addresses known before.
// The sources are beside this file; build.sh compiles them, and the lint step
// compares what is committed here with what they compile to.
package contracts

import (
	_ "embed"
	"encoding/hex"
	"strings"
)

// The contracts' interfaces in JSON, as compilers and wallets read them.
var (
	//go:embed out/Order.abi
	OrderABI string
	//go:embed out/Factory.abi
	FactoryABI string
)

var (
	//go:embed out/Order.bin
	order string
	//go:embed out/Factory.bin
	factory string
	//go:embed out/Token.bin
	token string
)

// Order returns the creation code of the Order contract; its arguments follow it.
func Order() []byte { return code(order) }

// Factory returns the creation code of the Factory contract, which takes no arguments.
func Factory() []byte { return code(factory) }

// Token returns the creation code of the ERC-20 that benchmarks compare with; its argument is the supply, u256.
func Token() []byte { return code(token) }

func code(text string) []byte {
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil {
		panic("contracts: a committed .bin file is no hexadecimal: " + err.Error())
	}
	return b
}
