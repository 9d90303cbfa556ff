package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hitoku.dev/internal/ledger/wire"
)

func sampleReceipt() wire.Receipt {
	return wire.Receipt{
		Format: wire.ReceiptFormat, Ledger: wire.HexHash{0xab},
		Control: wire.Control{Genesis: []byte("genesis"), Records: []wire.ControlRecord{{Position: 1, Time: 5, Record: []byte{1}}, {Position: 3, Time: 5, Record: []byte{2}}}},
		Command: []byte("command"), Outcome: []byte("outcome"), Position: 9, Index: 1, Blind: wire.Base64Hash{4}, Count: 2,
		Proof: []wire.Base64Hash{{5}}, Before: wire.Base64Hash{6}, After: []wire.Base64Hash{{7}}, Checkpoint: []byte("checkpoint"),
		Signatures: []wire.ReceiptSignature{{Incarnation: wire.HexHash{8}, Signature: wire.Base64Signature{9}}}, OrderAssurance: "operator",
	}
}

func TestReceiptJSON(t *testing.T) {
	t.Parallel()
	want := sampleReceipt()
	b, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ParseReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	good := string(b)
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown member":    {`"before"`, `"befor"`, `member "befor" is not known`},
		"other case":        {`"before"`, `"Before"`, `member "Before" is not known`},
		"twice":             {`"index": 1`, `"index": 1, "index": 1`, `member "index" is not known or stands there twice`},
		"missing":           {`"index": 1,`, ``, `member "index" is missing`},
		"after the end":     {good, good + "{}", "after the end"},
		"string for number": {`"index": 1`, `"index": "1"`, "wanted a number"},
		"null":              {`"index": 1`, `"index": null`, "wanted a number"},
		"fraction":          {`"index": 1`, `"index": 1.0`, "cannot unmarshal number"},
		"negative":          {`"index": 1`, `"index": -1`, "cannot unmarshal number"},
		"too large":         {`"position": 9`, `"position": 9007199254740992`, "position 9007199254740992"},
		"index of nothing":  {`"count": 2`, `"count": 1`, "index 1 of 1"},
		"other format":      {"receipt/1", "receipt/2", "format"},
		"upper-case hex":    {`"ab00`, `"AB00`, "lower-case"},
		"short hex":         {`"ab00`, `"ab`, "lower-case"},
		"short base64":      {`"Z2VuZXNpcw=="`, `"Z2VuZXNpcw"`, "illegal base64"},
		"line break":        {`"Z2VuZXNpcw=="`, `"Z2Vu\nZXNpcw=="`, "line breaks"},
		"loose bits":        {`"Z2VuZXNpcw=="`, `"Z2VuZXNpcx=="`, "illegal base64"},
		"short blind":       {`"blind": "BAAA`, `"blind": "`, "of base64, wanted 32"},
		"falling position":  {`"position": 3`, `"position": 1`, "after position 1"},
		"falling time":      {`"time": 5`, `"time": 6`, "record 1 has position 3 and time 5"},
		"list for object":   {`"control": {`, `"control": [], "x": {`, "wanted an object"},
		"object for list":   {`"proof": [`, `"proof": {}, "x": [`, "wanted a list"},
		"cut":               {good, good[:1], "is missing"},
	} {
		changed := strings.Replace(good, c.from, c.to, 1)
		if changed == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := wire.ParseReceipt([]byte(changed)); !errors.Is(err, wire.ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
	}
	empty := wire.Receipt{Format: wire.ReceiptFormat, Count: 1}
	if b, err = json.Marshal(empty); err != nil {
		t.Fatal(err)
	}
	if got, err := wire.ParseReceipt(b); err != nil || cmp.Diff(empty, got, cmpopts.EquateEmpty()) != "" {
		t.Errorf("receipt with empty lists: %v: %s", err, b)
	}
	long := want
	for range 65 {
		long.Proof = append(long.Proof, wire.Base64Hash{})
	}
	crowd := want
	for range wire.MaxSlots {
		crowd.Signatures = append(crowd.Signatures, wire.ReceiptSignature{})
	}
	for name, r := range map[string]wire.Receipt{"proof": long, "signatures": crowd} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.ParseReceipt(b); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v, wanted ErrMalformed", name, err)
		}
	}
}

func TestControlJSON(t *testing.T) {
	t.Parallel()
	want := sampleReceipt().Control
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); s != `{"genesis":"Z2VuZXNpcw==","records":[{"position":1,"time":5,"record":"AQ=="},{"position":3,"time":5,"record":"Ag=="}]}` {
		t.Errorf("control records are %s", s)
	}
	got, err := wire.ParseControl(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := wire.ParseControl(bytes.Replace(b, []byte(`"position":1`), []byte(`"position":0`), 1)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("position 0: %v", err)
	}
	if _, err := wire.ParseControl(make([]byte, wire.MaxControlJSON+1)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
}

// FuzzJSON reads receipts and control records. What is taken is written and read back equal.
func FuzzJSON(f *testing.F) {
	r := sampleReceipt()
	for _, v := range []any{r, r.Control} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"genesis":"","records":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := wire.ParseReceipt(b); err == nil {
			again(t, v, wire.ParseReceipt)
		}
		if v, err := wire.ParseControl(b); err == nil {
			again(t, v, wire.ParseControl)
		}
	})
}

func again[T any](t *testing.T, v T, parse func([]byte) (T, error)) {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	back, err := parse(b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if d := cmp.Diff(v, back, cmpopts.EquateEmpty()); d != "" {
		t.Fatal(d)
	}
}
