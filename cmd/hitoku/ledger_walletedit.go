package main

import (
	"crypto/rand"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hitoku.dev/ledger"
	"hitoku.dev/ledger/wallet"
)

func newLedgerWalletAddCommand() *cobra.Command {
	var o ledgerWalletFlags
	var out output
	var scheme string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an account to the wallet",
		Long:  "Add an account, whose key follows from the wallet's words, and make it the current one.",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			number, ok := map[string]uint8{"ed25519": ledger.SchemeEd25519, "p256": ledger.SchemeP256}[scheme]
			if !ok {
				return usageError{fmt.Errorf("ledger wallet add: --scheme %q: wanted ed25519 or p256", scheme)}
			}
			var v *accountView
			err := o.change(cmd, func(w *wallet.Wallet) (err error) {
				if _, err = w.Add(a[0], number); err == nil {
					err = w.Use(a[0])
				}
				if err == nil {
					v, err = viewAccount(w, a[0])
				}
				return err
			})
			if err != nil {
				return prefixed(cmd, err)
			}
			return out.print(cmd, v, v.write)
		},
	}
	cmd.Flags().StringVar(&scheme, "scheme", "ed25519", "kind of key: ed25519 or p256")
	o.register(cmd.Flags(), true)
	out.flag(cmd)
	return cmd
}

func newLedgerWalletListCommand() *cobra.Command {
	var o ledgerWalletFlags
	var out output
	cmd := &cobra.Command{
		Use: "list", Short: "List the wallet's accounts", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, _, _, err := o.open(cmd)
			if err != nil {
				return prefixed(cmd, err)
			}
			var list []*accountView
			for _, name := range w.Names() {
				v, err := viewAccount(w, name)
				if err != nil {
					return prefixed(cmd, err)
				}
				list = append(list, v)
			}
			return out.print(cmd, list, func(w io.Writer) {
				fmt.Fprintln(w, "\tNAME\tACCOUNT\tSCHEME\tPATH")
				for _, v := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", map[bool]string{true: "*"}[v.Current], v.Name, v.Account, v.Scheme, v.Path)
				}
			})
		},
	}
	o.register(cmd.Flags(), true)
	out.flag(cmd)
	return cmd
}

func newLedgerWalletUseCommand() *cobra.Command {
	var o ledgerWalletFlags
	var out output
	cmd := &cobra.Command{
		Use: "use NAME", Short: "Make an account the current one", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			var v *accountView
			err := o.change(cmd, func(w *wallet.Wallet) (err error) {
				if err = w.Use(a[0]); err == nil {
					v, err = viewAccount(w, a[0])
				}
				return err
			})
			if err != nil {
				return prefixed(cmd, err)
			}
			return out.done(cmd, v, "The current account is %s, %s.", v.Name, v.Account)
		},
	}
	o.register(cmd.Flags(), true)
	out.flag(cmd)
	return cmd
}

func newLedgerWalletShowCommand() *cobra.Command {
	var o ledgerWalletFlags
	var out output
	var account string
	var words bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show an account: what others send to", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, _, _, err := o.open(cmd)
			if err != nil {
				return prefixed(cmd, err)
			}
			v, err := viewAccount(w, account)
			if err == nil && words {
				v.Words, err = w.Mnemonic()
			}
			if err != nil {
				return prefixed(cmd, err)
			}
			return out.print(cmd, v, func(w io.Writer) {
				v.write(w)
				if words {
					fmt.Fprintf(w, "words\t%s\n", v.Words)
				}
			})
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "`name` of the account (default: the current one)")
	cmd.Flags().BoolVar(&words, "words", false, "show the wallet's words too: who sees them has the keys")
	o.register(cmd.Flags(), true)
	out.flag(cmd)
	return cmd
}

func newLedgerWalletPasswdCommand() *cobra.Command {
	var o ledgerWalletFlags
	var out output
	var file string
	var none bool
	cmd := &cobra.Command{
		Use: "passwd", Short: "Change the wallet's passphrase", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, _, _, err := o.open(cmd)
			if err != nil {
				return prefixed(cmd, err)
			}
			passphrase, err := askPassphrase(cmd, file, none, true, "--new-passphrase-file", "--no-new-passphrase")
			var path string
			if err == nil {
				path, err = o.path()
			}
			if err == nil {
				err = wallet.Replace(path, w, passphrase, wallet.DefaultParams(), rand.Reader)
			}
			if err != nil {
				return prefixed(cmd, err)
			}
			return out.done(cmd, map[string]string{"wallet": path}, "%s has another passphrase now. Copies of the old file still open with the old one.", path)
		},
	}
	cmd.Flags().StringVar(&file, "new-passphrase-file", "", "`file` with the new passphrase (default: it is asked for)")
	cmd.Flags().BoolVar(&none, "no-new-passphrase", false, "the wallet shall have no passphrase")
	o.register(cmd.Flags(), true)
	out.flag(cmd)
	return cmd
}
