package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

// printRules writes what an account demands of evidence, for `account show` and `account rules`.
func printRules(w io.Writer, r *wire.AttestationRules) {
	if r == nil {
		return // a manager that knows no such rules
	}
	lowest := "none"
	if r.MinTCBEvaluation > 0 {
		lowest = fmt.Sprint(r.MinTCBEvaluation)
	}
	nonce := "refused"
	if r.AcceptBareBinding {
		nonce = "ACCEPTED, once for each key"
	}
	fmt.Fprintf(w, "TCB statuses accepted\t%s\nlowest TCB evaluation\t%s\nevidence without a nonce\t%s\n", strings.Join(r.TCBStatuses, ", "), lowest, nonce)
}

func newAccountRulesCommand() *cobra.Command {
	var statuses []string
	var lowest int
	var bare bool
	var o output
	cmd := &cobra.Command{
		Use:   "rules [NAME|ID]",
		Short: "Show or change what an account demands of evidence",
		Long: `Show what an account demands of evidence, or change it.

The rules decide about every certificate from now on; those that were issued
stay. Changing them needs the role MANAGER, and each change is in the audit log. In
an account with four eyes only a system administrator may accept more evidence.

--tcb-status lists the statuses accepted beside UpToDate, in Intel's words
(SWHardeningNeeded, ConfigurationNeeded, OutOfDate …); an empty list takes all back.

--min-tcb-evaluation is the lowest evaluation number of Intel's collateral. It
keeps old collateral, which knows no newer weakness, from being used again; so it
only rises.

--accept-bare-binding admits evidence that is over the hash of a key alone, as
other clients of the CCM interface make it. Such evidence answers no nonce and
may be old; the same key is never accepted twice.`,
		Example: `  hitoku account rules
  hitoku account rules --min-tcb-evaluation 19 --tcb-status SWHardeningNeeded
  hitoku account rules acme --accept-bare-binding=false`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, id, err := chosenAccount(cmd, a)
			if err != nil {
				return err
			}
			var u wire.AttestationUpdate
			changed := cmd.Flags().Changed
			if changed("tcb-status") {
				u.TCBStatuses = &statuses
			}
			if changed("min-tcb-evaluation") {
				u.MinTCBEvaluation = &lowest
			}
			if changed("accept-bare-binding") {
				u.AcceptBareBinding = &bare
			}
			var acct wire.Account
			if u == (wire.AttestationUpdate{}) {
				acct, err = client.Get[wire.Account](cmd.Context(), c, "/v1/accounts/"+id)
			} else {
				acct, err = client.Patch[wire.Account](cmd.Context(), c, "/v1/accounts/"+id, wire.AccountUpdate{Attestation: &u})
			}
			if err != nil {
				return fmt.Errorf("rules of the account: %w", err)
			}
			return o.print(cmd, acct.Attestation, func(w io.Writer) {
				fmt.Fprintf(w, "account\t%s\n", acct.Name)
				printRules(w, acct.Attestation)
			})
		},
	}
	cmd.Flags().StringSliceVar(&statuses, "tcb-status", nil, "accept this TCB `status` beside UpToDate; may be repeated")
	cmd.Flags().IntVar(&lowest, "min-tcb-evaluation", 0, "lowest TCB evaluation `number` of collateral; only rises")
	cmd.Flags().BoolVar(&bare, "accept-bare-binding", false, "accept evidence that answers no nonce, once for each key")
	o.flag(cmd)
	return cmd
}
