// Package ordertest checks that an order.Log does what the ledger asks of one.
// It is the same for every driver, in the manner of testing/fstest: a driver's
// own tests call Run with a function that makes empty places for logs.
//
// It checks what can be seen of a log that works: one order without gaps for
// every reader, times that never fall, limits, waking, and that everything is
// still there when the log is opened again. Faults are the driver's own tests.
package ordertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/order"
)

// Place is where one log lies: a folder, a socket, a contract.
type Place struct {
	// Open opens the log that lies there. Run closes what it opens.
	Open func(t *testing.T) order.Log
	// Shared says that the log may be open several times at once.
	Shared bool
}

// patience bounds how long a record may take to become final. No assertion rests on it but that one.
const patience = 2 * time.Minute

// Run checks the logs that empty makes; each call of empty must give a new place without records.
func Run(t *testing.T, empty func(t *testing.T) Place) {
	for _, c := range []struct {
		name  string
		check func(*testing.T, Place)
	}{
		{"Empty", checkEmpty},
		{"Order", checkOrder},
		{"Concurrent", checkConcurrent},
		{"Reopen", checkReopen},
		{"Paging", checkPaging},
		{"Wait", checkWait},
		{"Sizes", checkSizes},
		{"Readers", checkReaders},
		{"Cancelled", checkCancelled},
		{"Closed", checkClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t, empty(t))
		})
	}
}

// Sender is the id of a submitter of which only the number matters.
func Sender(i byte) (id [32]byte) {
	id[0], id[31] = 0xa5, i
	return id
}

// Submission is the n-th record of a sender, told from all others by its bytes.
func Submission(sender byte, n uint64) order.Submission {
	record := fmt.Appendf(nil, "record %d of sender %d %s", n, sender, bytes.Repeat([]byte{'.'}, int(n%50)))
	return order.Submission{Record: record, Sender: Sender(sender), N: n}
}

// Collect waits until a log has count final entries after a position, and returns them.
func Collect(t *testing.T, l order.Log, after uint64, count int) []order.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var list []order.Entry
	for len(list) < count {
		got, err := l.Read(ctx, after, count-len(list))
		if err != nil {
			t.Fatalf("Read(%d): %v", after, err)
		}
		if len(got) > count-len(list) {
			t.Fatalf("Read(%d, limit %d) gave %d entries", after, count-len(list), len(got))
		}
		for _, e := range got {
			if e.Position != after+1 {
				t.Fatalf("position %d follows %d, a gap", e.Position, after)
			}
			after = e.Position
		}
		if list = append(list, got...); len(got) > 0 {
			continue
		}
		if err := l.Wait(ctx, after); err != nil {
			t.Fatalf("Wait(%d), of %d wanted entries %d are there: %v", after, count, len(list), err)
		}
	}
	return list
}

// Chain follows entries from a ledger id and returns the last chain value.
func Chain(c [32]byte, list []order.Entry) [32]byte {
	for _, e := range list {
		c = order.Chain(c, e.Position, e.Time, e.Record)
	}
	return c
}

func open(t *testing.T, p Place) order.Log {
	t.Helper()
	l := p.Open(t)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func submit(t *testing.T, l order.Log, s order.Submission) {
	t.Helper()
	if err := l.Submit(t.Context(), s); err != nil {
		t.Fatalf("Submit: %v", err)
	}
}

func checkEmpty(t *testing.T, p Place) {
	l := open(t, p)
	position, at, err := l.Head(t.Context())
	if err != nil || position != 0 || at != 0 {
		t.Fatalf("Head of an empty log = %d, %d, %v; 0, 0, nil wanted", position, at, err)
	}
	for _, after := range []uint64{0, 1, 1 << 63, 1<<64 - 1} {
		if got, err := l.Read(t.Context(), after, 10); err != nil || len(got) != 0 {
			t.Fatalf("Read(%d) of an empty log = %v, %v; nothing wanted", after, got, err)
		}
	}
	switch l.Assurance() {
	case order.AssuranceOperator, order.AssuranceEndpoints, order.AssuranceValidators:
	default:
		t.Fatalf("assurance %q is none of the three words", l.Assurance())
	}
	if err := l.Submit(t.Context(), order.Submission{Sender: Sender(1)}); err == nil {
		t.Fatal("an empty record was taken")
	}
}

func checkOrder(t *testing.T, p Place) {
	l := open(t, p)
	const count = 25
	for n := range uint64(count) {
		submit(t, l, Submission(1, n))
	}
	list := Collect(t, l, 0, count)
	last := uint64(0)
	for i, e := range list {
		if want := Submission(1, uint64(i)).Record; !bytes.Equal(e.Record, want) {
			t.Fatalf("position %d holds %q, %q wanted", e.Position, e.Record, want)
		}
		if e.Time < last {
			t.Fatalf("the time fell from %d to %d at position %d", last, e.Time, e.Position)
		}
		last = e.Time
	}
	position, at, err := l.Head(t.Context())
	if err != nil || position != count || at != last {
		t.Fatalf("Head = %d, %d, %v; %d, %d wanted", position, at, err, count, last)
	}
	if got, err := l.Read(t.Context(), count, 10); err != nil || len(got) != 0 {
		t.Fatalf("Read after the head = %v, %v; nothing wanted", got, err)
	}
	if got, err := l.Read(t.Context(), count+1000, 10); err != nil || len(got) != 0 {
		t.Fatalf("Read far after the head = %v, %v; nothing wanted", got, err)
	}
}

func checkConcurrent(t *testing.T, p Place) {
	l := open(t, p)
	const senders, each = 4, 12
	var wg sync.WaitGroup
	for s := range byte(senders) {
		wg.Go(func() {
			for n := range uint64(each) {
				if err := l.Submit(t.Context(), Submission(s, n)); err != nil {
					t.Errorf("Submit %d of sender %d: %v", n, s, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	place := map[string]int{}
	for i, e := range Collect(t, l, 0, senders*each) {
		if at, ok := place[string(e.Record)]; ok {
			t.Fatalf("positions %d and %d hold the same record", at+1, i+1)
		}
		place[string(e.Record)] = i
	}
	for s := range byte(senders) {
		last := -1
		for n := range uint64(each) {
			at, ok := place[string(Submission(s, n).Record)]
			if !ok {
				t.Fatalf("record %d of sender %d is missing", n, s)
			}
			if at < last {
				t.Fatalf("record %d of sender %d stands before an earlier one", n, s)
			}
			last = at
		}
	}
}

func checkReopen(t *testing.T, p Place) {
	l := open(t, p)
	const count = 10
	for n := range uint64(count) {
		submit(t, l, Submission(2, n))
	}
	before := Collect(t, l, 0, count)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, p)
	if got := Collect(t, l, 0, count); Chain([32]byte{}, got) != Chain([32]byte{}, before) {
		t.Fatal("opened again, the log holds something else")
	}
	for n := range uint64(count) {
		submit(t, l, Submission(2, count+n))
	}
	all := Collect(t, l, 0, 2*count)
	if Chain([32]byte{}, all[:count]) != Chain([32]byte{}, before) {
		t.Fatal("what was final has changed")
	}
	if all[count].Time < all[count-1].Time {
		t.Fatalf("the time fell from %d to %d where the log was opened again", all[count-1].Time, all[count].Time)
	}
}

func checkPaging(t *testing.T, p Place) {
	l := open(t, p)
	const count = 30
	for n := range uint64(count) {
		submit(t, l, Submission(3, n))
	}
	all := Collect(t, l, 0, count)
	for limit := 1; limit < 8; limit++ {
		var list []order.Entry
		for len(list) < count {
			got, err := l.Read(t.Context(), uint64(len(list)), limit)
			if err != nil || len(got) == 0 || len(got) > limit {
				t.Fatalf("Read(%d, limit %d) gave %d entries, %v", len(list), limit, len(got), err)
			}
			list = append(list, got...)
		}
		if Chain([32]byte{}, list) != Chain([32]byte{}, all) {
			t.Fatalf("pages of %d differ from the whole", limit)
		}
	}
	for _, limit := range []int{0, -1} {
		if got, err := l.Read(t.Context(), 0, limit); err != nil || len(got) != 0 {
			t.Fatalf("Read with limit %d gave %d entries, %v; none wanted", limit, len(got), err)
		}
	}
}

func checkWait(t *testing.T, p Place) {
	l := open(t, p)
	woken := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		// Wait may also return early, so ask for the entry itself.
		for {
			if err := l.Wait(ctx, 0); err != nil {
				woken <- err
				return
			}
			if list, err := l.Read(ctx, 0, 1); err != nil || len(list) == 1 {
				woken <- err
				return
			}
		}
	}()
	submit(t, l, Submission(4, 0))
	if err := <-woken; err != nil {
		t.Fatalf("Wait: %v", err)
	}
	if err := l.Wait(t.Context(), 0); err != nil {
		t.Fatalf("Wait for what is there: %v", err)
	}
}

func checkSizes(t *testing.T, p Place) {
	l := open(t, p)
	largest := bytes.Repeat([]byte{0xc7}, l.MaxRecord()+1)
	for i := range largest {
		largest[i] ^= byte(i*i>>3 + i)
	}
	if err := l.Submit(t.Context(), order.Submission{Record: largest, Sender: Sender(5)}); !errors.Is(err, order.ErrTooLarge) {
		t.Fatalf("a record of %d bytes, one too many: %v, ErrTooLarge wanted", len(largest), err)
	}
	records := [][]byte{largest[:len(largest)-1], {0}, {0, 0}, largest[:31], largest[:32], largest[:33], largest[:124]}
	for n, r := range records {
		submit(t, l, order.Submission{Record: r, Sender: Sender(5), N: uint64(n)})
	}
	for i, e := range Collect(t, l, 0, len(records)) {
		if !bytes.Equal(e.Record, records[i]) {
			t.Fatalf("position %d holds other %d bytes than the %d that were submitted", e.Position, len(e.Record), len(records[i]))
		}
	}
}

func checkReaders(t *testing.T, p Place) {
	one := open(t, p)
	const count = 20
	for n := range uint64(count) {
		submit(t, one, Submission(6, n))
	}
	first := Chain(Sender(9), Collect(t, one, 0, count))
	other := one
	if p.Shared {
		other = open(t, p)
	}
	var list []order.Entry
	for len(list) < count {
		list = append(list, Collect(t, other, uint64(len(list)), min(3, count-len(list)))...)
	}
	if Chain(Sender(9), list) != first {
		t.Fatal("two readers have different chains")
	}
}

func checkCancelled(t *testing.T, p Place) {
	l := open(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		for {
			if err := l.Wait(ctx, 0); err != nil {
				failed <- err
				return
			}
		}
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait with a cancelled context: %v, context.Canceled wanted", err)
	}
	submit(t, l, Submission(7, 0))
	Collect(t, l, 0, 1)
}

func checkClosed(t *testing.T, p Place) {
	l := open(t, p)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Submit(t.Context(), Submission(8, 0)); !errors.Is(err, order.ErrClosed) {
		t.Errorf("Submit after Close: %v, ErrClosed wanted", err)
	}
	if _, err := l.Read(t.Context(), 0, 1); !errors.Is(err, order.ErrClosed) {
		t.Errorf("Read after Close: %v, ErrClosed wanted", err)
	}
	if err := l.Wait(t.Context(), 0); !errors.Is(err, order.ErrClosed) {
		t.Errorf("Wait after Close: %v, ErrClosed wanted", err)
	}
	if _, _, err := l.Head(t.Context()); !errors.Is(err, order.ErrClosed) {
		t.Errorf("Head after Close: %v, ErrClosed wanted", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
