package replica

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// FreshFunc asks the other executors how far they have executed, with signatures over the query's
// id, and returns the highest position that a majority, this node included, vouches for.
type FreshFunc func(ctx context.Context, qid [16]byte) (uint64, error)

// Query answers a sealed question from committed state. fresh serves mode fresh; nil refuses it.
func (r *Replica) Query(ctx context.Context, raw []byte, fresh FreshFunc) ([]byte, error) {
	r.mu.Lock()
	if !r.running() || r.exec.committed == 0 {
		defer r.mu.Unlock()
		return nil, r.notRunning()
	}
	_, _, p, sealer, err := r.unseal(raw, wire.RequestQuery)
	if err != nil {
		r.mu.Unlock()
		return nil, err
	}
	defer sealer.Erase()
	result := refused(wire.StatusRefused, r.floor(p))
	var q wire.Query
	if result.Outcome.Code == 0 {
		q, result = r.ask(p)
	}
	r.stats.Queries++
	r.mu.Unlock()

	if result.Outcome.Code == 0 && p.Mode == wire.ModeFresh {
		result = refused(wire.StatusRefused, ledger.CodeNotFresh)
		if fresh != nil {
			if at, err := fresh(ctx, q.ID); err != nil {
				r.o.Log.Warn("no majority vouches for how far the ledger is", "reason", err)
				result.Outcome.Message = "no majority of executors answered"
			} else if err := r.await(ctx, func() bool { return r.exec.settled(at) }); err == nil {
				result = wire.Result{}
			}
		}
	}

	r.mu.Lock()
	if r.halted != nil {
		defer r.mu.Unlock()
		return nil, r.halted
	}
	tree, position, chain, t := r.exec.committedTree, r.exec.committed, r.committedChain(), r.ctl.Time()
	if result.Outcome.Code == 0 && q.Kind != wire.KindQuery {
		result = r.special(q)
	}
	r.mu.Unlock()
	if result.Outcome.Code == 0 && q.Kind == wire.KindQuery {
		out := r.o.Machine.Query(ledger.Block{Ledger: r.ctl.Ledger(), Position: position, Time: t}, tree, ledger.QueryCall{
			App: q.Application, Scheme: q.Scheme, Account: ledger.AccountID(wire.AccountID(q.Scheme, q.Key)), Name: q.Name, Args: q.Arguments,
		})
		result = wire.Result{Status: wire.StatusAnswer, Outcome: wire.Outcome{Code: out.Code, Message: out.Message, Result: out.Result}}
		if out.Code != 0 {
			result.Status = wire.StatusRefused
		}
	}
	return r.seal(sealer, wire.ReplyBody{Position: position, Chain: chain, Time: t, Results: []wire.Result{result}}, p.ReplyBucket)
}

// settled says whether all that was executed up to a position is committed. The position itself
// need not be a checkpoint's.
func (x *executor) settled(at uint64) bool {
	if x.committed >= at {
		return true
	}
	i, found := slices.BinarySearchFunc(x.blocks, at, func(b *block, p uint64) int { return compareU64(b.check.Position, p) })
	if !found {
		i--
	}
	return x.position >= at && (i < 0 || x.blocks[i].check.Position <= x.committed)
}

// ask checks a query: signature, ledger, time, and that its id is new.
func (r *Replica) ask(p wire.Payload) (wire.Query, wire.Result) {
	refuse := func(code uint16, message string) (wire.Query, wire.Result) {
		x := refused(wire.StatusRefused, code)
		x.Outcome.Message = message
		return wire.Query{}, x
	}
	if len(p.Items) != 1 {
		return refuse(ledger.CodeBadArguments, "a query request holds one query")
	}
	s, err := wire.ParseSigned(p.Items[0])
	if err != nil {
		return refuse(ledger.CodeBadArguments, "malformed query")
	}
	q, err := s.VerifyQuery()
	if err != nil {
		return refuse(ledger.CodeBadSignature, "")
	}
	now := uint64(r.o.Now().Unix())
	switch {
	case q.Ledger != r.ctl.Ledger():
		return refuse(ledger.CodeWrongLedger, "")
	case q.NotAfter < now || q.NotAfter > now+maxQueryAge:
		return refuse(ledger.CodeExpired, fmt.Sprintf("not_after %d, wanted %d to %d", q.NotAfter, now, now+maxQueryAge))
	case r.requests.qids[q.ID] != 0:
		return refuse(ledger.CodeReplayed, "the query's id was used")
	case len(r.requests.qids) >= r.o.Limits.Tickets:
		return refuse(ledger.CodeBusy, "")
	}
	r.requests.qids[q.ID] = q.NotAfter
	return q, wire.Result{}
}

// special answers the questions that no application answers.
func (r *Replica) special(q wire.Query) wire.Result {
	account := ledger.AccountID(wire.AccountID(q.Scheme, q.Key))
	answer := func(v any) wire.Result {
		b, _ := json.Marshal(v) // maps of strings and numbers always encode
		return wire.Result{Status: wire.StatusAnswer, Outcome: wire.Outcome{Result: b}}
	}
	switch q.Kind {
	case wire.KindCounter:
		if out := r.o.Machine.Admits(q.Application, q.Scheme, account); !out.OK() {
			return refused(wire.StatusRefused, out.Code)
		}
		return answer(map[string]any{"user_counter": r.o.Machine.Counter(r.exec.committedTree, q.Application, account)})
	case wire.KindRegister:
		if out := r.o.Machine.Admits(q.Application, q.Scheme, account); !out.OK() {
			return refused(wire.StatusRefused, out.Code)
		}
		if err := r.ctl.Genesis().Suite.CheckPublic(q.Arguments); err != nil {
			return refused(wire.StatusRefused, ledger.CodeBadArguments)
		}
		id, err := r.notes.register(r, q.Application, account, q.Arguments)
		if err != nil {
			return refused(wire.StatusRefused, ledger.CodeBusy)
		}
		return answer(map[string]any{"stream": hex.EncodeToString(id[:])})
	case wire.KindOutcome:
		if len(q.Arguments) != 32 {
			return refused(wire.StatusRefused, ledger.CodeBadArguments)
		}
		h := wire.Hash(q.Arguments)
		d := r.exec.outcomes[h]
		if d == nil || d.account != account || d.position > r.exec.committed {
			return wire.Result{Status: wire.StatusPending}
		}
		return r.result(h, d)
	}
	return refused(wire.StatusRefused, ledger.CodeBadArguments)
}

// FreshAnswer is what an executor says in mode fresh.
type FreshAnswer struct {
	Position  uint64
	Chain     wire.Hash
	Signature [64]byte
}

// Fresh vouches for how far this node has executed.
func (r *Replica) Fresh(qid [16]byte) (FreshAnswer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running() {
		return FreshAnswer{}, r.notRunning()
	}
	a := FreshAnswer{Position: r.exec.position, Chain: r.ctl.Chain()}
	a.Signature = [64]byte(ed25519.Sign(r.id.Key, wire.FreshMessage(r.ctl.Ledger(), qid, a.Position, a.Chain)))
	return a, nil
}

// CheckFresh checks a peer's answer. It is ErrHalted when this was the last of a quorum to show another history.
func (r *Replica) CheckFresh(from wire.Hash, qid [16]byte, a FreshAnswer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.ctl.Epoch().Member(from)
	if !ok || m.Kind != wire.KindExecutor {
		return fmt.Errorf("incarnation %x is no executor of epoch %d", from[:8], r.ctl.Epoch().Number)
	}
	if !wire.VerifyEd25519(r.ctl.Incarnation(from).Key, wire.FreshMessage(r.ctl.Ledger(), qid, a.Position, a.Chain), a.Signature) {
		return fmt.Errorf("slot %d: the signature of its answer does not hold", m.Slot)
	}
	if mark, ok := r.ctl.At(a.Position); ok && mark.Chain != a.Chain {
		if err := r.foreign(r.ctl.Incarnation(from), a.Position, true); err != nil {
			return r.halt(err)
		}
		return fmt.Errorf("slot %d has another history at position %d", m.Slot, a.Position)
	}
	return nil
}

// notifications are the streams that clients have registered.
type notifications struct {
	streams map[[16]byte]*stream
	by      map[noteKey][]*stream
}

type noteKey struct {
	app     string
	account ledger.AccountID
}

type stream struct {
	id     [16]byte
	of     noteKey
	key    []byte
	first  uint64 // number of notices[0]
	sealed [][]byte
	used   int // tick at which it was last asked for, or made
}

const (
	maxStreamsPerAccount = 8
	maxStreams           = 1 << 14
	maxNotices           = 256
)

func (n *notifications) init() {
	n.streams, n.by = map[[16]byte]*stream{}, map[noteKey][]*stream{}
}

// register makes a stream; an account's oldest one gives way.
func (n *notifications) register(r *Replica, app string, account ledger.AccountID, key []byte) (id [16]byte, err error) {
	k := noteKey{app, account}
	if len(n.streams) >= maxStreams {
		n.forget()
	}
	if _, err := io.ReadFull(r.o.Random, id[:]); err != nil {
		return id, err
	}
	if old := n.by[k]; len(old) >= maxStreamsPerAccount {
		delete(n.streams, old[0].id)
		n.by[k] = old[1:]
	}
	s := &stream{id: id, of: k, key: key, used: r.ticks}
	n.streams[id] = s
	n.by[k] = append(n.by[k], s)
	return id, nil
}

// forget drops the stream that nobody has asked for the longest: one that somebody listens to is
// asked for all the time.
func (n *notifications) forget() {
	var oldest *stream
	for _, s := range n.streams {
		if oldest == nil || s.used < oldest.used {
			oldest = s
		}
	}
	delete(n.streams, oldest.id)
	left := slices.DeleteFunc(n.by[oldest.of], func(s *stream) bool { return s == oldest })
	if n.by[oldest.of] = left; len(left) == 0 {
		delete(n.by, oldest.of)
	}
}

// publish seals a committed command's events to those who registered.
func (n *notifications) publish(r *Replica, d *done) {
	for _, e := range d.events {
		for _, s := range n.by[noteKey{d.app, e.Account}] {
			notice := wire.Notice{Position: d.position, Index: d.index, Application: d.app, Payload: e.Payload}
			sealed, err := keys.SealNotice(r.ctl.Genesis().Suite, s.key, r.ctl.Ledger(), e.Account, notice)
			if err != nil {
				continue // the key was checked when it was registered
			}
			s.sealed = append(s.sealed, sealed.Encode())
			if extra := len(s.sealed) - maxNotices; extra > 0 {
				s.sealed, s.first = s.sealed[extra:], s.first+uint64(extra)
			}
		}
	}
}

// Notices returns a stream's sealed notices from number from on, and the number after the last.
func (r *Replica) Notices(id [16]byte, from uint64) (sealed [][]byte, next uint64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.notes.streams[id]
	if s == nil {
		return nil, 0, false
	}
	s.used = r.ticks
	next = s.first + uint64(len(s.sealed))
	if from >= next {
		return nil, next, true
	}
	return append([][]byte(nil), s.sealed[max(from, s.first)-s.first:]...), next, true
}
