package ledger

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"hitoku.dev/internal/ledger/state"
)

// Limits of one command or query. Beyond them it is refused with [CodeLimit].
const (
	MaxReads        = 20_000   // cells that one command reads or scans
	MaxQueryReads   = 200_000  // the same for a query
	MaxWrites       = 2_000    // cells that one command sets or deletes
	MaxWrittenBytes = 1 << 20  // keys and values that one command writes
	MaxEvents       = 256      // notifications of one command
	MaxEventBytes   = 64 << 10 // payloads of one command's notifications
)

// Reader is what reading a cell wants: a [View] or a [Context].
type Reader interface{ env() *env }

// View is what a query sees: the caller, the place in the ledger, and the application's cells to read.
type View struct{ e *env }

// Context is what a command sees: a [View] that can also write, notify and draw random numbers. It is
// used up when the command returns.
type Context struct{ View }

func (v *View) env() *env { return v.e }

// Caller is the account whose command or query it is.
func (v *View) Caller() AccountID { return v.e.caller }

// Ledger is the ledger's id.
func (v *View) Ledger() [32]byte { return v.e.block.Ledger }

// Height is the position on the ledger: of the command, or the committed one that a query sees.
func (v *View) Height() uint64 { return v.e.block.Position }

// Time is the ledger's time at Height in Unix seconds. It never falls from one height to the next.
func (v *View) Time() uint64 { return v.e.block.Time }

// Require refuses the command or query with word unless ok; then it does not return. Words do not change:
// programs read them.
func (v *View) Require(ok bool, word string) {
	if !ok {
		v.e.abort(refused(CodeRefused, "%s", word))
	}
}

// Refuse refuses the command or query with word and a text for people. It does not return.
func (v *View) Refuse(word, format string, args ...any) {
	v.e.abort(refused(CodeRefused, "%s: %s", word, fmt.Sprintf(format, args...)))
}

// Notify gives account a notification: value's JSON. It goes out, sealed, when the command is committed
// and the account has registered for notifications.
func (c *Context) Notify(account AccountID, value any) {
	e := c.e
	e.usable()
	if value == nil {
		panic("ledger: Notify: value is nil")
	}
	s, err := shapeOf(reflect.TypeOf(value))
	if err != nil {
		panic("ledger: Notify: " + err.Error())
	}
	v := reflect.New(s.typ).Elem()
	v.Set(reflect.ValueOf(value))
	payload := s.appendJSON(nil, v)
	e.eventBytes += len(payload)
	if len(e.events) >= MaxEvents || e.eventBytes > MaxEventBytes {
		e.abort(refused(CodeLimit, "more than %d notifications or %d bytes of them", MaxEvents, MaxEventBytes))
	}
	e.events = append(e.events, Event{Account: account, Payload: payload})
}

// cells is what a tree and a transaction have in common.
type cells interface {
	Get(key []byte) ([]byte, bool)
	ScanFrom(prefix, from []byte, yield func(key, value []byte) bool)
}

// env is one run of a command or a query.
type env struct {
	app    *boundApp
	block  Block
	index  uint32
	caller AccountID
	cells  cells
	tx     *state.Tx // nil in a query

	reads, maxReads int
	writes, written int
	events          []Event
	eventBytes      int
	random          *Random
	stopped         bool    // by outcome, or because the run is over
	outcome         Outcome // why it was stopped
}

// stop is the panic by which a run ends early. The outcome lies in env, so that an application that
// recovers from it does not go on as if nothing had been.
type stop struct{ of *env }

func (e *env) abort(o Outcome) {
	if !e.stopped {
		e.stopped, e.outcome = true, o
	}
	panic(stop{e})
}

func (e *env) usable() {
	if e.stopped {
		panic(stop{e})
	}
}

// key is the place of a cell: of s, and the given keys (pointers to them).
func (e *env) key(s *store, keys ...reflect.Value) []byte {
	e.usable()
	if !slices.Contains(e.app.stores, s) {
		panic("ledger: state " + s.name + " is not listed in the application's State")
	}
	b := make([]byte, 0, 128)
	b = append(append(b, e.app.prefix...), spaceCells, byte(len(s.name)))
	b = append(b, s.name...)
	for i, k := range keys {
		b = s.keys[i].appendKey(b, k.Elem())
	}
	if len(b) > state.MaxKey {
		e.abort(refused(CodeLimit, "key of %d bytes in %s, want at most %d", len(b), s.name, state.MaxKey))
	}
	return b
}

func (e *env) countRead() {
	if e.reads++; e.reads > e.maxReads {
		e.abort(refused(CodeLimit, "more than %d cells read", e.maxReads))
	}
}

func (e *env) load(s *store, key []byte, v reflect.Value) bool {
	e.countRead()
	value, ok := e.cells.Get(key)
	if ok {
		s.decode(value, v)
	}
	return ok
}

func (e *env) scan(prefix, after []byte, yield func(key, value []byte) bool) {
	e.cells.ScanFrom(prefix, after, func(key, value []byte) bool {
		e.usable()
		if bytes.Equal(key, after) {
			return true
		}
		e.countRead()
		return yield(key, value)
	})
}

func (e *env) save(s *store, key []byte, v reflect.Value) {
	value := s.value.appendBinary(nil, v)
	if len(value) > state.MaxValue {
		e.abort(refused(CodeLimit, "value of %d bytes in %s, want at most %d", len(value), s.name, state.MaxValue))
	}
	e.countWrite(len(key) + len(value))
	if err := e.tx.Set(key, value); err != nil {
		panic(err) // both sizes were checked
	}
}

func (e *env) remove(key []byte) {
	e.countWrite(len(key))
	e.tx.Delete(key)
}

func (e *env) countWrite(size int) {
	e.usable()
	e.writes++
	if e.written += size; e.writes > MaxWrites || e.written > MaxWrittenBytes {
		e.abort(refused(CodeLimit, "more than %d writes or %d bytes written", MaxWrites, MaxWrittenBytes))
	}
}
