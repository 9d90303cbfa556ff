package wire

func (w *writer) header(h Header) {
	w.u8(uint8(h.Type))
	w.hash(h.Ledger)
	w.u64(h.Epoch)
	w.hash(h.Incarnation)
	w.u64(h.N)
	w.hash(h.PrevOwn)
	w.u64(h.Anchor)
	w.hash(h.AnchorChain)
}

func (r *reader) header() Header {
	return Header{
		Type:        RecordType(r.oneOf("type", 1, 2, 3, 4, 5, 6, 7)),
		Ledger:      r.hash("ledger"),
		Epoch:       r.u64("epoch"),
		Incarnation: r.hash("iid"),
		N:           r.u64("n"),
		PrevOwn:     r.hash("prev_own"),
		Anchor:      r.u64("anchor"),
		AnchorChain: r.hash("C_anchor"),
	}
}

// Encode writes the header: HeaderSize bytes.
func (h Header) Encode() []byte {
	var w writer
	w.header(h)
	return w.b
}

// HeaderSize is the length of an encoded header in bytes.
const HeaderSize = 1 + 4*32 + 3*8

// ParseHeader reads a header.
func ParseHeader(b []byte) (Header, error) {
	return parse("header", b, HeaderSize, (*reader).header)
}

// Encode writes the record.
func (rec Record) Encode() []byte {
	w := writer{make([]byte, 0, HeaderSize+4+len(rec.Body)+64)}
	w.header(rec.Header)
	w.lv(rec.Body)
	w.raw(rec.Signature[:])
	return w.b
}

// ParseRecord reads a record of at most MaxRecord bytes. The body stays unread, and nothing is
// believed before Verify.
func ParseRecord(b []byte) (Record, error) {
	return parse("record", b, MaxRecord, func(r *reader) Record {
		return Record{Header: r.header(), Body: r.lv(MaxRecord, "body"), Signature: r.signature("signature")}
	})
}

// Encode writes the body of a JOIN.
func (j Join) Encode() []byte {
	var w writer
	w.u16(j.Slot)
	w.hash(j.Key)
	w.lv(j.HPKE)
	w.u64(j.PolicyVersion)
	w.u64(j.FileEpoch)
	w.lv(j.Evidence)
	w.lv(j.Binding)
	w.lv(j.Collateral)
	w.raw(j.OperatorSig[:])
	return w.b
}

// ParseJoin reads the body of a JOIN.
func ParseJoin(b []byte) (Join, error) {
	return parse("JOIN", b, MaxRecord, func(r *reader) Join {
		return Join{
			Slot:          r.u16("slot"),
			Key:           r.publicKey("pk"),
			HPKE:          r.lv(maxKey, "hpk"),
			PolicyVersion: r.u64("policy version"),
			FileEpoch:     r.u64("file_epoch"),
			Evidence:      r.lv(MaxRecord, "evidence"),
			Binding:       r.lv(MaxRecord, "binding"),
			Collateral:    r.lv(MaxRecord, "collateral"),
			OperatorSig:   r.signature("operator signature"),
		}
	})
}

// Encode writes the body of an ACK.
func (a Ack) Encode() []byte {
	var w writer
	w.u64(a.Epoch)
	w.lv(a.HPKE)
	return w.b
}

// ParseAck reads the body of an ACK.
func ParseAck(b []byte) (Ack, error) {
	return parse("ACK", b, MaxRecord, func(r *reader) Ack {
		return Ack{Epoch: r.u64("epoch"), HPKE: r.lv(maxKey, "hpk")}
	})
}

// Encode writes the body of a DATA record.
func (d Data) Encode() []byte {
	w := writer{make([]byte, 0, 36+len(d.CT))}
	w.hash(d.Salt)
	w.lv(d.CT)
	return w.b
}

// ParseData reads the body of a DATA record.
func ParseData(b []byte) (Data, error) {
	return parse("DATA", b, MaxRecord, func(r *reader) Data {
		return Data{Salt: r.hash("salt"), CT: r.lv(MaxRecord, "ct")}
	})
}

// Encode writes the body of an ALARM.
func (a Alarm) Encode() []byte {
	var w writer
	w.u64(a.Epoch)
	w.u16(a.Slot)
	return w.b
}

// ParseAlarm reads the body of an ALARM.
func ParseAlarm(b []byte) (Alarm, error) {
	return parse("ALARM", b, MaxRecord, func(r *reader) Alarm {
		return Alarm{Epoch: r.u64("epoch"), Slot: r.u16("slot")}
	})
}

func (w *writer) checkpoint(c Checkpoint) {
	w.u64(c.Position)
	w.hash(c.Chain)
	w.hash(c.Digest)
	w.hash(c.Outcomes)
	w.hash(c.Epoch)
}

func (r *reader) checkpoint() Checkpoint {
	return Checkpoint{Position: r.u64("i"), Chain: r.hash("C_i"), Digest: r.hash("D_i"), Outcomes: r.hash("Q_i"), Epoch: r.hash("T")}
}

// CheckpointSize is the length of an encoded checkpoint in bytes.
const CheckpointSize = 8 + 4*32

// Encode writes the checkpoint: CheckpointSize bytes.
func (c Checkpoint) Encode() []byte {
	var w writer
	w.checkpoint(c)
	return w.b
}

// ParseCheckpoint reads a checkpoint.
func ParseCheckpoint(b []byte) (Checkpoint, error) {
	return parse("checkpoint", b, CheckpointSize, (*reader).checkpoint)
}

// Encode writes the body of a CHECKPOINT record.
func (c SignedCheckpoint) Encode() []byte {
	var w writer
	w.checkpoint(c.Checkpoint)
	w.raw(c.Signature[:])
	return w.b
}

// ParseSignedCheckpoint reads the body of a CHECKPOINT record.
func ParseSignedCheckpoint(b []byte) (SignedCheckpoint, error) {
	return parse("CHECKPOINT", b, CheckpointSize+64, func(r *reader) SignedCheckpoint {
		return SignedCheckpoint{Checkpoint: r.checkpoint(), Signature: r.signature("signature")}
	})
}
