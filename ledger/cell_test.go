package ledger

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/state"
)

// within runs f as a command of an application with the given state.
func within(t *testing.T, stores []Stored, f func(ctx *Context)) Outcome {
	t.Helper()
	app := &App{Name: "test", Version: "1", State: stores, Commands: []CommandDef{Command("run", func(ctx *Context, _ none) { f(ctx) })}}
	m, err := NewMachine(app)
	if err != nil {
		t.Fatal(err)
	}
	m.Panicked = func(_, _ string, value any) { t.Log("panic:", value) }
	return m.Execute(Block{}, 0, new(state.Tree).Begin(), call(1, "run", ""))
}

func TestCellsAndMaps(t *testing.T) {
	t.Parallel()
	type key struct{ A, B uint8 }
	cell := NewCell[string]("cell")
	numbers := NewMap[uint64, string]("numbers")
	longer := NewMap[uint64, string]("numbers2")
	structs := NewMap[key, bool]("structs")
	pairs := NewMap2[string, int32, uint64]("pairs")
	out := within(t, []Stored{cell, numbers, longer, structs, pairs}, func(ctx *Context) {
		check := func(what string, got, want any) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		check("unset cell", cell.Get(ctx)+fmt.Sprint(cell.Has(ctx)), "false")
		cell.Set(ctx, "")
		check("empty cell", cell.Has(ctx), true)
		cell.Delete(ctx)
		check("deleted cell", cell.Has(ctx), false)

		for _, n := range []uint64{300, 2, 1 << 40, 7} {
			numbers.Set(ctx, n, fmt.Sprint(n))
		}
		longer.Set(ctx, 1, "another map")
		var keys []uint64
		for k, v := range numbers.All(ctx) {
			keys = append(keys, k)
			check("value", v, k)
			numbers.Delete(ctx, 7) // does not disturb the loop
		}
		check("all", keys, []uint64{2, 7, 300, 1 << 40})
		keys = nil
		for k := range numbers.After(ctx, 7) {
			if keys = append(keys, k); len(keys) == 1 {
				break
			}
		}
		check("after 7", keys, []uint64{300})
		for k := range numbers.After(ctx, 1<<40) {
			t.Errorf("after the last: %d", k)
		}
		_, ok := numbers.Lookup(ctx, 7)
		check("deleted", ok, false)

		structs.Set(ctx, key{1, 2}, true)
		check("struct key", structs.Get(ctx, key{1, 2}) && !structs.Get(ctx, key{2, 1}), true)

		pairs.Set(ctx, "a", 5, 1)
		pairs.Set(ctx, "a", -5, 2)
		pairs.Set(ctx, "ab", 0, 3)
		pairs.Set(ctx, "a", 9, 4)
		pairs.Delete(ctx, "a", 9)
		var seconds []int32
		for b := range pairs.Of(ctx, "a") {
			seconds = append(seconds, b)
		}
		check("of a", seconds, []int32{-5, 5})
		check("pair", pairs.Get(ctx, "ab", 0), 3)
		check("no pair", pairs.Get(ctx, "ab", 5), 0)
	})
	if !out.OK() {
		t.Error(out.Err())
	}
}

func TestLongKeys(t *testing.T) {
	t.Parallel()
	texts := NewMap[string, bool]("texts")
	out := within(t, []Stored{texts}, func(ctx *Context) { texts.Set(ctx, strings.Repeat("x", 600), true) })
	if out.Code != CodeLimit || out.Message != "key of 614 bytes in texts, want at most 512" {
		t.Errorf("%+v", out)
	}
}

// TestCellsOfAnotherType: a cell that holds something else than its type is the application's failure.
func TestCellsOfAnotherType(t *testing.T) {
	t.Parallel()
	before, after := NewCell[uint64]("x"), NewCell[uint32]("x")
	tx := new(state.Tree).Begin()
	for i, app := range []*App{
		{Name: "test", Version: "1", State: []Stored{before}, Commands: []CommandDef{Command("run", func(ctx *Context, _ none) { before.Set(ctx, 1) })}},
		{Name: "test", Version: "2", State: []Stored{after}, Commands: []CommandDef{Command("run", func(ctx *Context, _ none) { after.Get(ctx) })}},
	} {
		m, err := NewMachine(app)
		if err != nil {
			t.Fatal(err)
		}
		if out := m.Execute(Block{}, 0, tx, call(uint64(i)+1, "run", "")); out.Code != []uint16{CodeOK, CodePanicked}[i] {
			t.Errorf("version %s: %+v", app.Version, out)
		}
	}
}

func TestArithmetic(t *testing.T) {
	t.Parallel()
	const top = 1<<64 - 1
	for name, c := range map[string]struct {
		run  func(ctx *Context) uint64
		want uint64
		ok   bool
	}{
		"add":           {func(ctx *Context) uint64 { return ctx.Add(top-1, 1) }, top, true},
		"add over":      {func(ctx *Context) uint64 { return ctx.Add(top, 1) }, 0, false},
		"sub":           {func(ctx *Context) uint64 { return ctx.Sub(5, 5) }, 0, true},
		"sub under":     {func(ctx *Context) uint64 { return ctx.Sub(5, 6) }, 0, false},
		"mul":           {func(ctx *Context) uint64 { return ctx.Mul(1<<32, 1<<31) }, 1 << 63, true},
		"mul over":      {func(ctx *Context) uint64 { return ctx.Mul(1<<32, 1<<32) }, 0, false},
		"muldiv":        {func(ctx *Context) uint64 { return ctx.MulDiv(top, top, top) }, top, true},
		"muldiv rounds": {func(ctx *Context) uint64 { return ctx.MulDiv(7, 3, 2) }, 10, true},
		"muldiv over":   {func(ctx *Context) uint64 { return ctx.MulDiv(top, 2, 1) }, 0, false},
		"muldiv zero":   {func(ctx *Context) uint64 { return ctx.MulDiv(1, 1, 0) }, 0, false},
	} {
		var got uint64
		out := within(t, nil, func(ctx *Context) { got = c.run(ctx) })
		if out.OK() != c.ok || got != c.want || (!c.ok && out.Code != CodeOverflow) {
			t.Errorf("%s: %d %+v", name, got, out)
		}
	}
}

// TestUint128 holds sums, differences, products and comparisons against big integers.
func TestUint128(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	draw := func() Uint128 {
		words := []uint64{0, 1, 2, 1<<64 - 1, 1 << 63, r.Uint64()}
		return Uint128{words[r.IntN(6)], words[r.IntN(6)]}
	}
	number := func(a Uint128) *big.Int { n, _ := new(big.Int).SetString(a.String(), 10); return n }
	for range 2000 {
		a, b := draw(), draw()
		if back, err := ParseUint128(a.String()); err != nil || back != a {
			t.Fatalf("%v came back as %v (%v)", a, back, err)
		}
		if a.Cmp(b) != number(a).Cmp(number(b)) {
			t.Fatalf("%s and %s compare as %d", a, b, a.Cmp(b))
		}
		for name, c := range map[string]struct {
			run  func(ctx *Context) Uint128
			want *big.Int
		}{
			"+": {func(ctx *Context) Uint128 { return a.Add(ctx, b) }, new(big.Int).Add(number(a), number(b))},
			"-": {func(ctx *Context) Uint128 { return a.Sub(ctx, b) }, new(big.Int).Sub(number(a), number(b))},
			"*": {func(ctx *Context) Uint128 { return a.Mul(ctx, b.Lo) }, new(big.Int).Mul(number(a), number(Uint128From(b.Lo)))},
		} {
			fits := c.want.Sign() >= 0 && c.want.BitLen() <= 128
			var got Uint128
			if out := within(t, nil, func(ctx *Context) { got = c.run(ctx) }); out.OK() != fits || fits && number(got).Cmp(c.want) != 0 {
				t.Fatalf("%s %s %s is %s (%v), want %s", a, name, b, got, out.Err(), c.want)
			}
		}
	}
	for _, bad := range []string{"", "-1", "1.0", strings.Repeat("9", 39), strings.Repeat("1", 40)} {
		if n, err := ParseUint128(bad); err == nil {
			t.Errorf("%q is %s", bad, n)
		}
	}
}

func TestCreditAndDebit(t *testing.T) {
	t.Parallel()
	funds := NewMap[uint8, uint64]("funds")
	out := within(t, []Stored{funds}, func(ctx *Context) {
		got := []uint64{
			Credit(ctx, funds, 1, 0), Credit(ctx, funds, 1, 5), Credit(ctx, funds, 1, 5),
			Debit(ctx, funds, 1, 4, "short"), Debit(ctx, funds, 1, 6, "short"), Debit(ctx, funds, 1, 0, "short"),
		}
		if want := []uint64{0, 5, 10, 6, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for range funds.All(ctx) {
			t.Error("an empty account takes a cell")
		}
		Debit(ctx, funds, 1, 1, "short")
	})
	if out.Code != CodeRefused || out.Message != "short" {
		t.Errorf("%+v", out)
	}
}
