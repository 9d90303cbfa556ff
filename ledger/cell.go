package ledger

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
)

// Stored is a [Cell], [Map] or [Map2], as listed in App.State.
type Stored interface{ stored() *store }

// store is a named place of an application: one cell, or one for each key.
type store struct {
	name  string
	keys  []*shape
	value *shape
	err   error // of a type that cannot be used; NewMachine returns it
}

func (s *store) stored() *store { return s }

func newStore(name string, value reflect.Type, keys ...reflect.Type) *store {
	s := &store{name: name}
	shape, err := shapeOf(value)
	s.value = shape
	for _, t := range keys {
		k, kerr := shapeOf(t)
		if kerr == nil {
			kerr = k.keyable()
		}
		s.keys = append(s.keys, k)
		err = errors.Join(err, kerr)
	}
	if err != nil {
		s.err = fmt.Errorf("state %q: %w", name, err)
	}
	return s
}

// Cell holds one value. A cell that was never set reads as the zero value.
type Cell[V any] struct{ *store }

// NewCell describes a cell. Names are letters, digits and _, and belong to the application.
func NewCell[V any](name string) Cell[V] { return Cell[V]{newStore(name, reflect.TypeFor[V]())} }

// Get is the value, or the zero value.
func (c Cell[V]) Get(r Reader) V {
	v, _ := c.Lookup(r)
	return v
}

// Lookup is the value, and whether the cell is set.
func (c Cell[V]) Lookup(r Reader) (v V, ok bool) {
	e := r.env()
	return v, e.load(c.store, e.key(c.store), reflect.ValueOf(&v).Elem())
}

// Has says whether the cell is set.
func (c Cell[V]) Has(r Reader) bool {
	_, ok := c.Lookup(r)
	return ok
}

// Set writes the value.
func (c Cell[V]) Set(ctx *Context, v V) {
	e := ctx.env()
	e.save(c.store, e.key(c.store), reflect.ValueOf(&v).Elem())
}

// Delete removes the cell.
func (c Cell[V]) Delete(ctx *Context) { ctx.e.remove(ctx.e.key(c.store)) }

// Read is a query that answers with the cell's value.
func Read[V any](c Cell[V]) func(*View, struct{}) V {
	return func(v *View, _ struct{}) V { return c.Get(v) }
}

// Map holds a value for each key, in the order of the keys: integers by size, strings and bytes
// lexically, structs field by field.
type Map[K, V any] struct{ *store }

// NewMap describes a map. Keys are integers, bool, string, []byte, [N]byte, AccountID, Uint128 and structs
// of these.
func NewMap[K, V any](name string) Map[K, V] {
	return Map[K, V]{newStore(name, reflect.TypeFor[V](), reflect.TypeFor[K]())}
}

// Get is the value of key, or the zero value.
func (m Map[K, V]) Get(r Reader, key K) V {
	v, _ := m.Lookup(r, key)
	return v
}

// Lookup is the value of key, and whether it is set.
func (m Map[K, V]) Lookup(r Reader, key K) (v V, ok bool) {
	e := r.env()
	return v, e.load(m.store, e.key(m.store, reflect.ValueOf(&key)), reflect.ValueOf(&v).Elem())
}

// Set writes the value of key.
func (m Map[K, V]) Set(ctx *Context, key K, v V) {
	ctx.e.save(m.store, ctx.e.key(m.store, reflect.ValueOf(&key)), reflect.ValueOf(&v).Elem())
}

// Delete removes key.
func (m Map[K, V]) Delete(ctx *Context, key K) {
	ctx.e.remove(ctx.e.key(m.store, reflect.ValueOf(&key)))
}

// All gives every key and value, in key order, as they are when the loop begins.
func (m Map[K, V]) All(r Reader) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { scan(r.env(), m.store, nil, yield) }
}

// After gives the keys above key and their values, in key order: the next page of a list.
func (m Map[K, V]) After(r Reader, key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		e := r.env()
		scan(e, m.store, e.key(m.store, reflect.ValueOf(&key)), yield)
	}
}

// ReadOwn is a query that answers with the caller's own value.
func ReadOwn[V any](m Map[AccountID, V]) func(*View, struct{}) V {
	return func(v *View, _ struct{}) V { return m.Get(v, v.Caller()) }
}

// Map2 holds a value for each pair of keys, ordered by the first and then the second.
type Map2[A, B, V any] struct{ *store }

// NewMap2 describes a map with two keys.
func NewMap2[A, B, V any](name string) Map2[A, B, V] {
	return Map2[A, B, V]{newStore(name, reflect.TypeFor[V](), reflect.TypeFor[A](), reflect.TypeFor[B]())}
}

// Get is the value of a, b, or the zero value.
func (m Map2[A, B, V]) Get(r Reader, a A, b B) V {
	v, _ := m.Lookup(r, a, b)
	return v
}

// Lookup is the value of a, b, and whether it is set.
func (m Map2[A, B, V]) Lookup(r Reader, a A, b B) (v V, ok bool) {
	e := r.env()
	key := e.key(m.store, reflect.ValueOf(&a), reflect.ValueOf(&b))
	return v, e.load(m.store, key, reflect.ValueOf(&v).Elem())
}

// Set writes the value of a, b.
func (m Map2[A, B, V]) Set(ctx *Context, a A, b B, v V) {
	key := ctx.e.key(m.store, reflect.ValueOf(&a), reflect.ValueOf(&b))
	ctx.e.save(m.store, key, reflect.ValueOf(&v).Elem())
}

// Delete removes a, b.
func (m Map2[A, B, V]) Delete(ctx *Context, a A, b B) {
	ctx.e.remove(ctx.e.key(m.store, reflect.ValueOf(&a), reflect.ValueOf(&b)))
}

// Of gives every second key and value under a, in key order, as they are when the loop begins.
func (m Map2[A, B, V]) Of(r Reader, a A) iter.Seq2[B, V] {
	return func(yield func(B, V) bool) {
		scan(r.env(), m.store, nil, yield, reflect.ValueOf(&a))
	}
}

// scan yields the last key and the value of all cells of s under the given first keys, above after.
func scan[K, V any](e *env, s *store, after []byte, yield func(K, V) bool, under ...reflect.Value) {
	prefix := e.key(s, under...)
	last := s.keys[len(s.keys)-1]
	e.scan(prefix, after, func(key, value []byte) bool {
		var k K
		var v V
		rest, err := last.readKey(key[len(prefix):], reflect.ValueOf(&k).Elem())
		if err != nil || len(rest) > 0 {
			panic(errEncoding)
		}
		s.decode(value, reflect.ValueOf(&v).Elem())
		return yield(k, v)
	})
}

func (s *store) decode(value []byte, v reflect.Value) {
	if rest, err := s.value.readBinary(value, v); err != nil || len(rest) > 0 {
		panic(errEncoding)
	}
}
