package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/wallet"
)

// ledgerWalletFlags say where the wallet is, and its passphrase.
type ledgerWalletFlags struct {
	wallet         string
	passphraseFile string
	noPassphrase   bool
}

// register adds the flags; secret says whether the verb opens the wallet.
func (o *ledgerWalletFlags) register(f *pflag.FlagSet, secret bool) {
	f.StringVar(&o.wallet, "wallet", "", "wallet `file` (default: $HITOKU_WALLET, else hitoku/wallet in the user's configuration folder); what was seen of a ledger is kept beside it")
	if secret {
		f.StringVar(&o.passphraseFile, "passphrase-file", "", "`file` with the wallet's passphrase, which only its owner may read (default: it is asked for)")
		f.BoolVar(&o.noPassphrase, "no-passphrase", false, "the wallet has no passphrase: who can read its file has its keys")
	}
}

func (o *ledgerWalletFlags) path() (string, error) {
	if o.wallet != "" {
		return o.wallet, nil
	}
	if path := os.Getenv("HITOKU_WALLET"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("%w; name the wallet with --wallet", err)
	}
	return filepath.Join(dir, "hitoku", "wallet"), nil
}

// passphrase asks for the passphrase; a new one is asked for twice.
func (o *ledgerWalletFlags) passphrase(cmd *cobra.Command, isNew bool) ([]byte, error) {
	return askPassphrase(cmd, o.passphraseFile, o.noPassphrase, isNew, "--passphrase-file", "--no-passphrase")
}

func askPassphrase(cmd *cobra.Command, file string, none, isNew bool, fileFlag, noneFlag string) ([]byte, error) {
	switch {
	case none && file != "":
		return nil, usageError{fmt.Errorf("%s and %s exclude each other", fileFlag, noneFlag)}
	case none:
		return nil, nil
	case file != "":
		raw, err := keyfile.ReadSecret(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fileFlag, err)
		}
		text := strings.TrimRight(string(raw), "\r\n")
		if text == "" {
			return nil, usageError{fmt.Errorf("%s: %s is empty; say %s for a wallet without a passphrase", fileFlag, file, noneFlag)}
		}
		return []byte(text), nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, usageError{fmt.Errorf("standard input is no terminal; give the passphrase with %s, or say %s", fileFlag, noneFlag)}
	}
	text, err := (&passwordFlag{}).read(cmd, "the wallet", isNew)
	if err == nil && text == "" {
		err = usageError{fmt.Errorf("an empty passphrase; say %s for a wallet without one", noneFlag)}
	}
	return []byte(text), err
}

// open opens the wallet.
func (o *ledgerWalletFlags) open(cmd *cobra.Command) (w *wallet.Wallet, passphrase []byte, p wallet.Params, err error) {
	path, err := o.path()
	if err != nil {
		return nil, nil, p, err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil, p, fmt.Errorf("there is no wallet %s; make one with `hitoku ledger wallet init`, or name it with --wallet", path)
	}
	if passphrase, err = o.passphrase(cmd, false); err != nil {
		return nil, nil, p, err
	}
	w, p, err = wallet.Open(path, passphrase)
	return w, passphrase, p, err
}

// change opens the wallet, changes it and writes it back.
func (o *ledgerWalletFlags) change(cmd *cobra.Command, change func(*wallet.Wallet) error) error {
	w, passphrase, p, err := o.open(cmd)
	if err == nil {
		err = change(w)
	}
	if err != nil {
		return err
	}
	path, err := o.path()
	if err != nil {
		return err
	}
	return wallet.Replace(path, w, passphrase, p, rand.Reader)
}

// create writes a new wallet.
func (o *ledgerWalletFlags) create(cmd *cobra.Command, w *wallet.Wallet) (string, error) {
	path, err := o.path()
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is there already and is not overwritten; name another file with --wallet", path)
	}
	passphrase, err := o.passphrase(cmd, true)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, wallet.Create(path, w, passphrase, wallet.DefaultParams(), rand.Reader)
}

func newLedgerWalletCommand() *cobra.Command {
	return group("wallet", "Keep the keys of accounts: twelve or twenty-four words, and an encrypted file",
		newLedgerWalletInitCommand(), newLedgerWalletRestoreCommand(), newLedgerWalletAddCommand(), newLedgerWalletListCommand(),
		newLedgerWalletUseCommand(), newLedgerWalletShowCommand(), newLedgerWalletPasswdCommand(),
	)
}

// accountView is an account as it is printed.
type accountView struct {
	Name    string `json:"name"`
	Account string `json:"account"`
	Scheme  string `json:"scheme"`
	Key     string `json:"key"`
	Path    string `json:"path"`
	Current bool   `json:"current"`
	Wallet  string `json:"wallet,omitempty"`
	Words   string `json:"words,omitempty"`
}

func viewAccount(w *wallet.Wallet, name string) (*accountView, error) {
	a, err := w.Account(name)
	if err != nil {
		return nil, err
	}
	scheme := "ed25519"
	if a.Scheme() == ledger.SchemeP256 {
		scheme = "p256"
	}
	return &accountView{Name: a.Name(), Account: a.ID().String(), Scheme: scheme, Key: fmt.Sprintf("%x", a.PublicKey()), Path: a.Path(), Current: a.Name() == w.Current()}, nil
}

func (v *accountView) write(w io.Writer) {
	fmt.Fprintf(w, "name\t%s\naccount\t%s\nscheme\t%s\nkey\t%s\npath\t%s\n", v.Name, v.Account, v.Scheme, v.Key, v.Path)
}

func newLedgerWalletInitCommand() *cobra.Command {
	var o ledgerWalletFlags
	var out output
	words := 24
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a wallet with one account, main",
		Long: `Make a wallet with one account, main, and print its words. Write the words down: they
are the only way to the keys when the file or its passphrase is lost, and who has them
has the keys. They are printed again by "hitoku ledger wallet show --words".`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if words != 12 && words != 24 {
				return usageError{fmt.Errorf("ledger wallet init: --words %d: wanted 12 or 24", words)}
			}
			w, err := wallet.New(words, rand.Reader)
			if err == nil {
				err = printNewWallet(cmd, &o, &out, w, true)
			}
			if err != nil {
				return prefixed(cmd, err)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&words, "words", 24, "`number` of words, 12 or 24")
	o.register(cmd.Flags(), true)
	out.flag(cmd)
	return cmd
}

func printNewWallet(cmd *cobra.Command, o *ledgerWalletFlags, out *output, w *wallet.Wallet, words bool) error {
	path, err := o.create(cmd, w)
	if err != nil {
		return err
	}
	v, err := viewAccount(w, "")
	if err != nil {
		return err
	}
	v.Wallet = path
	if words {
		if v.Words, err = w.Mnemonic(); err != nil {
			return err
		}
	}
	return out.print(cmd, v, func(w io.Writer) {
		fmt.Fprintf(w, "wallet\t%s\n", v.Wallet)
		v.write(w)
		if words {
			fmt.Fprintf(w, "\nWrite these words down, and show them to nobody:\n\n%s\n", v.Words)
		}
	})
}

func newLedgerWalletRestoreCommand() *cobra.Command {
	var o ledgerWalletFlags
	var out output
	var file string
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Make a wallet from its words",
		Long: `Make a wallet from its 12 or 24 words, which are asked for, or read from a file. It has
one account, main; add the others again in the order in which they were made.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := readWords(cmd, file)
			var w *wallet.Wallet
			if err == nil {
				w, err = wallet.Restore(text)
			}
			if err == nil {
				err = printNewWallet(cmd, &o, &out, w, false)
			}
			if err != nil {
				return prefixed(cmd, err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "words-file", "", "`file` with the words, which only its owner may read (default: they are asked for)")
	o.register(cmd.Flags(), true)
	out.flag(cmd)
	return cmd
}

func readWords(cmd *cobra.Command, file string) (string, error) {
	if file != "" {
		raw, err := keyfile.ReadSecret(file)
		return string(raw), err
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usageError{errors.New("standard input is no terminal; give the words with --words-file")}
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Words of the wallet (they are not shown): ")
	raw, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	return string(raw), err
}
