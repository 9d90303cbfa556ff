package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/wire"
)

// policyEdit are the changes of a policy that speak about slots, administrators, roots and evidence.
type policyEdit struct {
	addSlots, operators     []string
	dropSlots               []uint
	addAdmins, dropAdmins   []string
	threshold               uint8
	addRoots, dropRoots     []string
	addStatus, dropStatus   []string
	evidenceAge             time.Duration
	allowDebug, forbidDebug bool
}

func (o *policyEdit) register(f *pflag.FlagSet) {
	f.StringArrayVar(&o.addSlots, "add-slot", nil, "new slot, as `NUMBER=executor:KEY` or NUMBER=vault:KEY with a file of the operator's public or private key; may be repeated")
	f.UintSliceVar(&o.dropSlots, "drop-slot", nil, "`number` of a slot that is closed; its member is removed; may be repeated")
	f.StringArrayVar(&o.operators, "operator", nil, "another operator of a slot, as `NUMBER=KEY` with a key file; may be repeated")
	f.StringArrayVar(&o.addAdmins, "add-admin", nil, "`file` with the key of a further administrator; may be repeated")
	f.StringArrayVar(&o.dropAdmins, "drop-admin", nil, "`file` with the key, or the public key in hex, of who is administrator no more; may be repeated")
	f.Uint8Var(&o.threshold, "threshold", 0, "how many `administrators` must sign from then on")
	f.StringArrayVar(&o.addRoots, "add-root", nil, "PEM `file` of a further root of a TEE maker (a simulated one, where the policy's are); may be repeated")
	f.StringArrayVar(&o.dropRoots, "drop-root", nil, "PEM `file`, or the hash in hex, of a root that is not believed any more; may be repeated")
	f.StringArrayVar(&o.addStatus, "add-tcb-status", nil, "TCB `status` that is accepted too; may be repeated")
	f.StringArrayVar(&o.dropStatus, "drop-tcb-status", nil, "TCB `status` that is not accepted any more; may be repeated")
	f.DurationVar(&o.evidenceAge, "evidence-age", 0, "after what `time` a node's evidence must be renewed")
	f.BoolVar(&o.allowDebug, "allow-debug", false, "accept programs that can be debugged from then on: nothing in them is secret")
	f.BoolVar(&o.forbidDebug, "forbid-debug", false, "accept no program that can be debugged from then on")
}

func (o *policyEdit) any() bool {
	return len(o.addSlots)+len(o.operators)+len(o.dropSlots)+len(o.addAdmins)+len(o.dropAdmins)+len(o.addRoots)+len(o.dropRoots)+len(o.addStatus)+len(o.dropStatus) > 0 ||
		o.threshold != 0 || o.evidenceAge != 0 || o.allowDebug || o.forbidDebug
}

func (o *policyEdit) check() error {
	for _, text := range o.addSlots {
		if _, _, _, err := parseNewSlot(text); err != nil {
			return err
		}
	}
	for _, text := range o.operators {
		if _, _, err := parseSlotKey("--operator", text); err != nil {
			return err
		}
	}
	for _, n := range o.dropSlots {
		if n > 1<<16-1 {
			return fmt.Errorf("--drop-slot %d: wanted at most 65535", n)
		}
	}
	switch {
	case o.evidenceAge != 0 && (o.evidenceAge < time.Minute || o.evidenceAge%time.Second != 0):
		return fmt.Errorf("--evidence-age %s: wanted whole seconds, at least a minute", o.evidenceAge)
	case o.allowDebug && o.forbidDebug:
		return errors.New("--allow-debug and --forbid-debug exclude each other")
	}
	return nil
}

// parseSlotKey reads NUMBER=FILE.
func parseSlotKey(flag, text string) (slot uint16, file string, err error) {
	number, file, ok := strings.Cut(text, "=")
	n, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil || file == "" {
		return 0, "", fmt.Errorf("%s %q: wanted NUMBER=KEY", flag, text)
	}
	return uint16(n), file, nil
}

// parseNewSlot reads NUMBER=KIND:FILE.
func parseNewSlot(text string) (slot uint16, kind uint8, file string, err error) {
	slot, rest, err := parseSlotKey("--add-slot", text)
	word, file, ok := strings.Cut(rest, ":")
	kind = map[string]uint8{"executor": wire.KindExecutor, "vault": wire.KindVault}[word]
	if err != nil || !ok || kind == 0 || file == "" {
		return 0, 0, "", fmt.Errorf("--add-slot %q: wanted NUMBER=executor:KEY or NUMBER=vault:KEY", text)
	}
	return slot, kind, file, nil
}

// apply makes the changes in a policy whose lists are its own.
func (o *policyEdit) apply(p *wire.Policy) error {
	for _, step := range []func(*wire.Policy) error{o.slots, o.admins, o.roots, o.statuses} {
		if err := step(p); err != nil {
			return err
		}
	}
	if o.evidenceAge != 0 {
		p.EvidenceAge = uint64(o.evidenceAge / time.Second)
	}
	if o.allowDebug {
		p.Flags |= wire.PolicyDebug
	}
	if o.forbidDebug {
		p.Flags &^= wire.PolicyDebug
	}
	return nil
}

func (o *policyEdit) slots(p *wire.Policy) error {
	at := func(n uint16) int { return slices.IndexFunc(p.Slots, func(s wire.Slot) bool { return s.Slot == n }) }
	for _, n := range o.dropSlots {
		i := at(uint16(n))
		if i < 0 {
			return fmt.Errorf("--drop-slot %d: it is not in the policy", n)
		}
		p.Slots = slices.Delete(p.Slots, i, i+1)
	}
	for _, text := range o.operators {
		n, file, err := parseSlotKey("--operator", text)
		if err != nil {
			return err
		}
		i := at(n)
		if i < 0 {
			return fmt.Errorf("--operator %s: slot %d is not in the policy", text, n)
		}
		if p.Slots[i].Operator, _, err = keyfile.Read(file); err != nil {
			return err
		}
	}
	for _, text := range o.addSlots {
		n, kind, file, err := parseNewSlot(text)
		if err != nil {
			return err
		}
		if at(n) >= 0 {
			return fmt.Errorf("--add-slot %s: slot %d is in the policy already", text, n)
		}
		key, _, err := keyfile.Read(file)
		if err != nil {
			return err
		}
		p.Slots = append(p.Slots, wire.Slot{Slot: n, Kind: kind, Operator: key})
	}
	slices.SortFunc(p.Slots, func(a, b wire.Slot) int { return int(a.Slot) - int(b.Slot) })
	if !slices.ContainsFunc(p.Slots, func(s wire.Slot) bool { return s.Kind == wire.KindExecutor }) {
		return errors.New("no executor's slot would be left")
	}
	return nil
}

func (o *policyEdit) admins(p *wire.Policy) error {
	for _, text := range o.dropAdmins {
		key, err := publicKey(text)
		if err != nil {
			return fmt.Errorf("--drop-admin: %w", err)
		}
		i := slices.Index(p.Admins, key)
		if i < 0 {
			return fmt.Errorf("--drop-admin %s: it is no administrator's key", text)
		}
		p.Admins = slices.Delete(p.Admins, i, i+1)
	}
	for _, file := range o.addAdmins {
		key, _, err := keyfile.Read(file)
		if err != nil {
			return err
		}
		if slices.Contains(p.Admins, key) {
			return fmt.Errorf("--add-admin %s: it is an administrator's key already", file)
		}
		p.Admins = append(p.Admins, key)
	}
	slices.SortFunc(p.Admins, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	if o.threshold != 0 {
		p.Threshold = o.threshold
	}
	if int(p.Threshold) > len(p.Admins) {
		return fmt.Errorf("%d administrators would be left, of whom %d must sign; lower --threshold", len(p.Admins), p.Threshold)
	}
	return nil
}

// publicKey is a public key in hex, or in a file.
func publicKey(text string) (key [32]byte, err error) {
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == len(key) {
		return [32]byte(raw), nil
	}
	key, _, err = keyfile.Read(text)
	return key, err
}

func (o *policyEdit) roots(p *wire.Policy) error {
	for _, text := range o.dropRoots {
		h, err := hash(text)
		if err != nil {
			if h, err = rootHash(text); err != nil {
				return fmt.Errorf("--drop-root: %w", err)
			}
		}
		i := slices.Index(p.Roots, h)
		if i < 0 {
			return fmt.Errorf("--drop-root %s: it is not in the policy", text)
		}
		p.Roots = slices.Delete(p.Roots, i, i+1)
	}
	for _, file := range o.addRoots {
		h, err := rootHash(file)
		if err != nil {
			return err
		}
		if !slices.Contains(p.Roots, h) {
			p.Roots = append(p.Roots, h)
		}
	}
	slices.SortFunc(p.Roots, func(a, b wire.Hash) int { return bytes.Compare(a[:], b[:]) })
	if len(p.Roots) == 0 {
		return errors.New("no root would be left: no evidence could be believed")
	}
	return nil
}

func (o *policyEdit) statuses(p *wire.Policy) error {
	for _, s := range o.dropStatus {
		i := slices.Index(p.TCBStatuses, s)
		if i < 0 {
			return fmt.Errorf("--drop-tcb-status %s: it is not in the policy", s)
		}
		p.TCBStatuses = slices.Delete(p.TCBStatuses, i, i+1)
	}
	for _, s := range o.addStatus {
		if !slices.Contains(p.TCBStatuses, s) {
			p.TCBStatuses = append(p.TCBStatuses, s)
		}
	}
	if len(p.TCBStatuses) == 0 {
		return errors.New("no TCB status would be left that is accepted")
	}
	return nil
}
