package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/state"
)

type none = struct{}

// bench is a machine with a state, for tests that count positions and nonces themselves.
type bench struct {
	m    *Machine
	tree *state.Tree
	b    Block
}

func newBench(t *testing.T, apps ...*App) *bench {
	t.Helper()
	m, err := NewMachine(apps...)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{m: m, tree: new(state.Tree), b: Block{Position: 10, Time: 1000, Random: [32]byte{1}}}
}

func (l *bench) do(c CommandCall) Outcome {
	tx := l.tree.Begin()
	out := l.m.Execute(l.b, 0, tx, c)
	l.tree = tx.Commit()
	return out
}

var me = func() AccountID { id, _ := AccountOf(SchemeEd25519, make([]byte, 32)); return id }()

func call(nonce uint64, name, args string) CommandCall {
	return CommandCall{App: "test", Scheme: SchemeEd25519, Account: me, Nonce: nonce, ExpiresAt: 10, Name: name, Args: []byte(args)}
}

var (
	testNumber = NewCell[uint64]("number")
	testMap    = NewMap[uint64, string]("map")
	unlisted   = NewCell[uint64]("unlisted")
)

func testApp() *App {
	return &App{
		Name: "test", Version: "1", State: []Stored{testNumber, testMap},
		Commands: []CommandDef{
			Command("set", func(ctx *Context, p struct{ Value uint64 }) { testNumber.Set(ctx, p.Value) }),
			Command("fail", func(ctx *Context, _ none) {
				testNumber.Set(ctx, 99)
				testMap.Set(ctx, 1, "x")
				ctx.Notify(ctx.Caller(), none{})
				ctx.Refuse("no", "number %d", 7)
			}),
			Command("panic", func(ctx *Context, _ none) {
				testNumber.Set(ctx, 99)
				_ = []int{}[ctx.Height()]
			}),
			Command("swallow", func(ctx *Context, _ none) {
				defer func() { _ = recover() }()
				testNumber.Set(ctx, 99)
				ctx.Require(false, "swallowed")
			}),
			Command("unlisted", func(ctx *Context, _ none) { unlisted.Set(ctx, 1) }),
			Command("overflow", func(ctx *Context, _ none) { testNumber.Set(ctx, ctx.Add(1<<64-1, 1)) }),
			Command("manyWrites", func(ctx *Context, _ none) {
				for i := range uint64(MaxWrites + 1) {
					testMap.Set(ctx, i, "")
				}
			}),
			Command("manyBytes", func(ctx *Context, _ none) {
				for i := range uint64(30) {
					testMap.Set(ctx, i, strings.Repeat("x", 60_000))
				}
			}),
			Command("manyReads", func(ctx *Context, _ none) {
				for range MaxReads + 1 {
					testNumber.Get(ctx)
				}
			}),
			Command("bigValue", func(ctx *Context, _ none) { testMap.Set(ctx, 1, strings.Repeat("x", 65_536)) }),
			Command("manyEvents", func(ctx *Context, _ none) {
				for range MaxEvents + 1 {
					ctx.Notify(ctx.Caller(), uint8(1))
				}
			}),
			Command("bigEvents", func(ctx *Context, _ none) { ctx.Notify(ctx.Caller(), strings.Repeat("x", MaxEventBytes)) }),
			Command("nilEvent", func(ctx *Context, _ none) { ctx.Notify(ctx.Caller(), nil) }),
			Command("mapEvent", func(ctx *Context, _ none) { ctx.Notify(ctx.Caller(), map[string]int{}) }),
			CommandWithResult("bigResult", func(*Context, none) string { return strings.Repeat("x", MaxResult) }),
			CommandWithResult("both", func(*Context, none) string { return "command" }).Alias("second_name"),
			CommandWithResult("where", func(ctx *Context, _ none) []string {
				return []string{fmt.Sprint(ctx.Height(), ctx.Time(), ctx.Caller() == me, ctx.Ledger() == [32]byte{})}
			}),
			CommandWithResult("random", func(ctx *Context, _ none) []uint64 {
				return []uint64{ctx.Random().Uint64(), ctx.Random().Uint64(), ctx.Random().Below(3)}
			}),
			Command("belowZero", func(ctx *Context, _ none) { ctx.Random().Below(0) }),
		},
		Queries: []QueryDef{
			Query("number", Read(testNumber)),
			Query("both", func(*View, none) string { return "query" }),
			Query("refuse", func(v *View, _ none) bool { v.Require(false, "no"); return true }),
			Query("panic", func(*View, none) bool { panic("secret") }),
			Query("bigResult", func(*View, none) string { return strings.Repeat("x", MaxResult) }),
			Query("all", func(v *View, _ none) (keys []uint64) {
				for k := range testMap.All(v) {
					keys = append(keys, k)
				}
				return keys
			}),
			Query("manyReads", func(v *View, _ none) bool {
				for range MaxQueryReads + 1 {
					testNumber.Get(v)
				}
				return true
			}),
		},
	}
}

// TestChecksAndTheirOrder breaks one thing more each time, from the last check to the first.
func TestChecksAndTheirOrder(t *testing.T) {
	t.Parallel()
	l := newBench(t, testApp())
	c := call(1, "set", `{"value":1}`)
	for _, step := range []struct {
		breaks func()
		code   uint16
		used   bool // the nonce is used up
	}{
		{func() { c.Args = []byte(`{}`) }, CodeBadArguments, true},
		{func() { c.Name = "sett" }, CodeUnknownCommand, true},
		{func() { c.Args = make([]byte, MaxArgs+1) }, CodeTooLarge, true},
		{func() { c.Nonce = 2 }, CodeNonceGap, false},
		{func() { c.ExpiresAt = 9 }, CodeExpired, false},
		{func() { c.Scheme = SchemeNone }, CodePolicyRefused, false},
		{func() { c.App = "other" }, CodeUnknownApplication, false},
	} {
		step.breaks()
		l.tree = new(state.Tree)
		empty := l.tree.Root()
		out := l.do(c)
		if out.Code != step.code || out.Message == "" || out.Result != nil || out.Events != nil {
			t.Errorf("%s: %+v", CodeWord(step.code), out)
		}
		if used := l.tree.Root() != empty; used != step.used || (l.m.Counter(l.tree, "test", me) == c.Nonce) != step.used {
			t.Errorf("%s: the state changed: %v, want %v", CodeWord(step.code), used, step.used)
		}
	}
	if l.m.Counter(l.tree, "other", me) != 0 {
		t.Error("an unknown application has a counter")
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	open := &App{Name: "open", Version: "1", Access: AnyoneMayClaimAnyAccount, Commands: []CommandDef{Command("x", func(*Context, none) {})}}
	l := newBench(t, testApp(), open)
	claimedID, _ := AccountOf(SchemeNone, []byte("twenty bytes, no sig"))
	for _, c := range []struct {
		app     string
		scheme  uint8
		account AccountID
		ok      bool
	}{
		{"test", SchemeEd25519, me, true}, {"test", SchemeP256, me, true}, {"test", SchemeNone, claimedID, false}, {"test", 3, me, false},
		{"open", SchemeEd25519, me, true}, {"open", SchemeP256, me, true}, {"open", SchemeNone, claimedID, true}, {"open", 3, me, false},
		{"open", SchemeNone, me, false}, // a signed account cannot be claimed
		{"open", SchemeEd25519, claimedID, false},
	} {
		admitted := admit(l.m.apps[c.app], c.app, c.scheme, c.account).OK()
		if admitted != c.ok {
			t.Errorf("%s, scheme %d, %.8s: admitted %v, want %v", c.app, c.scheme, c.account, admitted, c.ok)
		}
		asked := l.m.Query(l.b, l.tree, QueryCall{App: c.app, Scheme: c.scheme, Account: c.account, Name: "x"})
		if (asked.Code != CodePolicyRefused) != c.ok {
			t.Errorf("%s, scheme %d: query gave %+v", c.app, c.scheme, asked)
		}
	}
}

// TestFailedCommandsLeaveNothing: after each of them only the nonce differs, and no event goes out.
func TestFailedCommandsLeaveNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		code    uint16
		message string
	}{
		{"fail", CodeRefused, "no: number 7"},
		{"panic", CodePanicked, "the application failed"},
		{"swallow", CodeRefused, "swallowed"},
		{"unlisted", CodePanicked, "the application failed"},
		{"overflow", CodeOverflow, "sum is out of range"},
		{"manyWrites", CodeLimit, "more than 2000 writes or 1048576 bytes written"},
		{"manyBytes", CodeLimit, "more than 2000 writes or 1048576 bytes written"},
		{"manyReads", CodeLimit, "more than 20000 cells read"},
		{"bigValue", CodeLimit, "value of 65540 bytes in map, want at most 65536"},
		{"manyEvents", CodeLimit, "more than 256 notifications or 65536 bytes of them"},
		{"bigEvents", CodeLimit, "more than 256 notifications or 65536 bytes of them"},
		{"nilEvent", CodePanicked, "the application failed"},
		{"mapEvent", CodePanicked, "the application failed"},
		{"bigResult", CodeTooLarge, "result of 65538 bytes, want at most 65536"},
		{"belowZero", CodePanicked, "the application failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, want := newBench(t, testApp()), newBench(t, testApp())
			l.do(call(1, "set", `{"value":5}`))
			want.do(call(1, "set", `{"value":5}`))
			out := l.do(call(2, c.name, ""))
			want.do(call(2, "unknown", ""))
			if out.Code != c.code || out.Message != c.message || out.Events != nil || out.Result != nil {
				t.Errorf("%+v, want %s %q", out, CodeWord(c.code), c.message)
			}
			if l.tree.Root() != want.tree.Root() {
				t.Error("the command left something behind")
			}
		})
	}
}

func TestPanicsAreToldToWhoAsks(t *testing.T) {
	t.Parallel()
	l := newBench(t, testApp())
	var told []string
	l.m.Panicked = func(app, name string, value any) { told = append(told, fmt.Sprint(app, " ", name, ": ", value)) }
	l.do(call(1, "panic", ""))
	l.do(call(2, "fail", ""))
	if want := []string{"test panic: runtime error: index out of range [10] with length 0"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestContextIsUsedUp: an application that keeps a context cannot write with it later.
func TestContextIsUsedUp(t *testing.T) {
	t.Parallel()
	var kept *Context
	app := &App{Name: "test", Version: "1", State: []Stored{testNumber}, Commands: []CommandDef{
		Command("keep", func(ctx *Context, _ none) { kept = ctx }),
		Command("use", func(*Context, none) { testNumber.Set(kept, 1) }),
		Command("notify", func(*Context, none) { kept.Notify(me, uint8(1)) }),
		Command("draw", func(*Context, none) { kept.Random() }),
	}}
	l := newBench(t, app)
	if out := l.do(call(1, "keep", "")); !out.OK() {
		t.Fatal(out.Err())
	}
	for i, name := range []string{"use", "notify", "draw"} {
		if out := l.do(call(uint64(i)+2, name, "")); out.Code != CodePanicked {
			t.Errorf("%s: %+v, want a panic", name, out)
		}
	}
}

func TestNamesOfCommandsAndQueriesAreApart(t *testing.T) {
	t.Parallel()
	l := newBench(t, testApp())
	query := func(name string) Outcome {
		return l.m.Query(l.b, l.tree, QueryCall{App: "test", Scheme: SchemeEd25519, Account: me, Name: name})
	}
	if out := l.do(call(1, "both", "")); string(out.Result) != `"command"` {
		t.Errorf("command both: %+v", out)
	}
	if out := l.do(call(2, "second_name", "")); string(out.Result) != `"command"` {
		t.Errorf("command second_name: %+v", out)
	}
	if out := query("both"); string(out.Result) != `"query"` {
		t.Errorf("query both: %+v", out)
	}
	if out := l.do(call(3, "number", "")); out.Code != CodeUnknownCommand {
		t.Errorf("a query called as a command: %+v", out)
	}
	if out := query("set"); out.Code != CodeUnknownQuery {
		t.Errorf("a command called as a query: %+v", out)
	}
	for name, want := range map[string]Outcome{
		"refuse":    {Code: CodeRefused, Message: "no"},
		"panic":     {Code: CodePanicked, Message: "the application failed"},
		"bigResult": {Code: CodeTooLarge, Message: "result of 65538 bytes, want at most 65536"},
		"manyReads": {Code: CodeLimit, Message: "more than 200000 cells read"},
	} {
		if out := query(name); out.Code != want.Code || out.Message != want.Message || out.Result != nil {
			t.Errorf("query %s: %+v, want %+v", name, out, want)
		}
	}
	if out := l.m.Query(l.b, l.tree, QueryCall{App: "test", Scheme: 1, Account: me, Name: "both", Args: make([]byte, MaxArgs+1)}); out.Code != CodeTooLarge {
		t.Errorf("large arguments: %+v", out)
	}
	if out := l.m.Query(l.b, l.tree, QueryCall{App: "tset", Scheme: 1, Account: me, Name: "both"}); out.Code != CodeUnknownApplication {
		t.Errorf("unknown application: %+v", out)
	}
	if out := query("all"); string(out.Result) != "[]" {
		t.Errorf("query all: %+v", out)
	}
}

// TestApplicationsAreIsolated: two applications with the same names see their own cells, also where one's
// name continues the other's.
func TestApplicationsAreIsolated(t *testing.T) {
	t.Parallel()
	first, second := testApp(), testApp()
	second.Name = "test2"
	l := newBench(t, first, second)
	l.do(call(1, "set", `{"value":5}`))
	other := call(1, "set", `{"value":6}`)
	other.App = "test2"
	if out := l.do(other); !out.OK() { // nonces are apart, too
		t.Fatal(out.Err())
	}
	for app, want := range map[string]string{"test": "5", "test2": "6"} {
		out := l.m.Query(l.b, l.tree, QueryCall{App: app, Scheme: 1, Account: me, Name: "number"})
		if string(out.Result) != want {
			t.Errorf("%s: %s, want %s", app, out.Result, want)
		}
	}
	if l.tree.Len() != 4 {
		t.Errorf("%d cells, want a number and a nonce for each application", l.tree.Len())
	}
}

func TestPlaceAndRandomness(t *testing.T) {
	t.Parallel()
	l := newBench(t, testApp())
	if out := l.do(call(1, "where", "")); string(out.Result) != `["10 1000 true true"]` {
		t.Errorf("where: %s", out.Result)
	}
	draw := func(b Block, index uint32) string {
		return string(l.m.Execute(b, index, l.tree.Begin(), call(2, "random", "")).Result)
	}
	other := l.b
	other.Random[0]++
	same, another, elsewhere := draw(l.b, 0), draw(l.b, 1), draw(other, 0)
	if same != draw(l.b, 0) {
		t.Error("the same command drew other numbers")
	}
	if same == another || same == elsewhere || another == elsewhere {
		t.Errorf("commands drew the same numbers: %s, %s, %s", same, another, elsewhere)
	}
	// Fixed by the definition: HMAC over HMAC, computed by another program.
	if want := "[870201123004691546,12673569447796012178,1]"; same != want {
		t.Errorf("drew %s, want %s", same, want)
	}
}

func TestBelowIsEven(t *testing.T) {
	t.Parallel()
	r, counts := &Random{seed: []byte("x")}, [3]int{}
	for range 3000 {
		counts[r.Below(3)]++
	}
	for n, c := range counts {
		if c < 900 || c > 1100 {
			t.Errorf("%d was drawn %d of 3000 times", n, c)
		}
	}
	if r.Below(1) != 0 {
		t.Error("Below(1) is not 0")
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	if CodeWord(CodeUnknownQuery) != "unknown_query" || CodeWord(CodeOverflow) != "overflow" || CodeWord(9999) != "code_9999" {
		t.Error("words and codes do not fit")
	}
	if err := (Outcome{Code: CodeRefused, Message: "no"}).Err(); err == nil || err.Error() != "ledger: refused: no" {
		t.Errorf("error %v", err)
	}
	if got := cut(strings.Repeat("x", MaxMessage-1) + "é"); got != strings.Repeat("x", MaxMessage-1) {
		t.Errorf("cut gave %d bytes", len(got))
	}
	if cut("a\xff") != "a\uFFFD" {
		t.Error("a message is no UTF-8")
	}
}

func BenchmarkExecute(b *testing.B) {
	m, err := NewMachine(testApp())
	if err != nil {
		b.Fatal(err)
	}
	tx := new(state.Tree).Begin()
	n := uint64(0)
	for b.Loop() {
		n++
		if out := m.Execute(Block{}, 0, tx, call(n, "set", `{"value":7}`)); !out.OK() {
			b.Fatal(out.Err())
		}
	}
}
