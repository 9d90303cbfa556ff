package wire

// clientKey reads a scheme and a key of its length.
func (r *reader) clientKey() (scheme uint8, key []byte) {
	scheme = r.oneOf("scheme", SchemeNone, SchemeEd25519, SchemeP256)
	key = r.lv(33, "key")
	if n := keySize(scheme); r.err == nil && len(key) != n {
		r.fail("key: %d bytes, wanted %d with scheme %d", len(key), n, scheme)
	}
	return scheme, key
}

// keySize is the length of a client's key in bytes.
func keySize(scheme uint8) int {
	switch scheme {
	case SchemeEd25519:
		return 32
	case SchemeP256:
		return 33
	}
	return 20
}

// Encode writes the command.
func (c Command) Encode() []byte {
	var w writer
	w.u8(KindCommand)
	w.hash(c.Ledger)
	w.text(c.Application)
	w.u8(c.Scheme)
	w.lv(c.Key)
	w.u64(c.Nonce)
	w.u64(c.ExpiresAt)
	w.text(c.Name)
	w.lv(c.Arguments)
	return w.b
}

// ParseCommand reads a command.
func ParseCommand(b []byte) (Command, error) {
	return parse("command", b, MaxSigned, func(r *reader) (c Command) {
		r.oneOf("kind", KindCommand)
		c.Ledger = r.hash("ledger")
		c.Application = r.text(MaxName, "application")
		c.Scheme, c.Key = r.clientKey()
		c.Nonce = r.u64("nonce")
		c.ExpiresAt = r.u64("expires_at")
		c.Name = r.text(MaxName, "name")
		c.Arguments = r.lv(MaxArguments, "arguments")
		return c
	})
}

// Encode writes the query.
func (q Query) Encode() []byte {
	var w writer
	w.u8(q.Kind)
	w.hash(q.Ledger)
	w.text(q.Application)
	w.u8(q.Scheme)
	w.lv(q.Key)
	w.raw(q.ID[:])
	w.u64(q.NotAfter)
	w.text(q.Name)
	w.lv(q.Arguments)
	return w.b
}

// ParseQuery reads a query.
func ParseQuery(b []byte) (Query, error) {
	return parse("query", b, MaxSigned, func(r *reader) (q Query) {
		q.Kind = r.oneOf("kind", KindQuery, KindCounter, KindRegister, KindOutcome)
		q.Ledger = r.hash("ledger")
		q.Application = r.text(MaxName, "application")
		q.Scheme, q.Key = r.clientKey()
		copy(q.ID[:], r.take(16, "qid"))
		q.NotAfter = r.u64("not_after")
		q.Name = r.text(MaxName, "name")
		q.Arguments = r.lv(MaxArguments, "arguments")
		return q
	})
}

// Encode writes the signed command or query.
func (s Signed) Encode() []byte {
	w := writer{make([]byte, 0, 8+len(s.Body)+len(s.Signature))}
	w.lv(s.Body)
	w.lv(s.Signature)
	return w.b
}

// ParseSigned reads a signed command or query of at most MaxSigned bytes; what it holds is for
// [Signed.VerifyCommand] and [Signed.VerifyQuery].
func ParseSigned(b []byte) (Signed, error) {
	return parse("signed command or query", b, MaxSigned, func(r *reader) Signed {
		return Signed{Body: r.lv(MaxSigned, "body"), Signature: r.lv(64, "signature")}
	})
}

func (w *writer) outcome(o Outcome) {
	w.u16(o.Code)
	w.text(o.Message)
	w.lv(o.Result)
}

func (r *reader) outcome() Outcome {
	return Outcome{Code: r.u16("code"), Message: r.text(MaxMessage, "message"), Result: r.lv(MaxResult, "result")}
}

// Encode writes the outcome.
func (o Outcome) Encode() []byte {
	var w writer
	w.outcome(o)
	return w.b
}

// ParseOutcome reads an outcome.
func ParseOutcome(b []byte) (Outcome, error) {
	return parse("outcome", b, MaxMessage+MaxResult+10, (*reader).outcome)
}
