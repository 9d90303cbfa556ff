package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/ledger/wire"
)

// proposalJSON is a change of members that waits for administrators, as a node tells it.
type proposalJSON struct {
	Epoch uint64 `json:"epoch"`
	T     string `json:"t"`
	Adds  []struct {
		Slot         uint16 `json:"slot"`
		IID          string `json:"iid"`
		JoinPosition uint64 `json:"join_position"`
		Released     uint64 `json:"released"`
	} `json:"adds"`
	Removes []struct {
		Slot     uint16 `json:"slot"`
		IID      string `json:"iid"`
		Reason   uint8  `json:"reason"`
		Position uint64 `json:"position"`
	} `json:"removes"`
	Message string `json:"message"` // base64
	Have    int    `json:"have"`
	Need    int    `json:"need"`
	Void    bool   `json:"void,omitempty"`
}

var errNoProposal = errors.New("the node proposes nothing that needs an approval")

// message is what is signed, computed here from what is shown.
func (p *proposalJSON) message(ledger wire.Hash) ([]byte, error) {
	t, err := hash(p.T)
	if err != nil {
		return nil, err
	}
	var adds []wire.Add
	for _, a := range p.Adds {
		iid, err := hash(a.IID)
		if err != nil {
			return nil, err
		}
		adds = append(adds, wire.Add{Slot: a.Slot, Incarnation: iid, JoinPosition: a.JoinPosition, Released: a.Released})
	}
	var removes []wire.Remove
	for _, r := range p.Removes {
		iid, err := hash(r.IID)
		if err != nil {
			return nil, err
		}
		removes = append(removes, wire.Remove{Slot: r.Slot, Incarnation: iid, Reason: r.Reason, Position: r.Position})
	}
	m := wire.ApproveMessage(ledger, t, p.Epoch, adds, removes)
	if given, err := base64.StdEncoding.DecodeString(p.Message); err != nil || len(given) > 0 && !bytes.Equal(given, m) {
		return nil, errors.New("what the node wants to be signed is not what it shows; nothing is signed")
	}
	return m, nil
}

func hash(s string) (h wire.Hash, err error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(h) {
		return h, fmt.Errorf("%.80q: wanted 64 hexadecimal digits", s)
	}
	return wire.Hash(raw), nil
}

// removalReasons are the reasons of section 4 of the protocol.
var removalReasons = map[uint8]string{
	wire.RemoveReplaced: "a newer run of the slot takes its place", wire.RemoveClone: "it was cloned", wire.RemoveExpired: "its evidence is too old",
	wire.RemoveAlarm: "it raised an alarm", wire.RemoveByAdmins: "the administrators want it", wire.RemovePolicy: "the policy does not accept it",
}

func (p *proposalJSON) show(w io.Writer) {
	fmt.Fprintf(w, "epoch\t%d\n", p.Epoch)
	for _, a := range p.Adds {
		fmt.Fprintf(w, "adds\tslot %d\t%s\n", a.Slot, a.IID)
	}
	for _, r := range p.Removes {
		fmt.Fprintf(w, "removes\tslot %d\t%s\t%s\n", r.Slot, r.IID, or(removalReasons[r.Reason]))
	}
	if p.Void {
		fmt.Fprintln(w, "new keys\tmost executors could not open those of the epoch in force, which its COMMIT has sealed wrongly; nothing was committed in it")
	}
	fmt.Fprintf(w, "approvals\t%d of %d\n", p.Have, p.Need)
}

func newLedgerAdminProposalCommand() *cobra.Command {
	var o adminFlags
	cmd := &cobra.Command{
		Use:   "proposal --genesis FILE --node URL --key FILE",
		Short: "Show the change of members that waits for administrators",
		Long: `Show the change of members that a node would make and that needs administrators: the
first members of a ledger, removals that administrators asked for, executors that a
vault lets back in, and new keys after a member has sealed those in force wrongly. Each node proposes by itself; ask the one that you approve at.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.ready(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			p, err := r.proposal(cmd)
			if err != nil {
				return fmt.Errorf("%s: %w", verb(cmd), err)
			}
			return o.print(cmd, p, p.show)
		},
	}
	o.register(cmd.Flags(), false)
	o.flag(cmd)
	return cmd
}

// proposal asks the node what it proposes.
func (r *ready) proposal(cmd *cobra.Command) (*proposalJSON, error) {
	var p proposalJSON
	if err := r.caller.call(cmd.Context(), http.MethodGet, "/api/v1/proposal", nil, &p); err != nil {
		return nil, err
	}
	if len(p.Adds)+len(p.Removes) == 0 && !p.Void {
		return nil, errNoProposal
	}
	return &p, nil
}

// awaitProposal waits a little for the node to make up its mind.
func (r *ready) awaitProposal(cmd *cobra.Command) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := r.proposal(cmd)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func newLedgerAdminApproveCommand() *cobra.Command {
	var o adminFlags
	cmd := &cobra.Command{
		Use:   "approve --genesis FILE --node URL --key FILE",
		Short: "Approve the change of members that a node proposes",
		Long: `Approve the change of members that a node proposes, with one or more administrators'
keys, and show it. What is signed is computed here from what is shown. That the programs
of new members are those of the policy, every member checks for itself: an approval says
only who may take part now.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.ready(cmd)
			if err != nil {
				return err
			}
			defer r.close()
			return r.approve(cmd, &o)
		},
	}
	o.register(cmd.Flags(), true)
	o.flag(cmd)
	return cmd
}

// approve signs what the node proposes with all keys.
func (r *ready) approve(cmd *cobra.Command, o *adminFlags) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", verb(cmd), err) }
	p, err := r.proposal(cmd)
	if err != nil {
		return fail(err)
	}
	message, err := p.message(r.id)
	if err != nil {
		return fail(err)
	}
	policy, err := r.newestPolicy(cmd)
	if err != nil {
		return fail(err)
	}
	type approval struct {
		Index     uint8  `json:"index"`
		Signature string `json:"signature"`
	}
	var list []approval
	for _, k := range r.keys.keys {
		index, err := adminIndex(policy, k.private)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", k.file, err))
		}
		list = append(list, approval{index, base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, message))})
	}
	if err := r.caller.call(cmd.Context(), http.MethodPost, "/api/v1/approvals", map[string]any{"approvals": list}, nil); err != nil {
		return fail(err)
	}
	p.Have = min(p.Need, p.Have+len(list))
	return o.print(cmd, p, p.show)
}
