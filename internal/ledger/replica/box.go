package replica

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// ErrNoBox means that the genesis does not allow requests in Anonify's form, or that no
// application takes commands without a signature.
var ErrNoBox = errors.New("this ledger takes no requests in Anonify's form")

// boxReplySize is the bytes of a reply: nonce, tag and the JSON, padded.
const boxReplySize = 24 + 16 + keys.BoxReplySize

// boxState is for requests in Anonify's form.
type boxState struct {
	key *keys.BoxKey // nil: they are refused
	app string       // that they are for
}

// makeBox makes the key where the genesis allows the form. Requests name no application:
// they are for the first one of the genesis that takes commands of scheme 0.
func (r *Replica) makeBox() error {
	g := r.ctl.Genesis()
	if g.Flags&wire.GenesisCryptoBox == 0 || r.o.Machine == nil {
		return nil
	}
	for _, a := range g.Applications {
		if r.o.Machine.Admits(a.Name, wire.SchemeNone, ledger.AccountID{}).OK() {
			var err error
			r.box.app = a.Name
			r.box.key, err = keys.NewBoxKey(r.o.Random)
			return err
		}
	}
	return nil
}

// BoxKey returns the key for requests in Anonify's form, with the incarnation's signature over
// CRYPTOBOX(L, iid, key). ok is false where they are refused.
func (r *Replica) BoxKey() (key [32]byte, signature [64]byte, ok bool) {
	if r.box.key == nil {
		return key, signature, false
	}
	key = r.box.key.Public()
	ledger := r.ctl.Ledger()
	return key, [64]byte(ed25519.Sign(r.id.Key, wire.Name("CRYPTOBOX", ledger[:], r.iid[:], key[:]))), true
}

// SubmitBox takes a command in Anonify's form. The ticket is the hash of the request's three
// parts; the same ones again give the same ticket. claimed, when it is not nil, must be the
// account inside.
func (r *Replica) SubmitBox(q keys.BoxRequest, claimed *[20]byte) (id wire.Hash, ready bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.box.key == nil {
		return id, false, ErrNoBox
	}
	if !r.running() || r.exec.committed == 0 {
		return id, false, r.notRunning()
	}
	id = sha256.Sum256(slices.Concat(q.Ephemeral, q.Nonce, q.Ciphertext))
	if t := r.requests.tickets[id]; t != nil {
		return id, t.reply != nil, nil
	}
	s := &r.requests
	if len(s.keys) == 0 { // the ticket lives as long as the newest request key
		return id, false, ErrRequestKey
	}
	if r.queueFull() {
		return id, false, ErrBusy
	}
	c, sealer, err := r.box.key.Open(q)
	if err != nil {
		return id, false, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if len(c.Arguments) == 0 {
		c.Arguments = []byte("{}")
	}
	if !s.room(r.o.Limits, boxReplySize) {
		sealer.Erase()
		return id, false, ErrBusy
	}
	t := &ticket{key: s.keys[len(s.keys)-1].id, box: sealer, results: make([]wire.Result, 1), size: boxReplySize}
	s.add(id, t)
	if claimed != nil && *claimed != c.Account {
		t.results[0] = refused(wire.StatusRejected, ledger.CodeBadSignature)
	} else {
		r.admit(id, t, 0, c.Signed(r.ctl.Ledger(), r.box.app, r.ctl.Position()+r.ctl.Genesis().AnchorAge).Encode())
	}
	r.finish(id, t)
	return id, t.reply != nil, nil
}

// sealBox seals the reply to a command in Anonify's form; a result that does not fit gives way
// to code too_large.
func (r *Replica) sealBox(t *ticket) ([]byte, error) {
	x := t.results[0]
	reply := keys.BoxReply{Status: boxStatus(x.Status), Code: x.Outcome.Code, Message: x.Outcome.Message, Result: x.Outcome.Result}
	sealed, err := t.box.Seal(reply, r.o.Random)
	if err != nil {
		reply = keys.BoxReply{Status: reply.Status, Code: ledger.CodeTooLarge}
		sealed, err = t.box.Seal(reply, r.o.Random)
	}
	return sealed, err
}

// boxStatus is the word for a result's status.
func boxStatus(status uint8) string {
	switch status {
	case wire.StatusCommitted:
		return "committed"
	case wire.StatusPending:
		return "pending"
	}
	return "rejected" // nothing else comes of a command
}
