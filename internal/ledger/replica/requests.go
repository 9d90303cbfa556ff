package replica

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// How long request keys and queries live.
const (
	requestKeyLife  = 30 * time.Minute // until a new one is given out
	requestKeyGrace = 15 * time.Minute // how much longer the old one opens requests
	maxQueryAge     = 60               // seconds
)

var (
	// ErrRequestKey means that a request is sealed to a key that this node does not have.
	ErrRequestKey = errors.New("the request is sealed to a key that this node does not have (any more); fetch the key again")
	// ErrRequest means that a request cannot be read.
	ErrRequest = errors.New("the request cannot be opened")
	// ErrBusy means that the node holds as much as it may.
	ErrBusy = errors.New("the node is busy; try again later")
)

// requestState is what clients have sent.
type requestState struct {
	keys    []requestKey
	tickets map[wire.Hash]*ticket
	byEnc   map[wire.Hash]wire.Hash // hash of enc → hash of the request
	waiters map[wire.Hash][]waiter  // by command
	qids    map[[16]byte]uint64     // used, until
	// answered are the tickets whose replies are ready, oldest first. When there are too many
	// tickets these give way: whoever asks again is answered again.
	answered []wire.Hash
	bytes    int // that the replies of all tickets take
}

// requestKey is a key that clients seal to.
type requestKey struct {
	key      *keys.HPKEKey
	id       wire.Hash
	notAfter uint64
}

// ticket is a request for commands.
type ticket struct {
	key     wire.Hash // id of the request key that it lives as long as
	enc     wire.Hash // hash of enc; zero of one in Anonify's form
	waits   []wire.Hash
	sealer  *keys.ReplySealer
	box     *keys.BoxReplySealer // instead of sealer, of one in Anonify's form
	bucket  uint32
	results []wire.Result
	waiting int
	reply   []byte
	size    int // bytes that its reply takes, or will
}

type waiter struct {
	id wire.Hash
	t  *ticket
	i  int
}

func (s *requestState) init() {
	s.tickets = map[wire.Hash]*ticket{}
	s.byEnc = map[wire.Hash]wire.Hash{}
	s.waiters = map[wire.Hash][]waiter{}
	s.qids = map[[16]byte]uint64{}
}

// tidy erases request keys that are past, with all that was sealed to them.
func (s *requestState) tidy(r *Replica) {
	if r.ticks%64 != 0 {
		return
	}
	now := uint64(r.o.Now().Unix())
	for len(s.keys) > 0 && s.keys[0].notAfter+maxQueryAge < now {
		k := s.keys[0]
		for id, t := range s.tickets {
			if t.key == k.id {
				s.drop(id)
			}
		}
		s.answered = slices.DeleteFunc(s.answered, func(id wire.Hash) bool { return s.tickets[id] == nil })
		k.key.Erase()
		s.keys = s.keys[1:]
	}
	for q, until := range s.qids {
		if until < now {
			delete(s.qids, q)
		}
	}
}

// room makes room for one more ticket with a reply of size bytes, and says whether there is any.
func (s *requestState) room(l Limits, size int) bool {
	full := func() bool { return len(s.tickets) >= l.Tickets || s.bytes+size > l.TicketBytes }
	for full() && len(s.answered) > 0 {
		s.drop(s.answered[0])
		s.answered = s.answered[1:]
	}
	return !full()
}

// add holds a ticket for which there is room.
func (s *requestState) add(id wire.Hash, t *ticket) {
	s.tickets[id] = t
	s.bytes += t.size
}

// drop forgets a ticket.
func (s *requestState) drop(id wire.Hash) {
	t := s.tickets[id]
	if t == nil {
		return
	}
	for _, h := range t.waits {
		left := slices.DeleteFunc(s.waiters[h], func(w waiter) bool { return w.t == t })
		if s.waiters[h] = left; len(left) == 0 {
			delete(s.waiters, h)
		}
	}
	t.erase()
	delete(s.byEnc, t.enc)
	delete(s.tickets, id)
	s.bytes -= t.size
}

// erase erases what the reply is sealed with.
func (t *ticket) erase() {
	if t.sealer != nil {
		t.sealer.Erase()
	}
	if t.box != nil {
		t.box.Erase()
	}
}

// erase erases all keys to which requests were sealed, and what replies would be sealed with.
func (s *requestState) erase() {
	for i := range s.keys {
		s.keys[i].key.Erase()
	}
	for _, t := range s.tickets {
		t.erase()
	}
}

// KeyInfo returns the key to seal requests to, with the node's signature.
func (r *Replica) KeyInfo() (wire.KeyInfo, [64]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running() || r.exec.kind != wire.KindExecutor || r.exec.committed == 0 {
		return wire.KeyInfo{}, [64]byte{}, r.notRunning()
	}
	s := &r.requests
	now := r.o.Now()
	if len(s.keys) == 0 || s.keys[len(s.keys)-1].notAfter < uint64(now.Add(requestKeyGrace).Unix()) {
		k, err := keys.NewHPKE(r.ctl.Genesis().Suite, r.o.Random)
		if err != nil {
			return wire.KeyInfo{}, [64]byte{}, err
		}
		s.keys = append(s.keys, requestKey{key: k, id: wire.RequestKeyID(k.Public()), notAfter: uint64(now.Add(requestKeyLife + requestKeyGrace).Unix())})
	}
	k := s.keys[len(s.keys)-1]
	info := wire.KeyInfo{
		Ledger: r.ctl.Ledger(), Slot: r.o.Slot, Incarnation: r.iid, Key: [32]byte(r.id.Key.Public().(ed25519.PublicKey)),
		RequestKey: k.key.Public(), NotAfter: k.notAfter, Position: r.exec.committed, Chain: r.committedChain(),
	}
	return info, [64]byte(ed25519.Sign(r.id.Key, info.Message())), nil
}

func (r *Replica) committedChain() wire.Hash {
	if b := r.blockAt(r.exec.committed); b != nil {
		return b.check.Chain
	}
	return wire.Hash{}
}

// unseal opens a request.
func (r *Replica) unseal(raw []byte, kind uint8) (*requestKey, wire.Request, wire.Payload, *keys.ReplySealer, error) {
	q, err := wire.ParseRequest(raw)
	if err != nil {
		return nil, q, wire.Payload{}, nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if q.Kind != kind {
		return nil, q, wire.Payload{}, nil, fmt.Errorf("%w: it is of kind %d, wanted %d here", ErrRequest, q.Kind, kind)
	}
	now := uint64(r.o.Now().Unix())
	for i := range r.requests.keys {
		k := &r.requests.keys[i]
		if k.id != q.KeyID {
			continue
		}
		if q.NotAfter < now || k.notAfter < now {
			return nil, q, wire.Payload{}, nil, fmt.Errorf("%w: it was to be opened until %d, now is %d", ErrRequest, min(q.NotAfter, k.notAfter), now)
		}
		p, sealer, err := keys.OpenRequest(k.key, r.ctl.Ledger(), r.iid, q)
		if err != nil {
			return nil, q, p, nil, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		return k, q, p, sealer, nil
	}
	return nil, q, wire.Payload{}, nil, ErrRequestKey
}

// floor says why the client's floor keeps this node from serving it, 0 for nothing.
func (r *Replica) floor(p wire.Payload) uint16 {
	if p.FloorPosition > r.exec.committed {
		return ledger.CodeBehind
	}
	if b := r.blockAt(p.FloorPosition); b != nil && b.check.Chain != p.FloorChain {
		return ledger.CodeForked
	}
	if m, ok := r.ctl.At(p.FloorPosition); ok && m.Chain != p.FloorChain && p.FloorPosition > 0 {
		return ledger.CodeForked
	}
	return 0
}

// Submit takes a sealed request for commands. The ticket is the hash of its bytes; the same
// bytes again give the same one.
func (r *Replica) Submit(raw []byte) (id wire.Hash, ready bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running() || r.exec.committed == 0 {
		return id, false, r.notRunning()
	}
	id = sha256.Sum256(raw)
	if t := r.requests.tickets[id]; t != nil {
		return id, t.reply != nil, nil
	}
	if r.queueFull() {
		return id, false, ErrBusy
	}
	k, q, p, sealer, err := r.unseal(raw, wire.RequestCommands)
	if err != nil {
		return id, false, err
	}
	enc := sha256.Sum256(q.Enc)
	if _, ok := r.requests.byEnc[enc]; ok {
		return id, false, fmt.Errorf("%w: its encapsulated key was used by another request", ErrRequest)
	}
	if !r.requests.room(r.o.Limits, int(p.ReplyBucket)) {
		sealer.Erase()
		return id, false, ErrBusy
	}
	r.requests.byEnc[enc] = id
	t := &ticket{key: k.id, enc: enc, sealer: sealer, bucket: p.ReplyBucket, results: make([]wire.Result, len(p.Items)), size: int(p.ReplyBucket)}
	r.requests.add(id, t)
	code := r.floor(p)
	for i, item := range p.Items {
		if code != 0 {
			t.results[i] = refused(wire.StatusRejected, code)
		} else {
			r.admit(id, t, i, item)
		}
	}
	r.finish(id, t)
	return id, t.reply != nil, nil
}

func refused(status uint8, code uint16) wire.Result {
	return wire.Result{Status: status, Outcome: wire.Outcome{Code: code}}
}

// admit looks at one command before it is ordered: what can never succeed is rejected, what was
// executed already is answered, the rest waits.
func (r *Replica) admit(id wire.Hash, t *ticket, i int, item []byte) {
	s, err := wire.ParseSigned(item)
	var c wire.Command
	if err == nil {
		c, err = s.VerifyCommand()
	}
	switch {
	case errors.Is(err, wire.ErrSignature):
		t.results[i] = refused(wire.StatusRejected, ledger.CodeBadSignature)
		return
	case err != nil:
		t.results[i] = refused(wire.StatusRejected, ledger.CodeMalformed)
		return
	case c.Ledger != r.ctl.Ledger():
		t.results[i] = refused(wire.StatusRejected, ledger.CodeWrongLedger)
		return
	case c.ExpiresAt <= r.ctl.Position():
		if _, known := r.exec.outcomes[wire.SignedHash(item)]; !known {
			t.results[i] = refused(wire.StatusRejected, ledger.CodeExpired)
			return
		}
	}
	packed, err := wire.PackCommand(r.ctl.Ledger(), item)
	if err != nil || len(packed) > r.capacity() { // the first cannot be: it was read above
		t.results[i] = refused(wire.StatusRejected, ledger.CodeTooLarge)
		return
	}
	h := wire.SignedHash(item)
	if d := r.exec.outcomes[h]; d != nil && d.position <= r.exec.committed {
		t.results[i] = r.result(h, d)
		return
	}
	t.waiting++
	t.waits = append(t.waits, h)
	r.requests.waiters[h] = append(r.requests.waiters[h], waiter{id, t, i})
	if r.exec.outcomes[h] == nil {
		r.enqueue(queued{item, h, len(packed)})
	}
}

// finish seals the reply when nothing waits.
func (r *Replica) finish(id wire.Hash, t *ticket) {
	if t.waiting > 0 || t.reply != nil {
		return
	}
	var reply []byte
	var err error
	if t.box != nil {
		reply, err = r.sealBox(t)
	} else {
		body := wire.ReplyBody{Position: r.exec.committed, Chain: r.committedChain(), Time: r.ctl.Time(), Results: t.results}
		reply, err = r.seal(t.sealer, body, t.bucket)
	}
	if err != nil {
		r.o.Log.Error("cannot seal a reply", "reason", err)
		return
	}
	t.reply, t.results, t.waits = reply, nil, nil
	t.erase()
	r.requests.answered = append(r.requests.answered, id)
}

// seal seals a reply; results that do not fit into the bucket give way to code too_large.
func (r *Replica) seal(s *keys.ReplySealer, body wire.ReplyBody, bucket uint32) ([]byte, error) {
	if len(body.Encode())+4 > int(bucket) {
		for i := range body.Results {
			x := &body.Results[i]
			*x = wire.Result{Status: x.Status, Outcome: wire.Outcome{Code: ledger.CodeTooLarge}, Position: x.Position, Index: x.Index}
		}
		if len(body.Encode())+4 > int(bucket) { // not even that fits
			body.Results = body.Results[:1]
		}
	}
	reply, err := s.Seal(body, bucket, r.o.Random, r.o.Recorder)
	return reply.Encode(), err
}

// Ticket returns the sealed reply of a ticket, nil while it is not ready. known is false for a
// ticket that this node does not hold.
func (r *Replica) Ticket(id wire.Hash) (reply []byte, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.requests.tickets[id]
	if t == nil {
		return nil, false
	}
	return t.reply, true
}

// release answers those who wait for the commands of a block that is now committed.
func (r *Replica) release(b *block) {
	for j, h := range b.hashes {
		d := &b.done[j]
		delete(r.queued, h)
		if r.exec.outcomes[h] == d {
			for _, w := range r.requests.waiters[h] {
				w.t.results[w.i] = r.resultIn(b, d)
				w.t.waiting--
				r.finish(w.id, w.t)
			}
			delete(r.requests.waiters, h)
		}
		r.notes.publish(r, d)
	}
}

// result is what a client learns of an executed command.
func (r *Replica) result(_ wire.Hash, d *done) wire.Result {
	return r.resultIn(r.blockAt(d.position), d)
}

func (r *Replica) resultIn(b *block, d *done) wire.Result {
	if d.earlier != nil {
		d = d.earlier
		b = r.blockAt(d.position)
		if b == nil || b.partial || int(d.index) >= len(b.done) { // before this node's time: another one has the proof
			return wire.Result{Status: wire.StatusCommitted, Outcome: d.outcome, Position: d.position, Index: d.index}
		}
		d = &b.done[d.index]
	}
	x := wire.Result{Status: wire.StatusCommitted, Outcome: d.outcome, Position: d.position, Index: d.index, Blind: d.blind}
	if b != nil {
		x.Count, x.Proof = uint32(len(b.done)), b.leaves.Proof(int(d.index))
	}
	return x
}
