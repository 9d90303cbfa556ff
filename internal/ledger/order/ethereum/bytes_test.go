package ethereum

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum/fakechain"
	"hitoku.dev/internal/ledger/order/ordertest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRLP holds the examples of the Ethereum wiki, and forms that are not the only one.
func TestRLP(t *testing.T) {
	t.Parallel()
	lorem := "Lorem ipsum dolor sit amet, consectetur adipisicing elit"
	for in, want := range map[string]item{
		"83646f67":           {bytes: []byte("dog")},
		"c88363617483646f67": {isList: true, list: []item{{bytes: []byte("cat")}, {bytes: []byte("dog")}}},
		"80":                 {},
		"c0":                 {isList: true},
		"00":                 {bytes: []byte{0}},
		"0f":                 {bytes: []byte{15}},
		"820400":             {bytes: []byte{4, 0}},
		"c7c0c1c0c3c0c1c0":   {isList: true, list: []item{{isList: true}, {isList: true, list: []item{{isList: true}}}, {isList: true, list: []item{{isList: true}, {isList: true, list: []item{{isList: true}}}}}}},
		"b838" + hex.EncodeToString([]byte(lorem)): {bytes: []byte(lorem)},
	} {
		got, err := parseRLP(unhex(t, in))
		if err != nil || !bytes.Equal(got.append(nil), unhex(t, in)) || !bytes.Equal(want.append(nil), unhex(t, in)) {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "8100", "817f", "b800", "b83700", "f800", "b90000", "83646f", "c883636174", "0000", "c28100", "bfffffffffffffffff", "ffffffffffffffffff00",
		strings.Repeat("c1", 40) + "c0"} {
		if i, err := parseRLP(unhex(t, in)); err == nil {
			t.Errorf("%s was taken for %v", in, i)
		}
	}
}

// TestTransaction holds the example of EIP-155.
func TestTransaction(t *testing.T) {
	t.Parallel()
	k, err := ParseKey("0x4646464646464646464646464646464646464646464646464646464646464646")
	if err != nil {
		t.Fatal(err)
	}
	if want := "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"; k.Address().Checksummed() != want {
		t.Errorf("address %s, %s wanted", k.Address().Checksummed(), want)
	}
	for _, bad := range []string{"", "0x46", strings.Repeat("00", 32), strings.Repeat("ff", 32), strings.Repeat("zz", 32)} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q was taken for a key", bad)
		}
	}
	if again, err := ParseKey(k.Hex()); err != nil || again.Address() != k.Address() {
		t.Error("a key does not read back")
	}
	if a := contractAddress(Address(unhex(t, "6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0")), 1); a.String() != "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8" {
		t.Errorf("contract at %s", a)
	}
	d := keccak([]byte("digest"))
	sig := k.Sign(d)
	if a, err := recoverAddress(d, sig[:]); err != nil || a != k.Address() {
		t.Errorf("recovered %s, %v", a, err)
	}
	for i := range sig {
		flipped := sig
		flipped[i] ^= 1
		if a, err := recoverAddress(d, flipped[:]); err == nil && a == k.Address() {
			t.Errorf("byte %d flipped, the signature is still good", i)
		}
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for s, ok := range map[string]bool{
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed": true, "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed": true,
		"5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED": true, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD": false,
		"0x5aaeb6053f3e94c9b9a09f33669435e7ef1bea": false, "": false, "0xzz": false,
	} {
		if _, err := ParseAddress(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 10: 7} {
		if got := quorum(n); got != want {
			t.Errorf("%d of %d validators, %d wanted", got, n, want)
		}
	}
}

// proved is a chain sealed by four validators with three records, its log's proof and the validators.
func proved(t testing.TB, sealing int) (proof []byte, validators []Address, chain [32]byte, err error) {
	t.Helper()
	o := fakechain.Options{ChainID: 1337, Contract: [20]byte{0xc0}, Ledger: [32]byte{0x1e}, BaseFee: gwei, AtOnce: true, Sealing: sealing}
	for i := range byte(4) {
		k := secp256k1.PrivKeyFromBytes(bytes.Repeat([]byte{i + 1}, 32))
		o.Validators = append(o.Validators, k)
		validators = append(validators, addressOf(k.PubKey()))
	}
	c := fakechain.New(o)
	key, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{9}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Endpoints: []string{"http://e"}, ChainID: 1337, Contract: Address{0xc0}, Ledger: [32]byte{0x1e}, Finality: Immediate, Validators: validators,
		Key: key, Store: FolderStore(t.TempDir()), Now: time.Now, Poll: time.Millisecond, HTTP: &http.Client{Transport: wires{"e": fakechain.NewEndpoint(c)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for n := range uint64(3) {
		if err := l.Submit(t.Context(), ordertest.Submission(1, n)); err != nil {
			t.Fatal(err)
		}
	}
	if sealing > 0 && sealing < 3 {
		for l.Status().Problem == nil {
			time.Sleep(time.Millisecond)
		}
		return nil, validators, chain, l.Status().Problem
	}
	if err := l.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	proof, err = l.Proof(context.Background())
	list, readErr := l.Read(t.Context(), 0, 3)
	return proof, validators, ordertest.Chain([32]byte{0x1e}, list), errors.Join(err, readErr)
}

func TestProof(t *testing.T) {
	t.Parallel()
	proof, validators, chain, err := proved(t, 3)
	if err != nil {
		t.Fatal(err)
	}
	s, err := VerifyProof(proof, Address{0xc0}, validators)
	if err != nil || s.Chain != Hash(chain) || s.Position != 3 {
		t.Fatalf("%+v, %v; position 3, chain value %x wanted", s, err, chain)
	}
	if _, err := VerifyProof(proof, Address{0xc1}, validators); err == nil {
		t.Error("the proof holds for another contract")
	}
	stranger := testKey(t, 77).Address()
	for name, list := range map[string][]Address{
		"none": nil, "strangers": {stranger}, "too many": append(validators, stranger, Address{1}), "one twice": {validators[0], validators[0], validators[0], stranger, Address{1}},
	} {
		if _, err := VerifyProof(proof, Address{0xc0}, list); err == nil {
			t.Errorf("validators, %s: the proof holds", name)
		}
	}
	if _, _, _, err := proved(t, 2); err == nil || !strings.Contains(err.Error(), "sealed by 2 of the 4") {
		t.Errorf("two seals of four: %v", err)
	}
	// Whatever bit is flipped, the proof fails or proves the same, since one seal of four may be damaged only where four were given.
	for i := range proof {
		flipped := bytes.Clone(proof)
		flipped[i] ^= 1
		if got, err := VerifyProof(flipped, Address{0xc0}, validators); err == nil && got != s {
			t.Fatalf("byte %d flipped: the proof shows %+v", i, got)
		} else if err == nil {
			t.Fatalf("byte %d flipped: the proof holds", i)
		}
	}
	for n := range len(proof) {
		if _, err := VerifyProof(proof[:n], Address{0xc0}, validators); err == nil {
			t.Fatalf("%d bytes of the proof are enough", n)
		}
	}
	if _, err := VerifyProof(make([]byte, maxProof+1), Address{0xc0}, validators); err == nil {
		t.Error("a proof above the limit was taken")
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	good := event{position: 5, time: 6, n: 7, sender: [32]byte{8}, record: []byte("record")}
	data := func(e event) []byte {
		b := append(append(uintWord(e.time), e.sender[:]...), uintWord(e.n)...)
		b = append(append(b, uintWord(128)...), uintWord(uint64(len(e.record)))...)
		return appendPadded(b, e.record)
	}(good)
	var e event
	if err := e.parse(uintWord(5), data); err != nil || e.position != 5 || e.time != 6 || e.n != 7 || e.sender != good.sender || string(e.record) != "record" {
		t.Fatalf("%+v, %v", e, err)
	}
	set := func(at int, to byte) []byte {
		b := bytes.Clone(data)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"short": data[:160], "odd": data[:len(data)-1], "longer": append(bytes.Clone(data), make([]byte, 32)...), "offset": set(127, 160), "huge": set(128, 1),
		"empty": set(159, 0), "time": set(0, 1), "padding": set(len(data)-1, 1), "length": set(159, 33),
	} {
		if err := e.parse(uintWord(5), b); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	var s string
	for in, ok := range map[string]bool{
		`{"jsonrpc":"2.0","id":1,"result":"0x1"}`: true, `{"id":2,"result":"0x1"}`: false, `{"result":"0x1"}`: false, `{"id":1}`: false,
		`{"id":1,"result":5}`: false, `[]`: false, ``: false, `{"id":1,"error":{"code":-1,"message":"no"}}`: false,
	} {
		if err := parseAnswer([]byte(in), &s); (err == nil) != ok {
			t.Errorf("%s: %v", in, err)
		}
	}
	for in, ok := range map[string]bool{"0x0": true, "0x1f": true, "0x": false, "0x01": false, "1": false, "0x1ffffffffffffffff": false, "0x+1": false} {
		if _, err := parseQuantity(in); (err == nil) != ok {
			t.Errorf("quantity %s: %v", in, err)
		}
	}
	for in, ok := range map[string]bool{"0x0": true, "0x1ffffffffffffffff": true, "0x": false, "0x0f": false, "0x1" + strings.Repeat("0", 64): false} {
		if _, err := parseBig(in); (err == nil) != ok {
			t.Errorf("number %s: %v", in, err)
		}
	}
}

// TestTooLongAnswer has an endpoint answer without end.
func TestTooLongAnswer(t *testing.T) {
	t.Parallel()
	e := &endpoint{url: "http://e", timeout: time.Minute, client: &http.Client{Transport: wires{"e": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte{' '}, 1<<20)
		for range maxAnswer>>20 + 1 {
			_, _ = w.Write(chunk)
		}
	})}}}
	if _, err := e.number(t.Context(), "eth_blockNumber"); !errors.Is(err, errTooMuch) {
		t.Fatalf("%v, errTooMuch wanted", err)
	}
}

func FuzzRLP(f *testing.F) {
	for _, s := range []string{"83646f67", "c88363617483646f67", "c7c0c1c0c3c0c1c0", "80"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := parseRLP(b); err == nil && !bytes.Equal(i.append(nil), b) {
			t.Fatalf("%x is written as %x", b, i.append(nil))
		}
	})
}

func FuzzProof(f *testing.F) {
	proof, validators, _, err := proved(f, 0)
	if err != nil {
		f.Fatal(err)
	}
	want, err := VerifyProof(proof, Address{0xc0}, validators)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(proof)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := VerifyProof(b, Address{0xc0}, validators); err == nil && got != want {
			t.Fatalf("%x proves %+v", b, got)
		}
	})
}

func FuzzHeader(f *testing.F) {
	proof, _, _, err := proved(f, 0)
	if err != nil {
		f.Fatal(err)
	}
	i, err := parseRLP(proof)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(i.list[0].bytes, true)
	f.Add(i.list[0].bytes, false)
	f.Fuzz(func(t *testing.T, b []byte, qbft bool) {
		h, err := parseHeader(b, qbft)
		if err != nil {
			return
		}
		if !bytes.Equal(h.bytes(), b) {
			t.Fatalf("%x is written as %x", b, h.bytes())
		}
		_ = h.verifySeals([]Address{{1}})
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":[{"address":"0xc000000000000000000000000000000000000000","topics":["0x00","0x01"],"data":"0x","blockNumber":"0x1"}]}`))
	f.Add([]byte(`{"id":1,"result":{"accountProof":["0x80"],"storageProof":[{"proof":[]},{"proof":["0x80"]}]}}`))
	f.Add([]byte(`{"id":1,"result":{"parentHash":"0x00","number":"0x1","extraData":"0x"}}`))
	f.Add([]byte(`{"id":1,"result":{"status":"0x1","blockNumber":"0x1","gasUsed":"0x1","contractAddress":"0xc000000000000000000000000000000000000000"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var logs []logJSON
		if parseAnswer(b, &logs) == nil {
			for _, j := range logs {
				if e, err := j.event(Address{0xc0}); err == nil && (len(e.record) == 0 || order.Chain([32]byte{}, e.position, e.time, e.record) == [32]byte{}) {
					t.Fatal(e)
				}
			}
		}
		var p *proofJSON
		if parseAnswer(b, &p) == nil && p != nil {
			if a, err := p.parse(); err == nil {
				_, _ = a.verify(&header{}, Address{})
			}
		}
		var h *headerJSON
		if parseAnswer(b, &h) == nil && h != nil {
			_, _ = h.header()
		}
		var r *receiptJSON
		if parseAnswer(b, &r) == nil && r != nil {
			_, _ = r.receipt(Hash{})
		}
	})
}

func FuzzStored(f *testing.F) {
	p := &pending{tx: transaction{chainID: 1, nonce: 2, to: &Address{}, data: []byte{1}}}
	f.Add(p.marshal(Address{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePending(b, 2, 1, Address{}); err == nil {
			if _, err := parsePending(p.marshal(Address{}), 2, 1, Address{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestHeaderFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	w.chain.Mine(2)
	e := &endpoint{url: "http://e", timeout: time.Minute, client: &http.Client{Transport: wires{"e": w.endpoints[0]}}}
	var raw map[string]json.RawMessage
	if err := e.call(t.Context(), &raw, "eth_getBlockByNumber", "latest", false); err != nil {
		t.Fatal(err)
	}
	for _, f := range (&headerJSON{}).list() {
		changed := map[string]json.RawMessage{}
		for k, v := range raw {
			changed[k] = v
		}
		switch v, there := raw[f.name]; {
		case !there:
			changed[f.name] = json.RawMessage(`"0x1"`)
		case f.size == quantityField:
			changed[f.name] = json.RawMessage(`"0xabcdef"`)
		default:
			changed[f.name] = json.RawMessage(strings.Replace(string(v), `"0x`, `"0xff`, 1)[:len(v)-1] + `"`)
		}
		b, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		var j headerJSON
		if err := json.Unmarshal(b, &j); err != nil {
			t.Fatal(err)
		}
		if _, err := j.header(); err == nil {
			t.Errorf("%s changed, the header is taken", f.name)
		}
	}
}
