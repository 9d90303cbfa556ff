package wire

const requestVersion = 1

// Encode writes what the node signs.
func (k KeyInfo) Encode() []byte {
	var w writer
	w.hash(k.Ledger)
	w.u16(k.Slot)
	w.hash(k.Incarnation)
	w.hash(k.Key)
	w.lv(k.RequestKey)
	w.u64(k.NotAfter)
	w.u64(k.Position)
	w.hash(k.Chain)
	return w.b
}

// ParseKeyInfo reads what a node signs about the key that clients seal to.
func ParseKeyInfo(b []byte) (KeyInfo, error) {
	return parse("KeyInfo", b, maxKey+256, func(r *reader) KeyInfo {
		return KeyInfo{
			Ledger:      r.hash("ledger"),
			Slot:        r.u16("slot"),
			Incarnation: r.hash("iid"),
			Key:         r.publicKey("pk"),
			RequestKey:  r.lv(maxKey, "rk"),
			NotAfter:    r.u64("not_after"),
			Position:    r.u64("i"),
			Chain:       r.hash("C_i"),
		}
	})
}

// Encode writes the request.
func (q Request) Encode() []byte {
	w := writer{make([]byte, 0, 54+len(q.Enc)+len(q.CT))}
	w.u8(requestVersion)
	w.u8(q.Kind)
	w.hash(q.KeyID)
	w.u64(q.NotAfter)
	w.u32(q.Bucket)
	w.lv(q.Enc)
	w.lv(q.CT)
	return w.b
}

// Associated is what HPKE authenticates beside the payload: kind ‖ not_after ‖ bucket.
func (q Request) Associated() []byte {
	var w writer
	w.u8(q.Kind)
	w.u64(q.NotAfter)
	w.u32(q.Bucket)
	return w.b
}

// ParseRequest reads a sealed request: the ciphertext is as long as the bucket and its tag.
func ParseRequest(b []byte) (Request, error) {
	return parse("request", b, MaxBucket+maxKey+128, func(r *reader) (q Request) {
		r.oneOf("version", requestVersion)
		q.Kind = r.oneOf("kind", RequestCommands, RequestQuery)
		q.KeyID = r.hash("rk id")
		q.NotAfter = r.u64("not_after")
		q.Bucket = r.u32("bucket")
		r.bucket("bucket", int(q.Bucket), MaxBucket)
		q.Enc = r.lv(maxKey, "enc")
		q.CT = r.lv(MaxBucket+tagSize, "ct")
		if r.err == nil && len(q.CT) != int(q.Bucket)+tagSize {
			r.fail("ct: %d bytes, wanted bucket and tag: %d", len(q.CT), int(q.Bucket)+tagSize)
		}
		return q
	})
}

// Encode writes the payload.
func (p Payload) Encode() []byte {
	var w writer
	w.u64(p.FloorPosition)
	w.hash(p.FloorChain)
	w.u8(p.Mode)
	w.u32(p.ReplyBucket)
	writeList(&w, p.Items, w.lv)
	return w.b
}

// ParsePayload reads a payload. How many items a kind of request may have is for the caller.
func ParsePayload(b []byte) (Payload, error) {
	return parse("payload", b, MaxBucket, func(r *reader) (p Payload) {
		p.FloorPosition = r.u64("floor position")
		p.FloorChain = r.hash("floor chain value")
		p.Mode = r.oneOf("mode", ModeLocal, ModeFresh)
		p.ReplyBucket = r.u32("reply_bucket")
		r.bucket("reply_bucket", int(p.ReplyBucket), MaxReply)
		p.Items = list(r, MaxBatch, 4, "items", func() []byte { return r.lv(MaxSigned, "item") })
		if r.err == nil && len(p.Items) == 0 {
			r.fail("items: none, wanted at least one")
		}
		return p
	})
}

// Encode writes the reply.
func (p Reply) Encode() []byte {
	w := writer{make([]byte, 0, 36+len(p.CT))}
	w.hash(p.Nonce)
	w.lv(p.CT)
	return w.b
}

// ParseReply reads a sealed reply: the ciphertext is as long as a bucket and its tag.
func ParseReply(b []byte) (Reply, error) {
	return parse("reply", b, MaxReply+64, func(r *reader) Reply {
		p := Reply{Nonce: r.hash("rn"), CT: r.lv(MaxReply+tagSize, "ct")}
		r.bucket("ct without its tag", len(p.CT)-tagSize, MaxReply)
		return p
	})
}

// Encode writes the reply's body.
func (b ReplyBody) Encode() []byte {
	var w writer
	w.u64(b.Position)
	w.hash(b.Chain)
	w.u64(b.Time)
	writeList(&w, b.Results, func(x Result) {
		w.u8(x.Status)
		w.outcome(x.Outcome)
		w.u64(x.Position)
		w.u32(x.Index)
		w.u32(x.Count)
		w.hash(x.Blind)
		writeList(&w, x.Proof, w.hash)
	})
	return w.b
}

// ParseReplyBody reads the inside of a reply.
func ParseReplyBody(b []byte) (ReplyBody, error) {
	return parse("reply body", b, MaxReply, func(r *reader) ReplyBody {
		return ReplyBody{
			Position: r.u64("i"), Chain: r.hash("C_i"), Time: r.u64("time"),
			Results: list(r, MaxBatch, 63, "results", func() Result { return r.result() }),
		}
	})
}

func (r *reader) result() Result {
	return Result{
		Status:   r.oneOf("status", StatusCommitted, StatusRejected, StatusAnswer, StatusRefused, StatusPending),
		Outcome:  r.outcome(),
		Position: r.u64("position"),
		Index:    r.u32("index"),
		Count:    r.u32("count"),
		Blind:    r.hash("blind"),
		Proof:    list(r, maxProof, 32, "proof", func() Hash { return r.hash("proof") }),
	}
}

// Encode writes the inside of a notification.
func (n Notice) Encode() []byte {
	var w writer
	w.u64(n.Position)
	w.u32(n.Index)
	w.text(n.Application)
	w.lv(n.Payload)
	return w.b
}

// ParseNotice reads the inside of a notification.
func ParseNotice(b []byte) (Notice, error) {
	return parse("notification", b, MaxBucket, func(r *reader) Notice {
		return Notice{Position: r.u64("position"), Index: r.u32("index"), Application: r.text(MaxName, "application"), Payload: r.lv(MaxBucket, "payload")}
	})
}

// Encode writes the notification.
func (n SealedNotice) Encode() []byte {
	var w writer
	w.lv(n.Enc)
	w.lv(n.CT)
	return w.b
}

// ParseSealedNotice reads a notification: the ciphertext is as long as a bucket and its tag.
func ParseSealedNotice(b []byte) (SealedNotice, error) {
	return parse("sealed notification", b, MaxBucket+maxKey+64, func(r *reader) SealedNotice {
		n := SealedNotice{Enc: r.lv(maxKey, "enc"), CT: r.lv(MaxBucket+tagSize, "ct")}
		r.bucket("ct without its tag", len(n.CT)-tagSize, MaxBucket)
		return n
	})
}
