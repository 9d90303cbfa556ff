package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/wire"
)

func newLedgerAdminCommand() *cobra.Command {
	return group("admin", "Administer a ledger and its nodes, with the keys of administrators and operators",
		newLedgerAdminSignCommand(), newLedgerAdminProposalCommand(), newLedgerAdminApproveCommand(), newLedgerAdminPolicyCommand(),
		newLedgerAdminRemoveCommand(),
		newLedgerRotateCommand(),
		newLedgerAdminCallCommand("register-report", "/api/v1/register_report", "Have a node prove itself anew",
			"Have a node put new evidence of what it runs into the log, as it does by itself before\nthe old one is too old.", showEpoch),
		newLedgerAdminCallCommand("backup", "/api/v1/backup", "Have a node hand its state to the vaults, and show what they hold",
			"Have a node hand its sealed state to the vaults now, over TLS between attested programs,\nas it does by itself now and then, and show for each vault whether what it holds leads\nto the newest position. Exit code 1 when none does.", showBackup),
		newLedgerAdminCallCommand("recover", "/api/v1/recover", "Have a node that has lost its state get it from a vault",
			"Have a node without state get it from a vault. A node does so by itself when no other\nexecutor can help; this is for when it should not wait. It must be a member: after all\nexecutors have stopped, let them back in with \"hitoku ledger admin approve\" at the vault.", showRecovery),
	)
}

// newLedgerRotateCommand stands under "ledger" and under "ledger admin".
func newLedgerRotateCommand() *cobra.Command {
	return newLedgerAdminCallCommand("rotate", "/api/v1/key_rotation", "Give the ledger new keys now",
		"Have a node begin a new epoch: new keys, which only the present members get. The keys\nof the epoch before are erased. No command is lost.", showEpoch)
}

// adminFlags are what every call to a node needs.
type adminFlags struct {
	output
	genesis, node string
	keys          []string
}

func (o *adminFlags) register(f *pflag.FlagSet, many bool) {
	f.StringVar(&o.genesis, "genesis", "", "genesis `file` (required)")
	f.StringVar(&o.node, "node", "", "`URL` of a node, https://HOST:PORT (required)")
	if many {
		f.StringArrayVar(&o.keys, "key", nil, "`file` with an administrator's private key; may be repeated (required)")
	} else {
		f.StringArrayVar(&o.keys, "key", nil, "`file` with the private key of an administrator, or of the slot's operator (required)")
	}
}

// ready is a call's genesis, keys and caller.
type ready struct {
	genesis wire.Genesis
	policy  wire.Policy
	id      wire.Hash
	keys    *adminKeys
	caller  *adminCaller
}

func (o *adminFlags) ready(cmd *cobra.Command) (*ready, error) {
	if o.genesis == "" || o.node == "" || len(o.keys) == 0 {
		return nil, usageError{fmt.Errorf("%s: --genesis, --node and --key are all needed", verb(cmd))}
	}
	r := new(ready)
	var err error
	if r.genesis, r.policy, r.id, err = readGenesis(o.genesis); err == nil {
		r.keys, err = readAdminKeys(o.keys)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", verb(cmd), err)
	}
	for _, k := range r.keys.keys {
		if k.private == nil {
			return nil, fmt.Errorf("%s: %s is a public key, and the private one is needed", verb(cmd), k.file)
		}
	}
	r.caller = newAdminCaller(r.id, o.node, r.keys.keys[0].private)
	return r, nil
}

func (r *ready) close() { r.caller.close() }

// call makes one call and gives it the verb's name where it fails.
func (r *ready) call(cmd *cobra.Command, method, path string, in, out any) error {
	if err := r.caller.call(cmd.Context(), method, path, in, out); err != nil {
		return fmt.Errorf("%s: %w", verb(cmd), err)
	}
	return nil
}

// newLedgerAdminCallCommand is a verb that is one signed call without a body.
func newLedgerAdminCallCommand[T any](use, path, short, long string, show func(w io.Writer, answer *T) error) *cobra.Command {
	var o adminFlags
	cmd := &cobra.Command{
		Use: use + " --genesis FILE --node URL --key FILE", Short: short, Long: long,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.ready(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			var answer T
			if err := r.call(cmd, http.MethodPost, path, nil, &answer); err != nil {
				return err
			}
			if o.json {
				return errors.Join(o.print(cmd, answer, nil), show(io.Discard, &answer))
			}
			var shown error
			err = o.print(cmd, answer, func(w io.Writer) { shown = show(w, &answer) })
			return errors.Join(err, shown)
		},
	}
	o.register(cmd.Flags(), false)
	o.flag(cmd)
	return cmd
}

// epochAnswer is what calls answer that have something begun.
type epochAnswer struct {
	Epoch uint64 `json:"epoch"`
}

func showEpoch(w io.Writer, a *epochAnswer) error {
	_, err := fmt.Fprintf(w, "It is on its way; the epoch is %d.\n", a.Epoch)
	return err
}

type backupAnswer struct {
	Vaults []struct {
		Slot     uint16 `json:"slot"`
		Position uint64 `json:"position"`
		From     uint64 `json:"from"`
		To       uint64 `json:"to"`
		Complete bool   `json:"complete"`
		Error    string `json:"error,omitempty"`
	} `json:"vaults"`
}

func showBackup(w io.Writer, a *backupAnswer) error {
	complete := false
	fmt.Fprintln(w, "SLOT\tBACKUP AT\tKEYS OF EPOCHS\tCOMPLETE\tPROBLEM")
	for _, v := range a.Vaults {
		complete = complete || v.Complete
		fmt.Fprintf(w, "%d\t%d\t%d–%d\t%t\t%s\n", v.Slot, v.Position, v.From, v.To, v.Complete, or(v.Error))
	}
	if !complete {
		return errors.New("ledger admin backup: no vault holds what would bring the ledger back; see the table")
	}
	return nil
}

type recoveryAnswer struct {
	Recovered bool   `json:"recovered"`
	Position  uint64 `json:"position"`
}

func showRecovery(w io.Writer, a *recoveryAnswer) error {
	text := "The node had its state already, up to position %d.\n"
	if a.Recovered {
		text = "The node has its state from a vault, up to position %d.\n"
	}
	_, err := fmt.Fprintf(w, text, a.Position)
	return err
}

func newLedgerAdminSignCommand() *cobra.Command {
	var o output
	var genesis, key string
	cmd := &cobra.Command{
		Use:   "sign --genesis FILE --key FILE",
		Short: "Add an administrator's signature to a new ledger's genesis",
		Long: `Add an administrator's signature to a genesis file that "hitoku ledger init" has left
unfinished, because the private keys of other administrators were not at hand. Look at
what you sign: it is printed.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if genesis == "" || key == "" {
				return usageError{errors.New("ledger admin sign: --genesis and --key are both needed")}
			}
			v, err := signGenesis(genesis, key)
			if err != nil {
				return fmt.Errorf("ledger admin sign: %w", err)
			}
			return o.print(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "ledger\t%s\nname\t%s\napplications\t%s\nslots\t%d\nadministrators\t%d, of whom %d must sign\nsignatures\t%d\n",
					v.Ledger, v.Name, list(v.Applications), v.Slots, v.Administrators, v.Threshold, v.Signatures)
			})
		},
	}
	cmd.Flags().StringVar(&genesis, "genesis", "", "genesis `file`, which is rewritten (required)")
	cmd.Flags().StringVar(&key, "key", "", "`file` with the administrator's private key (required)")
	o.flag(cmd)
	return cmd
}

// signedGenesis is what an administrator has signed.
type signedGenesis struct {
	Ledger         string   `json:"ledger"`
	Name           string   `json:"name"`
	Applications   []string `json:"applications"`
	Slots          int      `json:"slots"`
	Administrators int      `json:"administrators"`
	Threshold      int      `json:"threshold"`
	Signatures     int      `json:"signatures"`
}

func signGenesis(file, keyFile string) (*signedGenesis, error) {
	f, g, p, err := looseGenesis(file)
	if err != nil {
		return nil, err
	}
	key, err := keyfile.ReadPrivate(keyFile)
	if err != nil {
		return nil, err
	}
	index, err := adminIndex(p, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	f.Signatures = mergeSignature(f.Signatures, wire.AdminSignature{Index: index, Signature: [64]byte(ed25519.Sign(key, g.Message()))})
	if len(f.Signatures) >= int(p.Threshold) {
		if _, _, _, err := f.Open(); err != nil {
			return nil, err
		}
	}
	if err := keyfile.Replace(file, f.Encode(), 0o644); err != nil {
		return nil, err
	}
	id := g.ID()
	v := &signedGenesis{
		Ledger: fmt.Sprintf("%x", id), Name: g.Name, Slots: len(p.Slots), Administrators: len(p.Admins), Threshold: int(p.Threshold), Signatures: len(f.Signatures),
	}
	for _, a := range g.Applications {
		v.Applications = append(v.Applications, a.Name+"="+a.Version)
	}
	return v, nil
}

func newLedgerAdminRemoveCommand() *cobra.Command {
	var o adminFlags
	var slot uint16
	cmd := &cobra.Command{
		Use:   "remove --slot N --genesis FILE --node URL --key FILE",
		Short: "Remove a member: it gets no key of later epochs",
		Long: `Have a node propose that the member in a slot is removed, and approve it with the given
keys. When these are fewer than the policy wants, the other administrators approve the
proposal with "hitoku ledger admin approve". The slot stays; to close it for good, put a
policy into force without it.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if slot == 0 {
				return usageError{errors.New("ledger admin remove: --slot is missing")}
			}
			r, err := o.ready(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			if err := r.call(cmd, http.MethodPost, "/api/v1/removals", map[string]any{"slot": slot}, nil); err != nil {
				return err
			}
			if err := r.awaitProposal(cmd); err != nil {
				return fmt.Errorf("ledger admin remove: %w", err)
			}
			return r.approve(cmd, &o)
		},
	}
	o.register(cmd.Flags(), true)
	cmd.Flags().Uint16Var(&slot, "slot", 0, "`number` of the member's slot (required)")
	o.flag(cmd)
	return cmd
}
