package anonifytest

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// step is a command of an account to a token, and the code that it ends with.
type step struct {
	who  int // 0 constructed the token
	name string
	args string // %0, %1, %2 stand for accounts
	code uint16
}

// token is what is asked at the end, on a token of its own with a supply of 100.
type token struct {
	name     string
	steps    []step
	balances [3]uint64
	supply   uint64
	// granted is what account 0 allows account 1.
	granted uint64
}

const all = uint64(math.MaxUint64)

var tokens = []token{
	// Anonify's tests of host calls, with their numbers.
	{"Construct", nil, [3]uint64{100, 0, 0}, 100, 0},
	{"Transfer", []step{{0, "transfer", `{"recipient":%1,"amount":30}`, 0}}, [3]uint64{70, 30, 0}, 100, 0},
	{"Approve", []step{{0, "approve", `{"spender":%1,"amount":30}`, 0}}, [3]uint64{100, 0, 0}, 100, 30},
	{"TransferFrom", []step{
		{0, "approve", `{"spender":%1,"amount":30}`, 0},
		{1, "transfer_from", `{"owner":%0,"recipient":%2,"amount":20}`, 0},
	}, [3]uint64{80, 0, 20}, 100, 10},
	{"Mint", []step{{0, "mint", `{"recipient":%0,"amount":50}`, 0}}, [3]uint64{150, 0, 0}, 150, 0},
	{"Burn", []step{
		{0, "transfer", `{"recipient":%1,"amount":30}`, 0},
		{1, "burn", `{"amount":20}`, 0},
	}, [3]uint64{70, 10, 0}, 80, 0},

	// The bugs of Anonify's example.
	{"SelfTransfer", []step{
		{0, "transfer", `{"recipient":%0,"amount":60}`, 0},
		{0, "approve", `{"spender":%1,"amount":40}`, 0},
		{1, "transfer_from", `{"owner":%0,"recipient":%0,"amount":30}`, 0},
	}, [3]uint64{100, 0, 0}, 100, 10},
	{"SecondConstruct", []step{
		{1, "construct", `{"total_supply":1000}`, ledger.CodeRefused},
		{0, "construct", `{"total_supply":1000}`, ledger.CodeRefused},
		{1, "mint", `{"recipient":%1,"amount":1}`, ledger.CodeRefused},
	}, [3]uint64{100, 0, 0}, 100, 0},
	{"Overflow", []step{
		{0, "mint", fmt.Sprintf(`{"recipient":%%1,"amount":"%d"}`, all), ledger.CodeOverflow},
		{0, "mint", fmt.Sprintf(`{"recipient":%%1,"amount":"%d"}`, all-100), 0},
		{0, "mint", `{"amount":1}`, ledger.CodeOverflow},
		{0, "transfer", fmt.Sprintf(`{"recipient":%%1,"amount":"%d"}`, all), ledger.CodeRefused},
		{1, "burn", fmt.Sprintf(`{"amount":"%d"}`, all-100), 0},
	}, [3]uint64{100, 0, 0}, 100, 0},
	{"AllowanceOverwrite", []step{
		{0, "approve", `{"spender":%1,"amount":40}`, 0},
		{0, "approve", `{"spender":%1,"amount":30}`, 0},
		{1, "transfer_from", `{"owner":%0,"recipient":%2,"amount":31}`, ledger.CodeRefused},
		{2, "transfer_from", `{"owner":%0,"recipient":%2,"amount":1}`, ledger.CodeRefused},
		{1, "transfer_from", `{"owner":%0,"recipient":%2,"amount":30}`, 0},
		{0, "approve", fmt.Sprintf(`{"spender":%%1,"amount":"%d"}`, all), 0},
		{0, "approve", `{"spender":%1,"amount":0}`, 0},
		{1, "transfer_from", `{"owner":%0,"recipient":%2,"amount":1}`, ledger.CodeRefused},
	}, [3]uint64{70, 0, 30}, 100, 0},
}

// checkCalls is Anonify's integration of host calls, one token for each test, and its notifications.
func checkCalls(t *testing.T, d Driver) {
	on := d.one(t, len(tokens)+1)
	for i, c := range tokens {
		t.Run(c.name, func(t *testing.T) { c.check(on(t, i)) })
	}
	t.Run("Notifications", func(t *testing.T) { checkNotifications(on(t, len(tokens))) })
}

func (c token) check(w world) {
	t := w.t
	who := []account{w.owner(), w.account(), w.account()}
	numbers := []uint32{1, 0, 0}
	fill := strings.NewReplacer("%0", who[0].id(), "%1", who[1].id(), "%2", who[2].id())
	for i, s := range c.steps {
		numbers[s.who]++
		if o := who[s.who].send(0, numbers[s.who], s.name, fill.Replace(s.args)); o.status != "committed" || o.code != s.code {
			t.Errorf("step %d: %+v (%s), wanted %s", i, o, ledger.CodeWord(o.code), ledger.CodeWord(s.code))
		}
	}
	answers := func(a account, name, args, want string) {
		t.Helper()
		if o := a.ask(0, wire.KindQuery, name, fill.Replace(args)); o.status != "answer" || o.result != want {
			t.Errorf("%s: %+v, wanted %s", name, o, want)
		}
	}
	for i, a := range who {
		wantBalance(t, a, 0, c.balances[i])
		wantCounter(t, a, numbers[i])
	}
	answers(who[0], "approved", `{"spender":%1}`, fmt.Sprint(c.granted))
	answers(who[0], "approved", `{"spender":%2}`, "0")
	answers(who[1], "approved", `{"spender":%1}`, "0")
	answers(who[2], "total_supply", "{}", fmt.Sprint(c.supply))
	answers(who[2], "owner", "{}", who[0].id())
}

// checkNotifications is test_enclave_key_auto_notification: construct notifies 100; transfer 30 notifies 70.
// The notices are sealed to the account's key and come as server-sent events.
func checkNotifications(w world) {
	t := w.t
	listen := func(a *signedAccount) (next func() string) {
		key, err := keys.NewHPKE(wire.SuiteX25519, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		var reg struct{ Stream string }
		o := a.ask(0, wire.KindRegister, "", string(key.Public()))
		if err := json.Unmarshal([]byte(o.result), &reg); err != nil || o.status != "answer" {
			t.Fatalf("register: %+v, %v", o, err)
		}
		resp, err := w.Nodes[0].HTTP().Get(w.Nodes[0].URL + "/api/v1/notifications/" + reg.Stream)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() }) // it has no end
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		return func() string {
			t.Helper()
			for lines.Scan() {
				text, ok := strings.CutPrefix(lines.Text(), "data: ")
				if !ok {
					continue
				}
				raw, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				sealed, err := wire.ParseSealedNotice(raw)
				if err != nil {
					t.Fatal(err)
				}
				notice, err := keys.OpenNotice(key, w.Ledger, a.u.Account(), sealed)
				if err != nil {
					t.Fatal(err)
				}
				return notice.Application + " " + string(notice.Payload)
			}
			t.Fatal("the stream ended", lines.Err())
			return ""
		}
	}
	owner, other := w.account().(*signedAccount), w.account().(*signedAccount)
	own, others := listen(owner), listen(other)
	want := func(next func() string, balance int) {
		t.Helper()
		if got := next(); got != fmt.Sprintf(`%s {"balance":%d}`, w.app, balance) {
			t.Errorf("notice %s, wanted balance %d", got, balance)
		}
	}
	wantOK(t, owner.send(0, 1, "construct", `{"total_supply":100}`))
	want(own, 100)
	wantFailed(t, owner.send(0, 2, "transfer", transfer(other, 110)), ledger.CodeRefused) // notifies nobody
	wantOK(t, owner.send(0, 3, "transfer", transfer(other, 30)))
	want(own, 70)
	want(others, 30)
}
