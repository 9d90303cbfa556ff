package ledger

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

type everything struct {
	Bool   bool
	U8     uint8
	U64    uint64
	I8     int8
	I64    int64
	Text   string `alias:"words,word" max:"20"`
	Bytes  []byte
	Fixed  [2]byte
	Who    AccountID `json:"account"`
	Big    Uint128
	List   []inner `max:"3"`
	Option *uint16
}

type inner struct{ A, B uint16 }

var everythingShape = func() *shape {
	s, err := shapeOf(reflect.TypeFor[everything]())
	if err != nil {
		panic(err)
	}
	return s
}()

func sample() everything {
	n := uint16(9)
	return everything{
		true, 255, math.MaxUint64, -128, math.MinInt64, "a\"\\\n\x01é\u2028😀", []byte{1, 0xab}, [2]byte{0xfe, 1}, me,
		Uint128{1, 2}, []inner{{1, 2}, {3, 4}}, &n,
	}
}

func TestJSONBothWays(t *testing.T) {
	t.Parallel()
	for _, v := range []everything{sample(), {}} {
		text := everythingShape.appendJSON(nil, reflect.ValueOf(&v).Elem())
		var back everything
		if err := everythingShape.parse(text, reflect.ValueOf(&back).Elem()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if again := everythingShape.appendJSON(nil, reflect.ValueOf(&back).Elem()); !bytes.Equal(text, again) {
			t.Errorf("%s came back as %s", text, again)
		}
	}
	v := everything{Text: "\xff"}
	want := `{"bool":false,"u8":0,"u64":0,"i8":0,"i64":0,"text":"` + "\uFFFD" + `","bytes":"","fixed":"0000","account":"` +
		strings.Repeat("0", 64) + `","big":"0","list":[]}`
	if got := string(everythingShape.appendJSON(nil, reflect.ValueOf(&v).Elem())); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestBinaryBothWays(t *testing.T) {
	t.Parallel()
	for _, v := range []everything{sample(), {}} {
		b := everythingShape.appendBinary(nil, reflect.ValueOf(&v).Elem())
		back := everything{List: []inner{{7, 7}}, Option: new(uint16)}
		rest, err := everythingShape.readBinary(b, reflect.ValueOf(&back).Elem())
		if err != nil || len(rest) != 0 {
			t.Fatalf("%x: %v, %d bytes left", b, err, len(rest))
		}
		if again := everythingShape.appendBinary(nil, reflect.ValueOf(&back).Elem()); !bytes.Equal(b, again) {
			t.Errorf("%x came back as %x", b, again)
		}
		for n := range b { // every truncation is refused
			if _, err := everythingShape.readBinary(b[:n], reflect.ValueOf(new(everything)).Elem()); err == nil {
				t.Errorf("%d of %d bytes were taken", n, len(b))
			}
		}
	}
	v := inner{1, 0x0203}
	s, _ := shapeOf(reflect.TypeFor[inner]())
	if got := hex.EncodeToString(s.appendBinary(nil, reflect.ValueOf(&v).Elem())); got != "00010203" {
		t.Errorf("inner is %s", got)
	}
	for kind, b := range map[reflect.Type][]byte{
		reflect.TypeFor[bool](): {2}, reflect.TypeFor[*uint8](): {2, 1},
		reflect.TypeFor[string]():   {255, 255, 255, 255, 1},
		reflect.TypeFor[[]uint64](): {255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		s, err := shapeOf(kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.readBinary(b, reflect.New(kind).Elem()); err == nil {
			t.Errorf("%s: %x was taken", kind, b)
		}
	}
}

func TestStrictJSON(t *testing.T) {
	t.Parallel()
	type params struct {
		Amount uint64
		Small  *uint8
		Signed *int8
		Text   *string `max:"4" alias:"words"`
		Fixed  *[2]byte
		Bytes  *[]byte
		Who    *AccountID
		Big    *Uint128
		Flag   *bool
		List   *[]uint16
	}
	s, err := shapeOf(reflect.TypeFor[params]())
	if err != nil {
		t.Fatal(err)
	}
	twenty := "[" + strings.Repeat("1,", 19) + "255]"
	for _, good := range []string{
		`{"amount":18446744073709551615}`, `{"amount":"18446744073709551615"}`, " \t\r\n{ \"amount\" : 0 } ", `{"\u0061mount":1}`,
		`{"amount":1,"small":null,"signed":-128}`, `{"amount":1,"signed":"-1","text":"\ud83d\ude00"}`, `{"amount":1,"words":"abcd"}`,
		`{"amount":1,"fixed":"00ff","bytes":""}`, `{"amount":1,"who":"` + strings.Repeat("0a", 32) + `"}`, `{"amount":1,"who":` + twenty + `}`,
		`{"amount":1,"big":340282366920938463463374607431768211455}`, `{"amount":1,"flag":true,"list":[1,"2"]}`, `{"amount":1,"list":[]}`,
		`{"amount":1,"text":"\"\\\/"}`, `{"amount":1,"text":"\b\f\n"}`, `{"amount":1,"text":"\r\t"}`,
	} {
		if err := s.parse([]byte(good), reflect.ValueOf(new(params)).Elem()); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		``: `"amount" is missing`, `{}`: `"amount" is missing`, `null`: "want '{'", `[]`: "want '{'", `{"amount":1`: "want a comma",
		`{"amount":1}x`: "1 bytes after", `{"amount":1}{}`: "2 bytes after", `{"amount":1,}`: "want a string", `{amount:1}`: "want a string",
		`{"amount" 1}`: "want a colon", `{"Amount":1}`: `unknown member "Amount"`, `{"amount":1,"other":1}`: `unknown member "other"`,
		`{"amount":1,"amount":1}`: "given twice", `{"amount":1,"text":"a","words":"b"}`: "given twice",
		`{"amount":18446744073709551616}`: "no unsigned integer of 64 bits", `{"amount":-1}`: "no unsigned integer", `{"amount":-0}`: "no integer",
		`{"amount":1.0}`: "no integer", `{"amount":1e3}`: "no integer", `{"amount":+1}`: "no integer", `{"amount":01}`: "no integer",
		`{"amount":""}`: "no integer", `{"amount":" 1"}`: "want an integer", `{"amount":"1}`: "want an integer", `{"amount":null}`: "no integer", `{"amount":true}`: "no integer",
		`{"amount":1,"small":256}`: "no unsigned integer of 8 bits", `{"amount":1,"signed":128}`: "no integer of 8 bits",
		`{"amount":1,"text":"abcde"}`: "5 bytes, want at most 4", `{"amount":1,"text":1}`: "want a string", `{"amount":1,"text":"a`: "want a string",
		"{\"amount\":1,\"text\":\"\xff\"}": "UTF-8", "{\"amount\":1,\"text\":\"\x00\"}": "UTF-8", `{"amount":1,"text":"\ud800"}`: "UTF-8", `{"amount":1,"text":"\ud800\u0041"}`: "UTF-8",
		`{"amount":1,"text":"\udc00\ud800"}`: "UTF-8", `{"amount":1,"text":"\x"}`: "UTF-8", `{"amount":1,"text":"\u00g0"}`: "UTF-8", `{"amount":1,"text":"\u00`: "UTF-8", `{"amount":1,"text":"\`: "UTF-8",
		`{"amount":1,"text":"\ud800\u00"}`: "UTF-8", "{\"amount\":1,\"text\":\"\\u00\x10\x11\"}": "UTF-8",
		`{"amount":1,"fixed":"00"}`: "of 2 bytes", `{"amount":1,"fixed":"00FF"}`: "not a lower-case", `{"amount":1,"bytes":"0"}`: "two lower-case",
		`{"amount":1,"who":"00"}`: "2 characters", `{"amount":1,"who":"` + strings.Repeat("G", 64) + `"}`: "not a lower-case", `{"amount":1,"who":1}`: "want a string",
		`{"amount":1,"who":[1]}`: "1 numbers, want 20", `{"amount":1,"who":[1,` + twenty[1:] + `}`: "more than 20", `{"amount":1,"who":` + strings.Replace(twenty, "255", "256", 1) + `}`: "no byte",
		`{"amount":1,"who":` + strings.Replace(twenty, "255", "-1", 1) + `}`: "no byte", `{"amount":1,"who":[99999999999999999999999]}`: "no byte",
		`{"amount":1,"big":340282366920938463463374607431768211456}`: "128 bits", `{"amount":1,"big":-1}`: "128 bits",
		`{"amount":1,"flag":1}`: "want true or false", `{"amount":1,"list":[1,65536]}`: "item 1", `{"amount":1,"list":[1 2]}`: "want a comma", `{"amount":1,"list":[[1]]}`: "item 0",
	} {
		if err := s.parse([]byte(bad), reflect.ValueOf(new(params)).Elem()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", bad, err, want)
		}
	}
	long := everything{}
	if err := everythingShape.parse([]byte(`{"list":[{"a":1,"b":1},{"a":1,"b":1},{"a":1,"b":1},{"a":1,"b":1}]}`), reflect.ValueOf(&long).Elem()); err == nil || !strings.Contains(err.Error(), "4 items, want at most 3") {
		t.Errorf("a long list: %v", err)
	}
}

func TestTypesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	type chain struct{ Next *chain }
	for _, typ := range []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[uint](), reflect.TypeFor[float64](), reflect.TypeFor[map[string]int](), reflect.TypeFor[any](),
		reflect.TypeFor[[3]uint64](), reflect.TypeFor[[0]byte](), reflect.TypeFor[**bool](), reflect.TypeFor[[]struct{}](), reflect.TypeFor[chain](),
		reflect.TypeFor[struct{ inner }](), reflect.TypeFor[[]chan int](), reflect.TypeFor[*func()](),
		reflect.TypeFor[struct {
			A bool `json:"b"`
			B bool
		}](),
		reflect.TypeFor[struct {
			A bool `json:"-"`
		}](),
		reflect.TypeFor[struct {
			A string `max:"none"`
		}](),
	} {
		if _, err := shapeOf(typ); err == nil {
			t.Errorf("type %s was taken", typ)
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[[]uint64](), reflect.TypeFor[*bool](), reflect.TypeFor[struct{}](), reflect.TypeFor[struct{ A []string }](),
	} {
		if s, err := shapeOf(typ); err == nil && s.keyable() == nil {
			t.Errorf("type %s was taken as a key", typ)
		}
	}
}

func TestSnakeCase(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"Amount": "amount", "TotalSupply": "total_supply", "AuctionID": "auction_id", "IDOfLot": "id_of_lot", "U64": "u64", "ClosesAt2": "closes_at2"} {
		if got := snakeCase(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// TestKeysKeepTheirOrder writes ascending values as keys: the bytes ascend, and come back.
func TestKeysKeepTheirOrder(t *testing.T) {
	t.Parallel()
	type two struct {
		A string
		B int16
	}
	ascending(t, []int8{-128, -1, 0, 1, 127})
	ascending(t, []int64{math.MinInt64, -1, 0, 1, math.MaxInt64})
	ascending(t, []uint16{0, 1, 255, 256, 65535})
	ascending(t, []bool{false, true})
	ascending(t, []string{"", "\x00", "\x00\x00", "\x00a", "\x01", "a", "a\x00", "a\x00b", "a\x01", "ab", "b", "\xff"})
	ascending(t, [][]byte{{}, {0}, {0, 0}, {0, 255}, {1}, {255}})
	ascending(t, []two{{"", 5}, {"a", -3}, {"a", 2}, {"a\x00", -9}, {"b", 0}})
	ascending(t, []Uint128{{0, 1}, {0, 2}, {1, 0}})
	for _, b := range [][]byte{{}, {'a'}, {0}, {'a', 0, 2}, {0, 255}} {
		s, _ := shapeOf(reflect.TypeFor[two]())
		if _, err := s.readKey(b, reflect.ValueOf(new(two)).Elem()); err == nil {
			t.Errorf("key %x was taken", b)
		}
	}
}

func ascending[T any](t *testing.T, values []T) {
	t.Helper()
	s, err := shapeOf(reflect.TypeFor[T]())
	if err != nil || s.keyable() != nil {
		t.Fatal(err, s.keyable())
	}
	var before []byte
	for i, v := range values {
		key := s.appendKey(nil, reflect.ValueOf(&v).Elem())
		if i > 0 && (bytes.Compare(before, key) >= 0 || bytes.HasPrefix(key, before)) {
			t.Errorf("%v: key %x does not ascend from %x, or continues it", v, key, before)
		}
		before = key
		var back T
		rest, err := s.readKey(append(key, 'x'), reflect.ValueOf(&back).Elem())
		if err != nil || string(rest) != "x" || fmt.Sprint(back) != fmt.Sprint(v) {
			t.Errorf("%v came back as %v (%v)", v, back, err)
		}
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme uint8
		size   int
		want   string
	}{
		{SchemeEd25519, 32, "7f0ebbff0762de03be64a62dc8e0cb80377d582b1689f217ce949bcd17170ec2"},
		{SchemeP256, 33, "fcd38866b78621bfa408b19da6152f0aad152edf0689abae1d6e4bbd75031dee"},
		{SchemeNone, 20, strings.Repeat("0", 24) + strings.Repeat("07", 20)},
	} {
		id, err := AccountOf(c.scheme, bytes.Repeat([]byte{7}, c.size))
		if err != nil || id.String() != c.want {
			t.Errorf("scheme %d: %s (%v), want %s", c.scheme, id, err, c.want)
		}
		var back AccountID
		if text, _ := id.MarshalText(); back.UnmarshalText(text) != nil || back != id {
			t.Errorf("%s came back as %s", id, back)
		}
		if _, err := AccountOf(c.scheme, make([]byte, c.size+1)); err == nil {
			t.Errorf("scheme %d: a key of %d bytes was taken", c.scheme, c.size+1)
		}
	}
	if _, err := AccountOf(3, make([]byte, 32)); err == nil {
		t.Error("scheme 3 was taken")
	}
}

func FuzzArguments(f *testing.F) {
	v := sample()
	f.Add(everythingShape.appendJSON(nil, reflect.ValueOf(&v).Elem()))
	f.Add([]byte(`{"u64":"18446744073709551615","account":[1,2,3],"words":"\ud83d\ude00","list":[{"a":1}]}`))
	f.Fuzz(func(t *testing.T, args []byte) {
		var v, back everything
		if len(args) > MaxArgs || everythingShape.parse(args, reflect.ValueOf(&v).Elem()) != nil {
			return
		}
		text := everythingShape.appendJSON(nil, reflect.ValueOf(&v).Elem())
		if err := everythingShape.parse(text, reflect.ValueOf(&back).Elem()); err != nil {
			t.Fatalf("%q was read, and written as %q: %v", args, text, err)
		}
	})
}

func FuzzCell(f *testing.F) {
	v := sample()
	f.Add(everythingShape.appendBinary(nil, reflect.ValueOf(&v).Elem()))
	f.Fuzz(func(t *testing.T, value []byte) {
		var v everything
		rest, err := everythingShape.readBinary(value, reflect.ValueOf(&v).Elem())
		if err != nil {
			return
		}
		if again := everythingShape.appendBinary(nil, reflect.ValueOf(&v).Elem()); !bytes.Equal(again, value[:len(value)-len(rest)]) {
			t.Fatalf("%x was read, and written as %x", value, again)
		}
	})
}
