package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/ledger/client"
)

// tokenVerb is one command or query of the token. Each argument has a name, which says how it is read.
type tokenVerb struct {
	use, name, short string
	query            bool
}

// tokenVerbs are the token's commands and queries. A word of use in capitals is an argument: AMOUNT and TOTAL are
// amounts, the others are accounts.
func tokenVerbs() []tokenVerb {
	return []tokenVerb{
		{"construct TOTAL", "construct", "Make the token; the account becomes its owner and has all", false},
		{"transfer RECIPIENT AMOUNT", "transfer", "Transfer an amount", false},
		{"approve SPENDER AMOUNT", "approve", "Allow somebody to spend an amount, instead of what was allowed before", false},
		{"increase-allowance SPENDER AMOUNT", "increaseAllowance", "Allow somebody to spend more", false},
		{"decrease-allowance SPENDER AMOUNT", "decreaseAllowance", "Allow somebody to spend less", false},
		{"transfer-from OWNER RECIPIENT AMOUNT", "transferFrom", "Transfer what somebody else has allowed", false},
		{"mint AMOUNT [RECIPIENT]", "mint", "Make more of the token, for the owner or somebody else; the owner only", false},
		{"burn AMOUNT", "burn", "Destroy an amount of one's own", false},
		{"change-owner OWNER", "changeOwner", "Give the token to another owner", false},
		{"pause", "pause", "Stop all transfers; the owner only", false},
		{"unpause", "unpause", "Let transfers go on; the owner only", false},
		{"balance-of", "balanceOf", "Show the account's balance; nobody sees another's", true},
		{"allowance SPENDER", "allowance", "Show what the account allows somebody to spend", true},
		{"total-supply", "totalSupply", "Show how much of the token there is", true},
		{"owner", "owner", "Show who owns the token", true},
		{"paused", "paused", "Show whether transfers are stopped", true},
	}
}

func newLedgerERC20Command() *cobra.Command {
	var subs []*cobra.Command
	for _, v := range tokenVerbs() {
		if v.query {
			subs = append(subs, v.newQuery())
		} else {
			subs = append(subs, v.newCommand())
		}
	}
	return group("erc20", "Use the token: every call of ERC-20", subs...)
}

// parameters are the arguments' names, and how many of them must be there.
func (v tokenVerb) parameters() (names []string, required int) {
	for _, word := range strings.Fields(v.use)[1:] {
		if !strings.HasPrefix(word, "[") {
			required++
		}
		names = append(names, strings.Trim(word, "[]"))
	}
	return names, required
}

// call makes the call from the arguments.
func (v tokenVerb) call(s *ledgerSession, app string, a []string) (client.Call, error) {
	names, _ := v.parameters()
	members := map[string]any{}
	for i, text := range a {
		switch name := names[i]; name {
		case "AMOUNT", "TOTAL":
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return client.Call{}, usageError{fmt.Errorf("%s %q: wanted a number from 0 to 18446744073709551615", name, text)}
			}
			members[map[string]string{"AMOUNT": "amount", "TOTAL": "total_supply"}[name]] = n
		default:
			id, err := s.accountID(text)
			if err != nil {
				return client.Call{}, err
			}
			members[strings.ToLower(name)] = id
		}
	}
	raw, err := json.Marshal(members)
	return client.Call{Application: app, Name: v.name, Arguments: raw}, err
}

func (v tokenVerb) newCommand() *cobra.Command {
	var o ledgerSendFlags
	names, required := v.parameters()
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Args: args(cobra.RangeArgs(required, len(names))),
		RunE: func(cmd *cobra.Command, a []string) error {
			return o.send(cmd, func(s *ledgerSession) (client.Call, error) { return v.call(s, o.app, a) })
		},
	}
	if len(names) > 0 {
		cmd.Long = v.short + ".\n\nAn account is 64 hexadecimal digits, or the name of an account of the own wallet."
	}
	o.register(cmd, "erc20")
	return cmd
}

func (v tokenVerb) newQuery() *cobra.Command {
	var o ledgerClientFlags
	var app string
	var fresh bool
	names, required := v.parameters()
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Args: args(cobra.RangeArgs(required, len(names))),
		RunE: func(cmd *cobra.Command, a []string) error {
			return o.query(cmd, app, fresh, func(s *ledgerSession) (client.Call, error) { return v.call(s, app, a) })
		},
	}
	cmd.Flags().StringVar(&app, "app", "erc20", "`name` of the application")
	freshFlag(cmd, &fresh)
	o.register(cmd, true)
	return cmd
}
