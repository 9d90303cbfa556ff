package wire

import "cmp"

func (w *writer) adds(list []Add) {
	writeList(w, list, func(a Add) { w.u16(a.Slot); w.hash(a.Incarnation); w.u64(a.JoinPosition); w.u64(a.Released) })
}

func (w *writer) removes(list []Remove) {
	writeList(w, list, func(x Remove) { w.u16(x.Slot); w.hash(x.Incarnation); w.u8(x.Reason); w.u64(x.Position) })
}

// Encode writes the core of a COMMIT.
func (c Core) Encode() []byte {
	var w writer
	w.u64(c.Epoch)
	w.hash(c.Previous)
	w.u64(c.PolicyVersion)
	w.u64(c.Time)
	w.adds(c.Adds)
	w.removes(c.Removes)
	writeList(&w, c.Keys, func(k MemberKey) { w.u16(k.Slot); w.u64(k.Position) })
	return w.b
}

// ParseCore reads the core of a COMMIT.
func ParseCore(b []byte) (Core, error) {
	return parse("core of a COMMIT", b, MaxRecord, func(r *reader) (c Core) {
		c.Epoch = r.u64("epoch")
		c.Previous = r.hash("T")
		c.PolicyVersion = r.u64("policy version")
		c.Time = r.u64("t")
		c.Adds = list(r, MaxSlots, 50, "adds", func() Add {
			return Add{Slot: r.u16("slot"), Incarnation: r.hash("iid"), JoinPosition: r.u64("JOIN position"), Released: r.u64("released")}
		})
		ascending(r, "adds", c.Adds, func(a, b Add) int { return cmp.Compare(a.Slot, b.Slot) })
		c.Removes = list(r, MaxSlots, 43, "removes", func() Remove {
			return Remove{Slot: r.u16("slot"), Incarnation: r.hash("iid"), Reason: r.oneOf("reason", 1, 2, 3, 4, 5, 6), Position: r.u64("position")}
		})
		ascending(r, "removes", c.Removes, func(a, b Remove) int { return cmp.Compare(a.Slot, b.Slot) })
		c.Keys = list(r, MaxSlots, 10, "keys", func() MemberKey { return MemberKey{Slot: r.u16("slot"), Position: r.u64("position")} })
		ascending(r, "keys", c.Keys, func(a, b MemberKey) int { return cmp.Compare(a.Slot, b.Slot) })
		return c
	})
}

// Encode writes the body of a COMMIT.
func (c Commit) Encode() []byte {
	var w writer
	w.lv(c.CoreBytes)
	w.adminSignatures(c.Approvals)
	w.hash(c.Commitment)
	writeList(&w, c.Wraps, func(x Wrap) { w.u16(x.Slot); w.lv(x.Enc); w.lv(x.CT) })
	return w.b
}

// ParseCommit reads the body of a COMMIT; its core is for [ParseCore].
func ParseCommit(b []byte) (Commit, error) {
	return parse("COMMIT", b, MaxRecord, func(r *reader) (c Commit) {
		c.CoreBytes = r.lv(MaxRecord, "core")
		c.Approvals = r.adminSignatures("approvals")
		c.Commitment = r.hash("cm")
		c.Wraps = list(r, MaxSlots, 10, "wraps", func() Wrap {
			return Wrap{Slot: r.u16("slot"), Enc: r.lv(maxKey, "enc"), CT: r.lv(maxWrap, "ct")}
		})
		ascending(r, "wraps", c.Wraps, func(a, b Wrap) int { return cmp.Compare(a.Slot, b.Slot) })
		return c
	})
}
