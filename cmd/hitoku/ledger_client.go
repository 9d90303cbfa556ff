package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/ledger"
	"hitoku.dev/ledger/client"
	"hitoku.dev/ledger/receipt"
	"hitoku.dev/ledger/wallet"
)

// ledgerClientCommands are what clients of a ledger call.
func ledgerClientCommands() []*cobra.Command {
	return []*cobra.Command{
		newLedgerWalletCommand(), newLedgerERC20Command(), newLedgerSendCommand(), newLedgerQueryCommand(), newLedgerCounterCommand(),
		newLedgerWatchCommand(), newLedgerReceiptCommand(), newLedgerNodeKeyCommand(), newLedgerMembersCommand(),
	}
}

// ledgerTrustFlags name the ledger, and whose TEEs are believed.
type ledgerTrustFlags struct {
	ledger        string
	roots         []string
	simulatedRoot string
}

func (o *ledgerTrustFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.ledger, "ledger", "", "ledger `id`, 64 hexadecimal digits, from which all trust follows (default: $HITOKU_LEDGER)")
	f.StringArrayVar(&o.roots, "root", nil, "PEM `file` of a TEE maker's root, may be repeated (default: Intel's)")
	f.StringVar(&o.simulatedRoot, "trust-simulated-root", "", "PEM `file` of a simulated root; for tests only")
}

func (o *ledgerTrustFlags) options() (out receipt.Options, err error) {
	text := o.ledger
	if text == "" {
		text = os.Getenv("HITOKU_LEDGER")
	}
	if text == "" {
		return out, usageError{errors.New("name the ledger with --ledger or HITOKU_LEDGER; all trust follows from its id")}
	}
	if out.Ledger, err = receipt.ParseLedger(text); err != nil {
		return out, usageError{err}
	}
	if o.simulatedRoot != "" {
		cert, err := readRoot(o.simulatedRoot)
		if err != nil {
			return out, fmt.Errorf("--trust-simulated-root: %w", err)
		}
		out.SimulatedRoots = []*x509.Certificate{cert}
	}
	for _, file := range o.roots {
		cert, err := readRoot(file)
		if err != nil {
			return out, fmt.Errorf("--root: %w", err)
		}
		out.Roots = append(out.Roots, cert)
	}
	return out, nil
}

// ledgerClientFlags are what is needed to speak to a ledger.
type ledgerClientFlags struct {
	output
	ledgerTrustFlags
	ledgerWalletFlags
	nodes   []string
	account string
}

// register adds the flags; account says whether the verb acts for an account.
func (o *ledgerClientFlags) register(cmd *cobra.Command, account bool) {
	f := cmd.Flags()
	f.StringArrayVar(&o.nodes, "node", nil, "`URL` of a node, https://HOST:PORT, may be repeated; the first that works is used (required)")
	o.ledgerTrustFlags.register(f)
	o.ledgerWalletFlags.register(f, account)
	if account {
		f.StringVar(&o.account, "account", "", "`name` of the wallet's account to use (default: the current one)")
	}
	o.flag(cmd)
}

// ledgerSession is a client of a ledger, and the account that it acts for.
type ledgerSession struct {
	*client.Client
	wallet  *wallet.Wallet
	account *wallet.Account
}

// connect makes a client, which speaks to nobody yet.
func (o *ledgerClientFlags) connect(cmd *cobra.Command) (*client.Client, error) {
	trust, err := o.options()
	if err != nil {
		return nil, prefixed(cmd, err)
	}
	if len(o.nodes) == 0 {
		return nil, usageError{fmt.Errorf("%s: name a node with --node https://HOST:PORT", verb(cmd))}
	}
	path, err := o.path()
	if err != nil {
		return nil, prefixed(cmd, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, prefixed(cmd, err)
	}
	floor := filepath.Join(filepath.Dir(path), fmt.Sprintf("ledger-%x.floor", trust.Ledger[:8]))
	c, err := client.New(client.Options{
		URLs: o.nodes, Ledger: trust.Ledger, Roots: trust.Roots, SimulatedRoots: trust.SimulatedRoots, Floor: client.NewFileFloor(floor, trust.Ledger),
	})
	if err != nil && strings.Contains(err.Error(), "wanted https://") {
		err = usageError{err}
	}
	if err != nil {
		return nil, prefixed(cmd, err)
	}
	return c, nil
}

// session makes a client and opens the account.
func (o *ledgerClientFlags) session(cmd *cobra.Command) (*ledgerSession, error) {
	c, err := o.connect(cmd)
	if err != nil {
		return nil, err
	}
	w, _, _, err := o.open(cmd)
	if err != nil {
		return nil, prefixed(cmd, err)
	}
	a, err := w.Account(o.account)
	if err != nil {
		return nil, prefixed(cmd, err)
	}
	return &ledgerSession{c, w, a}, nil
}

// prefixed puts the verb's name before an error, and keeps it an error of usage if it is one.
func prefixed(cmd *cobra.Command, err error) error {
	var usage usageError
	if errors.As(err, &usage) {
		return usageError{fmt.Errorf("%s: %w", verb(cmd), usage.err)}
	}
	return fmt.Errorf("%s: %w", verb(cmd), err)
}

// accountID reads an account: 64 hexadecimal digits, or the name of an account of the own wallet.
func (s *ledgerSession) accountID(text string) (ledger.AccountID, error) {
	if len(text) == 64 {
		if id, err := ledger.ParseAccountID(text); err == nil {
			return id, nil
		}
	}
	a, err := s.wallet.Account(text)
	if err != nil || text == "" {
		return ledger.AccountID{}, usageError{fmt.Errorf("account %q: wanted 64 lower-case hexadecimal digits, or the name of an account of the wallet", text)}
	}
	return a.ID(), nil
}

// sentCommand is what became of a command, as it is printed.
type sentCommand struct {
	Command  string `json:"command"` // base64, signed; `receipt get` reads it
	Hash     string `json:"hash"`
	Account  string `json:"account"`
	Nonce    uint64 `json:"nonce"`
	Status   string `json:"status"` // committed, refused or pending
	Code     uint16 `json:"code"`
	Word     string `json:"word,omitempty"`
	Message  string `json:"message,omitempty"`
	Result   any    `json:"result,omitempty"`
	Position uint64 `json:"position,omitempty"`
	Index    uint32 `json:"index"`
	Receipt  string `json:"receipt,omitempty"` // file
}

func describe(a *wallet.Account, c client.Command) *sentCommand {
	return &sentCommand{
		Command: base64Text(c.Signed), Hash: hex.EncodeToString(c.Hash[:]), Account: a.ID().String(), Nonce: c.Nonce, Status: "pending",
	}
}

func (s *sentCommand) outcome(o client.Outcome) {
	s.Status = "refused"
	if o.Committed {
		s.Status = "committed"
	}
	s.Code, s.Word, s.Message, s.Position, s.Index = o.Code, o.Word(), o.Message, o.Position, o.Index
	if o.Result != nil {
		s.Result = o.Result
	}
}

// getReceipt gets a command's receipt and writes it into a new file that only its owner may read: it holds the
// command and its outcome.
func (s *ledgerSession) getReceipt(ctx context.Context, c client.Command, file string) (*receipt.Report, error) {
	data, report, err := s.Receipt(ctx, s.account, c)
	if err != nil {
		return nil, err
	}
	return report, writeReceipt(file, data)
}
