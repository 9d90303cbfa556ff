package wire

import (
	"bytes"
	"cmp"
	"slices"
)

// Encode writes the policy.
func (p Policy) Encode() []byte {
	var w writer
	w.hash(p.Ledger)
	w.u64(p.Version)
	w.hash(p.Previous)
	w.u64(p.ActiveFrom)
	writeList(&w, p.Programs, func(x Program) { w.lv(x.Measurement); w.lv(x.Signer); w.u16(x.MinSVN) })
	writeList(&w, p.TCBStatuses, w.text)
	w.u32(p.MinEvaluation)
	writeList(&w, p.Roots, w.hash)
	w.u8(p.Flags)
	w.u64(p.EvidenceAge)
	w.u8(p.Threshold)
	writeList(&w, p.Admins, w.hash)
	writeList(&w, p.Slots, func(s Slot) { w.u16(s.Slot); w.u8(s.Kind); w.hash(s.Operator) })
	return w.b
}

// ParsePolicy reads a policy. The threshold is from 1 to the number of administrators.
func ParsePolicy(b []byte) (Policy, error) {
	hashes := func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }
	return parse("policy", b, MaxGenesis, func(r *reader) (p Policy) {
		p.Ledger = r.hash("ledger")
		p.Version = r.u64("version")
		p.Previous = r.hash("previous policy")
		p.ActiveFrom = r.u64("active_from")
		p.Programs = list(r, MaxPrograms, 42, "programs", func() Program { return r.program() })
		p.TCBStatuses = list(r, MaxTCBStatuses, 4, "TCB statuses", func() string { return r.text(MaxName, "TCB status") })
		p.MinEvaluation = r.u32("minimum evaluation number")
		p.Roots = list(r, MaxRoots, 32, "roots", func() Hash { return r.hash("root") })
		ascending(r, "roots", p.Roots, hashes)
		p.Flags = r.flags("flags", PolicySimulated|PolicyDebug)
		p.EvidenceAge = r.u64("evidence_age")
		p.Threshold = r.u8("threshold")
		p.Admins = list(r, MaxAdmins, 32, "administrators", func() [32]byte { return r.publicKey("administrator") })
		ascending(r, "administrators", p.Admins, hashes)
		if r.err == nil && (p.Threshold == 0 || int(p.Threshold) > len(p.Admins)) {
			r.fail("threshold: %d of %d administrators, wanted 1 to %[2]d", p.Threshold, len(p.Admins))
		}
		p.Slots = list(r, MaxSlots, 35, "slots", func() Slot {
			return Slot{Slot: r.u16("slot"), Kind: r.oneOf("kind", KindExecutor, KindVault), Operator: r.publicKey("operator")}
		})
		ascending(r, "slots", p.Slots, func(a, b Slot) int { return cmp.Compare(a.Slot, b.Slot) })
		return p
	})
}

func (r *reader) program() (p Program) {
	p.Measurement = r.lv(64, "measurement")
	if r.err == nil && len(p.Measurement) < 32 {
		r.fail("measurement: %d bytes, wanted 32 to 64", len(p.Measurement))
	}
	p.Signer = r.lv(64, "signer")
	p.MinSVN = r.u16("minimum SVN")
	return p
}

// publicKey reads an Ed25519 public key and refuses those under which anybody can sign.
func (r *reader) publicKey(field string) (k [32]byte) {
	k = r.hash(field)
	if r.err == nil && !goodPoint(k) {
		r.fail("%s: %x is not a proper Ed25519 key", field, k)
	}
	return k
}

// Slot returns the line of a slot.
func (p Policy) Slot(number uint16) (Slot, bool) {
	i := slices.IndexFunc(p.Slots, func(s Slot) bool { return s.Slot == number })
	if i < 0 {
		return Slot{}, false
	}
	return p.Slots[i], true
}

// Encode writes the body of a POLICY record.
func (u PolicyUpdate) Encode() []byte {
	var w writer
	w.lv(u.Policy)
	w.adminSignatures(u.Signatures)
	return w.b
}

// ParsePolicyUpdate reads the body of a POLICY record.
func ParsePolicyUpdate(b []byte) (PolicyUpdate, error) {
	return parse("POLICY", b, MaxRecord, func(r *reader) PolicyUpdate {
		return PolicyUpdate{Policy: r.lv(MaxRecord, "policy"), Signatures: r.adminSignatures("signatures")}
	})
}
