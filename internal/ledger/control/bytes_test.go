package control_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
)

// story is a log with records of every type, effective and skipped.
func story(t testing.TB) *world {
	w, list := started(t, 0, 1, 2, 4)
	w.take(list[0].ack())
	w.take(list[1].data())
	w.take(list[1].checkpoint())
	w.junk()
	next := w.process(2)
	w.take(next.join(good))
	w.refuse("unapproved", list[3].commit(w.core([]*process{next}, w.remove(list[2], wire.RemoveReplaced))))
	w.take(list[0].commit(w.core([]*process{next}, w.remove(list[2], wire.RemoveReplaced))))
	w.take(next.record(wire.TypeAlarm, wire.Alarm{Epoch: 2, Slot: 2}.Encode()))
	w.update(list[0], func(p *wire.Policy) { p.EvidenceAge++ })
	waits := w.process(3)
	w.take(waits.join("made up"))
	return w
}

// digest is all that a state knows, in one order.
func digest(s *control.State) string {
	b, err := s.Marshal()
	if err != nil {
		panic(err)
	}
	var v map[string]json.RawMessage
	var list []json.RawMessage
	if json.Unmarshal(b, &v) != nil || json.Unmarshal(v["Incarnations"], &list) != nil {
		panic("not what Marshal writes")
	}
	var out []string
	for _, x := range list {
		out = append(out, string(x))
	}
	slices.Sort(out)
	for _, name := range []string{"Ledger", "Position", "First", "Marks", "Policies", "Pending", "Epochs", "Records", "Spent"} {
		out = append(out, string(v[name]))
	}
	return strings.Join(out, "\n")
}

// effects is what records can change, beside the chain of positions itself.
func effects(s *control.State) string {
	b, err := s.Marshal()
	if err != nil {
		panic(err)
	}
	var v map[string]json.RawMessage
	if json.Unmarshal(b, &v) != nil {
		panic("not what Marshal writes")
	}
	var list []control.Incarnation
	if json.Unmarshal(v["Incarnations"], &list) != nil {
		panic("not what Marshal writes")
	}
	var out []string
	for _, in := range list {
		x, _ := json.Marshal(in) // of a struct that was just read
		out = append(out, string(x))
	}
	slices.Sort(out)
	return strings.Join(append(out, string(v["Policies"]), string(v["Pending"]), string(v["Epochs"]), string(v["Records"])), "\n")
}

// TestEveryByte changes each byte of a valid record of each type: none has an effect any more.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*world, []*process) wire.Record{
		"JOIN":       func(w *world, _ []*process) wire.Record { return w.process(3).join(good) },
		"COMMIT":     func(w *world, list []*process) wire.Record { return list[1].commit(w.core(nil)) },
		"ACK":        func(_ *world, list []*process) wire.Record { return list[1].ack() },
		"DATA":       func(_ *world, list []*process) wire.Record { return list[1].data() },
		"CHECKPOINT": func(_ *world, list []*process) wire.Record { return list[1].checkpoint() },
		"ALARM": func(_ *world, list []*process) wire.Record {
			return list[1].record(wire.TypeAlarm, wire.Alarm{Epoch: 1, Slot: 1}.Encode())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, list := started(t, 0, 1, 2)
			good := make(w, list).Encode()
			before := effects(w.s)
			for i := range good {
				bad := slices.Clone(good)
				bad[i] ^= 1 << (i % 8)
				w.nothing(bad)
				if i%97 == 0 { // cut short, and with more
					w.nothing(good[:i])
					w.nothing(append(slices.Clone(good), good[:i+1]...))
				}
			}
			if effects(w.s) != before {
				t.Fatal("changed records have changed the state")
			}
			// And the true one is still good, for nothing else was there.
			r, err := wire.ParseRecord(good)
			if err != nil {
				t.Fatal(err)
			}
			w2, list2 := started(t, 0, 1, 2)
			if again := make(w2, list2); again.Hash() != r.Hash() {
				t.Fatal("the test does not make the same record twice")
			}
			w2.take(r)
		})
	}
}

// nothing applies a record that must have no effect. It starts from the log's end each time, so that
// anchors stay good.
func (w *world) nothing(record []byte) {
	w.t.Helper()
	b, err := w.s.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := control.Load(w.file, appraise, b)
	if err != nil {
		w.t.Fatal(err)
	}
	ev, err := s.Apply(w.entry(record))
	if err != nil || ev.Skipped == "" || ev.Clone != nil {
		w.t.Fatalf("a changed record: %+v, %v", ev, err)
	}
	if effects(s) != effects(w.s) {
		w.t.Fatalf("a changed record has changed the state: %s", ev.Skipped)
	}
}

// FuzzApply: no bytes at any position make Apply panic, and what is not signed changes nothing.
func FuzzApply(f *testing.F) {
	w := story(f)
	for _, e := range w.log {
		f.Add(uint8(e.Position), e.Record)
	}
	f.Fuzz(func(t *testing.T, at uint8, record []byte) {
		n := int(at) % (len(w.log) + 1)
		s, err := control.New(w.file, appraise)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range w.log[:n] {
			if _, err := s.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
		before := effects(s)
		known := slices.ContainsFunc(w.log, func(e order.Entry) bool { return string(e.Record) == string(record) })
		ev, err := s.Apply(order.Entry{Position: uint64(n) + 1, Time: 1 << 40, Record: record})
		if known {
			return // a true record at another place may mean something, also a fork
		}
		if err != nil || ev.Skipped == "" || effects(s) != before {
			t.Fatalf("position %d: %+v, %v", n+1, ev, err)
		}
	})
}
