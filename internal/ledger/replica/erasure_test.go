package replica_test

import (
	"bytes"
	"maps"
	"reflect"
	"testing"

	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// memory is every run of bytes that can be reached from a value.
func memory(v any) [][]byte {
	m := &walker{seen: map[seen]bool{}}
	m.walk(reflect.ValueOf(v))
	return m.found
}

type seen struct {
	at uintptr
	of reflect.Type
}

type walker struct {
	seen  map[seen]bool
	found [][]byte
}

func (m *walker) walk(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if at := (seen{v.Pointer(), v.Type()}); !v.IsNil() && !m.seen[at] {
			m.seen[at] = true
			m.walk(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() {
			m.walk(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			m.walk(v.Field(i))
		}
	case reflect.Map:
		if at := (seen{v.Pointer(), v.Type()}); !m.seen[at] {
			m.seen[at] = true
			for _, k := range v.MapKeys() {
				m.walk(k)
				m.walk(v.MapIndex(k))
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice {
			v = v.Slice3(0, v.Len(), v.Len())
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			for i := range b {
				b[i] = byte(v.Index(i).Uint())
			}
			m.found = append(m.found, b)
			return
		}
		for i := range v.Len() {
			m.walk(v.Index(i))
		}
	case reflect.String:
		m.found = append(m.found, []byte(v.String()))
	}
}

// field reaches into a struct, through pointers.
func field(v reflect.Value, names ...string) reflect.Value {
	for _, n := range names {
		for v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		v = v.FieldByName(n)
	}
	return v
}

func secretBytes(v reflect.Value) []byte {
	b := make([]byte, v.Len())
	for i := range b {
		b[i] = byte(v.Index(i).Uint())
	}
	return b
}

// secrets are a node's keys of its newest epoch, and its private keys, by name.
func secrets(r *replica.Replica) map[string][]byte {
	out := map[string][]byte{}
	k := r.EpochKeys()[r.Status().Epoch]
	for name, b := range map[string][32]byte{"init": k.Init, "log": k.Log, "snap": k.Snap, "digest": k.Digest, "random": k.Random} {
		out[name] = bytes.Clone(b[:])
	}
	v := reflect.ValueOf(r)
	for i := range field(v, "hpke").Len() {
		out["hpke "+string(rune('0'+i))] = secretBytes(field(field(v, "hpke").Index(i), "key", "secret"))
	}
	for i := range field(v, "requests", "keys").Len() {
		out["request key "+string(rune('0'+i))] = secretBytes(field(field(v, "requests", "keys").Index(i), "key", "secret"))
	}
	for _, key := range field(v, "requests", "tickets").MapKeys() {
		if t := field(v, "requests", "tickets").MapIndex(key); !field(t, "sealer").IsNil() {
			if x := secretBytes(field(t, "sealer", "keys", "x")); !bytes.Equal(x, make([]byte, len(x))) { // of one not answered yet
				out["reply"] = x
			}
		}
	}
	maps.DeleteFunc(out, func(_ string, s []byte) bool { return bytes.Equal(s, make([]byte, len(s))) }) // erased already
	return out
}

// holds fails when a secret can be reached from a node.
func holds(t *testing.T, what string, n *node, gone map[string][]byte) {
	t.Helper()
	for _, b := range memory(n.r) {
		for name, s := range gone {
			if bytes.Contains(b, s) {
				t.Errorf("%s: slot %d still holds %s", what, n.slot, name)
			}
		}
	}
}

func TestErasure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{executors: 3, vaults: 1, window: 3})
	w.startAll()
	alice := w.user()
	alice.do(w.nodes[0], "construct", `{"total_supply":100}`)
	before := map[*node]map[string][]byte{}
	for _, n := range w.nodes[:3] {
		before[n] = secrets(n.r)
		delete(before[n], "request key 0") // lives on
		var found int
		for _, b := range memory(n.r) {
			for _, s := range before[n] {
				if bytes.Contains(b, s) {
					found++
				}
			}
		}
		if found < len(before[n]) {
			t.Fatalf("the test finds %d of %d secrets where they are", found, len(before[n]))
		}
	}
	for range 2 {
		e := w.nodes[0].r.Status().Epoch
		if _, err := w.nodes[0].r.Rotate(); err != nil {
			t.Fatal(err)
		}
		w.settle("a new epoch", func() bool { return w.nodes[1].r.Status().Epoch > e })
		for range 8 {
			alice.do(w.nodes[1], "transfer", `{"recipient":"`+alice.account()+`","amount":1}`)
		}
	}
	for _, n := range w.nodes[:3] {
		holds(t, "after ACK and W", n, before[n])
	}
	w.check()
}

// TestRequestKeysEnd: when a request key's time is over, neither it nor what replies are sealed with is
// anywhere in the node, also of requests that were never answered.
func TestRequestKeysEnd(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	if alice.send(w.nodes[0], alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`)) == nil {
		t.Fatal("not taken")
	}
	s := secrets(w.nodes[0].r)
	gone := map[string][]byte{"request key": s["request key 0"], "reply": s["reply"]}
	if gone["request key"] == nil || gone["reply"] == nil {
		t.Fatal("the test finds no keys where they are")
	}
	w.now = w.now.Add(2 * 60 * 60e9)
	for range 64 {
		w.nodes[0].r.Tick() // the log does not move
	}
	holds(t, "after its time", w.nodes[0], gone)
}

// TestRemovedMember: what administrators have removed holds no key any more, and what is written later
// opens with none that it ever had.
func TestRemovedMember(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	out := w.nodes[2]
	had := secrets(out.r)
	if err := w.nodes[0].r.Remove(2); err != nil {
		t.Fatal(err)
	}
	w.settle("it is removed", func() bool { return out.r.Err() != nil })
	holds(t, "after removal", out, had)
	if n := len(out.r.EpochKeys()); n > 0 {
		for e, k := range out.r.EpochKeys() {
			if k.HasLog() || k.HasSnap() || k.HasInit() || k.Digest != [32]byte{} {
				t.Errorf("keys of epoch %d are there", e)
			}
		}
	}
	alice.do(w.nodes[0], "transfer", `{"recipient":"`+alice.account()+`","amount":1}`)
	s := w.state()
	if _, ok := s.Epoch().Member(out.r.ID()); ok || !s.Epoch().Removal {
		t.Fatal("it is a member")
	}
	rec, err := wire.ParseRecord(w.log[s.Epoch().Position-1].Record)
	if err != nil {
		t.Fatal(err)
	}
	c, err := wire.ParseCommit(rec.Body)
	if err != nil || len(c.Wraps) != 2 {
		t.Fatalf("%d wraps, %v", len(c.Wraps), err)
	}
	for n, k := range w.nodes[0].r.EpochKeys() {
		if n == s.Epoch().Number && (bytes.Equal(k.Log[:], had["log"]) || k.Log == [32]byte{}) {
			t.Fatal("the new epoch has the old key")
		}
	}
}
