package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/ledger/simhost"
	"hitoku.dev/internal/ledger/wire"
)

type ledgerPolicyChange struct {
	adminFlags
	addPrograms     []string
	addMeasurements []string
	signer          string
	minSVN          uint16
	drop            []string
	margin          uint64
	minEvaluation   uint32
	edit            policyEdit
	wait            time.Duration
}

func newLedgerAdminPolicyCommand() *cobra.Command {
	var o ledgerPolicyChange
	cmd := &cobra.Command{
		Use:   "policy --genesis FILE --node URL --key FILE [changes]",
		Short: "Show the policy, or put a new one into force: who may be a node, and who decides it",
		Long: `Show the newest policy. With changes: make the next one from it, sign it with the given
keys, of which there must be as many as the present policy wants, and hand it to a node.
The command waits until the log has taken it, and fails when it has not. It is in force
after the ledger's policy delay, in positions of the log, so that clients who do not
like it can leave.

To upgrade the nodes' program: --add-program NEW, wait until the policy is in force,
restart the nodes one by one with the new program, then --drop-measurement OLD.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.register(cmd.Flags(), true)
	f := cmd.Flags()
	f.StringArrayVar(&o.addPrograms, "add-program", nil, "`file` of a program that may be a node under the simulated TEE; may be repeated")
	f.StringArrayVar(&o.addMeasurements, "add-measurement", nil, "measurement in `hex` of a program that may be a node; may be repeated")
	f.StringVar(&o.signer, "signer", "", "signer (MRSIGNER) in `hex` of the added programs (default: that of the first program in the policy)")
	f.Uint16Var(&o.minSVN, "min-svn", 0, "lowest security `version` of the added programs")
	f.StringArrayVar(&o.drop, "drop-measurement", nil, "measurement in `hex` of a program that may not be a node any more; may be repeated")
	f.Uint32Var(&o.minEvaluation, "min-tcb-evaluation", 0, "lowest evaluation `number` of the maker's collateral (it only rises)")
	f.Uint64Var(&o.margin, "margin", 64, "`positions` that may pass until the log has the policy, beyond the policy delay")
	f.DurationVar(&o.wait, "wait", time.Minute, "how `long` to wait until the log has taken the policy")
	o.edit.register(f)
	o.flag(cmd)
	return cmd
}

func (o *ledgerPolicyChange) run(cmd *cobra.Command) error {
	for _, m := range slices.Concat(o.addMeasurements, o.drop) {
		if raw, err := hex.DecodeString(m); err != nil || len(raw) < 32 || len(raw) > 64 {
			return usageError{fmt.Errorf("ledger admin policy: measurement %q: wanted 64 to 128 hexadecimal digits", m)}
		}
	}
	if _, err := hex.DecodeString(o.signer); err != nil {
		return usageError{fmt.Errorf("ledger admin policy: --signer: %w", err)}
	}
	if err := o.edit.check(); err != nil {
		return usageError{fmt.Errorf("ledger admin policy: %w", err)}
	}
	r, err := o.ready(cmd)
	if err != nil {
		return err
	}
	defer r.close()
	if err := o.change(cmd, r); err != nil {
		return fmt.Errorf("ledger admin policy: %w", err)
	}
	return nil
}

func (o *ledgerPolicyChange) change(cmd *cobra.Command, r *ready) error {
	old, err := r.newestPolicy(cmd)
	if err != nil {
		return err
	}
	if len(o.addPrograms)+len(o.addMeasurements)+len(o.drop) == 0 && o.minEvaluation == 0 && !o.edit.any() {
		return o.tell(cmd, old)
	}
	position, err := r.position(cmd)
	if err != nil {
		return err
	}
	next, err := o.next(old, r.id)
	if err != nil {
		return err
	}
	next.ActiveFrom = position + r.genesis.PolicyDelay + o.margin
	signatures := r.keys.sign(old, next.Message())
	if err := wire.VerifyAdmins(old, next.Message(), signatures); err != nil {
		return fmt.Errorf("%w; give more administrators' keys with --key", err)
	}
	update := wire.PolicyUpdate{Policy: next.Encode(), Signatures: signatures}
	if err := r.caller.call(cmd.Context(), http.MethodPost, "/api/v1/policy", map[string]string{"update": base64.StdEncoding.EncodeToString(update.Encode())}, nil); err != nil {
		return err
	}
	if err := o.await(cmd, r, next.Version); err != nil {
		return err
	}
	return o.tell(cmd, next)
}

// await waits until the node knows what became of a policy.
func (o *ledgerPolicyChange) await(cmd *cobra.Command, r *ready, version uint64) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), o.wait)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var p struct {
			Last *struct {
				Version uint64 `json:"version"`
				Status  string `json:"status"`
				Reason  string `json:"reason"`
			} `json:"last"`
		}
		if err := r.caller.call(ctx, http.MethodGet, "/api/v1/policies", nil, &p); err != nil {
			return fmt.Errorf("policy %d was handed over; what became of it is not known: %w", version, err)
		}
		switch {
		case p.Last == nil || p.Last.Version != version:
			return fmt.Errorf("the node does not know of policy %d any more: it was started again; hand it over again", version)
		case p.Last.Status == "taken":
			return nil
		case p.Last.Status == "refused":
			return fmt.Errorf("the log has not taken policy %d: %s", version, p.Last.Reason)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the log has not taken policy %d after %s; it may still: look with `hitoku ledger admin policy`", version, o.wait)
		case <-tick.C:
		}
	}
}

// next is the policy after a policy, with the changes.
func (o *ledgerPolicyChange) next(old wire.Policy, ledger wire.Hash) (wire.Policy, error) {
	p := old
	p.Ledger, p.Version, p.Previous = ledger, old.Version+1, old.Hash()
	p.Programs, p.TCBStatuses, p.Roots = slices.Clone(old.Programs), slices.Clone(old.TCBStatuses), slices.Clone(old.Roots)
	p.Admins, p.Slots = slices.Clone(old.Admins), slices.Clone(old.Slots)
	signer, err := hex.DecodeString(o.signer)
	if err != nil {
		return p, err
	}
	if o.signer == "" && len(old.Programs) > 0 {
		signer = old.Programs[0].Signer
	}
	add := func(m []byte) {
		p.Programs = append(p.Programs, wire.Program{Measurement: m, Signer: signer, MinSVN: o.minSVN})
	}
	for _, file := range o.addPrograms {
		m, err := simhost.Measurement(file)
		if err != nil {
			return p, err
		}
		add(m[:])
	}
	for _, text := range o.addMeasurements {
		m, err := hex.DecodeString(text)
		if err != nil {
			return p, err
		}
		add(m)
	}
	for _, text := range o.drop {
		before := len(p.Programs)
		p.Programs = slices.DeleteFunc(p.Programs, func(x wire.Program) bool { return hex.EncodeToString(x.Measurement) == text })
		if len(p.Programs) == before {
			return p, fmt.Errorf("--drop-measurement %s: it is not in the policy", text)
		}
	}
	if len(p.Programs) == 0 {
		return p, errors.New("no program would be left that may be a node")
	}
	if o.minEvaluation != 0 && o.minEvaluation < old.MinEvaluation {
		return p, fmt.Errorf("--min-tcb-evaluation %d: it is %d already, and only rises", o.minEvaluation, old.MinEvaluation)
	}
	p.MinEvaluation = max(p.MinEvaluation, o.minEvaluation)
	if err := o.edit.apply(&p); err != nil {
		return p, err
	}
	if _, err := wire.ParsePolicy(p.Encode()); err != nil { // a count above its limit, or a key that is none
		return p, err
	}
	return p, nil
}

func (o *ledgerPolicyChange) tell(cmd *cobra.Command, p wire.Policy) error {
	type program struct {
		Measurement string `json:"measurement"`
		Signer      string `json:"signer"`
		MinSVN      uint16 `json:"min_svn"`
	}
	type slot struct {
		Slot     uint16 `json:"slot"`
		Kind     string `json:"kind"`
		Operator string `json:"operator"`
	}
	v := struct {
		Version       uint64    `json:"version"`
		ActiveFrom    uint64    `json:"active_from"`
		Programs      []program `json:"programs"`
		TCBStatuses   []string  `json:"tcb_statuses"`
		MinEvaluation uint32    `json:"min_tcb_evaluation"`
		EvidenceAge   uint64    `json:"evidence_age"`
		Threshold     uint8     `json:"threshold"`
		Admins        int       `json:"administrators"`
		Slots         int       `json:"slots"`
		Simulated     bool      `json:"simulated"`
		Debug         bool      `json:"debug,omitempty"`
		Roots         []string  `json:"roots"`
		AdminKeys     []string  `json:"administrator_keys"`
		SlotList      []slot    `json:"slot_list"`
	}{
		Version: p.Version, ActiveFrom: p.ActiveFrom, TCBStatuses: p.TCBStatuses, MinEvaluation: p.MinEvaluation, EvidenceAge: p.EvidenceAge,
		Threshold: p.Threshold, Admins: len(p.Admins), Slots: len(p.Slots), Simulated: p.Flags&wire.PolicySimulated != 0, Debug: p.Flags&wire.PolicyDebug != 0,
	}
	for _, h := range p.Roots {
		v.Roots = append(v.Roots, hex.EncodeToString(h[:]))
	}
	for _, k := range p.Admins {
		v.AdminKeys = append(v.AdminKeys, hex.EncodeToString(k[:]))
	}
	for _, s := range p.Slots {
		v.SlotList = append(v.SlotList, slot{s.Slot, map[uint8]string{wire.KindExecutor: "executor", wire.KindVault: "vault"}[s.Kind], hex.EncodeToString(s.Operator[:])})
	}
	for _, x := range p.Programs {
		v.Programs = append(v.Programs, program{hex.EncodeToString(x.Measurement), hex.EncodeToString(x.Signer), x.MinSVN})
	}
	return o.print(cmd, v, func(w io.Writer) {
		fmt.Fprintf(w, "policy\t%d, in force from position %d\n", v.Version, v.ActiveFrom)
		for _, x := range v.Programs {
			signer := "any signer"
			if x.Signer != "" {
				signer = "signer " + x.Signer
			}
			fmt.Fprintf(w, "program\t%s, %s, security version %d or higher\n", x.Measurement, signer, x.MinSVN)
		}
		fmt.Fprintf(w, "TCB\t%s, evaluation number %d or higher\nevidence\tat most %d seconds old\nadministrators\t%d, of whom %d must sign\nslots\t%d\n",
			list(v.TCBStatuses), v.MinEvaluation, v.EvidenceAge, v.Admins, v.Threshold, v.Slots)
		for _, s := range v.SlotList {
			fmt.Fprintf(w, "slot %d\t%s, operator %s\n", s.Slot, s.Kind, s.Operator)
		}
		for _, k := range v.AdminKeys {
			fmt.Fprintf(w, "administrator\t%s\n", k)
		}
		for _, h := range v.Roots {
			fmt.Fprintf(w, "root\t%s\n", h)
		}
		if v.Debug {
			fmt.Fprintln(w, "debug\tprograms that can be debugged are accepted: nothing in them is secret")
		}
		if v.Simulated {
			fmt.Fprintln(w, "TEE\tsimulated: it protects nothing from the owner of the machines")
		}
	})
}

// newestPolicy follows the policies in the node's control records from the genesis on.
// Each must link to the one before and carry its administrators' signatures.
func (r *ready) newestPolicy(cmd *cobra.Command) (wire.Policy, error) {
	var answer struct {
		Records []struct {
			Record []byte `json:"record"`
		} `json:"records"`
	}
	if err := r.caller.call(cmd.Context(), http.MethodGet, "/api/v1/control", nil, &answer); err != nil {
		return wire.Policy{}, err
	}
	newest := r.policy
	for _, c := range answer.Records {
		record, err := wire.ParseRecord(c.Record)
		if err != nil || record.Header.Type != wire.TypePolicy {
			continue
		}
		update, err := wire.ParsePolicyUpdate(record.Body)
		if err != nil {
			return newest, err
		}
		p, err := wire.ParsePolicy(update.Policy)
		if err != nil {
			return newest, err
		}
		if p.Version != newest.Version+1 || p.Previous != newest.Hash() || p.Ledger != r.id {
			return newest, fmt.Errorf("the node's control records are not this ledger's: policy %d does not follow %d", p.Version, newest.Version)
		}
		if err := wire.VerifyAdmins(newest, p.Message(), update.Signatures); err != nil {
			return newest, fmt.Errorf("policy %d in the node's control records: %w", p.Version, err)
		}
		newest = p
	}
	return newest, nil
}

// position is how far the node has read the log.
func (r *ready) position(cmd *cobra.Command) (uint64, error) {
	var raw json.RawMessage
	if err := r.caller.call(cmd.Context(), http.MethodGet, "/api/v1/health", nil, &raw); err != nil {
		return 0, err
	}
	var health struct {
		Position *uint64 `json:"position"`
	}
	if err := json.Unmarshal(raw, &health); err != nil || health.Position == nil {
		return 0, errors.New("the node does not say how far it has read the log")
	}
	return *health.Position, nil
}
