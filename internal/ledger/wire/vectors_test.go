package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "make testdata/vectors.json anew; what HPKE seals changes")

const vectorsFile = "testdata/vectors.json"

// vectors are what testdata/vectors.json holds; docs/ledger-protocol.md, section 12, explains it. All
// bytes stand in lower-case hex.
type vectors struct {
	Format     string          `json:"format"`
	Names      []nameVector    `json:"names"`
	Chain      []chainVector   `json:"chain"`
	Structures []structVector  `json:"structures"`
	Refused    []refusedVector `json:"refused"`
	Ed25519    []ed25519Vector `json:"ed25519"`
	Records    []recordVector  `json:"records"`
	Signed     []signedVector  `json:"signed"`
	Genesis    []genesisVector `json:"genesis"`
	Epochs     []epochVector   `json:"epochs"`
	T          []tVector       `json:"t"`
	Packed     []packedVector  `json:"packed"`
	Data       []dataVector    `json:"data"`
	Trees      []treeVector    `json:"trees"`
	Leaves     []leafVector    `json:"leaves"`
	Boxes      []boxVector     `json:"boxes"`
	Receipt    receiptVectors  `json:"receipt"`
	Sealed     sealedVectors   `json:"sealed"`
}

// sealedVectors hold what HPKE has sealed with randomness of its own.
type sealedVectors struct {
	Wraps    []wrapVector    `json:"wraps"`
	Requests []requestVector `json:"requests"`
	Notices  []noticeVector  `json:"notices"`
}

// nameVector: encoded = NAME(items…), sum = H(encoded).
type nameVector struct {
	Name    string   `json:"name"`
	Items   []string `json:"items"`
	Encoded string   `json:"encoded"`
	Sum     string   `json:"sum"`
}

// chainVector: value = C_position.
type chainVector struct {
	Previous string `json:"previous"`
	Position uint64 `json:"position"`
	Time     uint64 `json:"time"`
	Record   string `json:"record"`
	Value    string `json:"value"`
}

// structVector: bytes parse as fields, and fields encode as bytes.
type structVector struct {
	Type   string `json:"type"`
	Bytes  string `json:"bytes"`
	Fields any    `json:"fields"`
}

// refusedVector: bytes do not parse.
type refusedVector struct {
	Type   string `json:"type"`
	Bytes  string `json:"bytes"`
	Reason string `json:"reason"`
}

type ed25519Vector struct {
	Key       string `json:"key"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
	Valid     bool   `json:"valid"`
	Reason    string `json:"reason,omitempty"`
}

// recordVector: the record's signature under key, and H(record).
type recordVector struct {
	Key    string `json:"key"`
	Record string `json:"record"`
	Hash   string `json:"hash"`
	Valid  bool   `json:"valid"`
	Reason string `json:"reason,omitempty"`
}

// signedVector: result is ok, malformed or signature.
type signedVector struct {
	Kind    string `json:"kind"` // command or query
	Signed  string `json:"signed"`
	Result  string `json:"result"`
	Account string `json:"account,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// genesisVector: a genesis file and its ledger id.
type genesisVector struct {
	File   string `json:"file"`
	Ledger string `json:"ledger,omitempty"`
	Valid  bool   `json:"valid"`
	Reason string `json:"reason,omitempty"`
}

// epochVector: everything that follows from init, fresh, number and T, and three uses.
type epochVector struct {
	PreviousInit string `json:"previous_init"`
	Fresh        string `json:"fresh"`
	Number       uint64 `json:"number"`
	T            string `json:"t"`
	Secret       string `json:"secret"`
	Commitment   string `json:"commitment"`
	Init         string `json:"init"`
	Log          string `json:"log"`
	Digest       string `json:"digest"`
	Snap         string `json:"snap"`
	Random       string `json:"random"`
	Position     uint64 `json:"position"`
	Index        uint32 `json:"index"`
	Root         string `json:"root"`
	StateDigest  string `json:"state_digest"`
	Blind        string `json:"blind"`
	Seed         string `json:"seed"`
}

// tVector: next = H(T(t, core)).
type tVector struct {
	T    string `json:"t"`
	Core string `json:"core"`
	Next string `json:"next"`
}

// packedVector: signed stands as packed in a batch of the ledger.
type packedVector struct {
	Ledger string `json:"ledger"`
	Packed string `json:"packed"`
	Signed string `json:"signed,omitempty"`
	Valid  bool   `json:"valid"`
	Reason string `json:"reason,omitempty"`
}

// dataVector: the body of a DATA record under k_log and header. Where it opens, sealing batch gives it.
type dataVector struct {
	Log    string   `json:"log"`
	Header string   `json:"header"`
	Body   string   `json:"body"`
	Batch  []string `json:"batch,omitempty"`
	Opens  bool     `json:"opens"`
	Reason string   `json:"reason,omitempty"`
}

// treeVector: root and proofs of every leaf.
type treeVector struct {
	Leaves []string   `json:"leaves"`
	Root   string     `json:"root"`
	Proofs [][]string `json:"proofs"`
}

// leafVector: leaf is the leaf's data.
type leafVector struct {
	Ledger   string `json:"ledger"`
	Position uint64 `json:"position"`
	Index    uint32 `json:"index"`
	Signed   string `json:"signed"`
	Outcome  string `json:"outcome"`
	Blind    string `json:"blind"`
	Leaf     string `json:"leaf"`
}

// boxVector: a request in Anonify's form, what is in it, and a reply to it.
type boxVector struct {
	Private   string          `json:"private"`
	Request   json.RawMessage `json:"request"`
	Account   string          `json:"account,omitempty"`
	Name      string          `json:"name,omitempty"`
	Counter   uint32          `json:"counter,omitempty"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	Reply     string          `json:"reply,omitempty"`
	ReplyJSON json.RawMessage `json:"reply_json,omitempty"`
	Opens     bool            `json:"opens"`
	Reason    string          `json:"reason,omitempty"`
}

// receiptVectors: a receipt that holds (its evidence is no evidence), and members that, put in
// place of its own, make it one that does not.
type receiptVectors struct {
	Ledger  string          `json:"ledger"`
	Receipt json.RawMessage `json:"receipt"`
	Refused []receiptPatch  `json:"refused"`
}

type receiptPatch struct {
	Reason string         `json:"reason"`
	Patch  map[string]any `json:"patch"`
}

type wrapVector struct {
	Suite      uint8  `json:"suite"`
	Private    string `json:"private"`
	Public     string `json:"public"`
	Ledger     string `json:"ledger"`
	Epoch      uint64 `json:"epoch"`
	T          string `json:"t"`
	Commitment string `json:"commitment"`
	Wrap       string `json:"wrap"` // { u16 slot; lv enc; lv ct }
	Secret     string `json:"secret,omitempty"`
	X          uint64 `json:"x,omitempty"`
	Snap       string `json:"snap,omitempty"`
	Tail       string `json:"tail,omitempty"` // k_log ‖ k_dig ‖ k_rand of each epoch from x on
	Opens      bool   `json:"opens"`
	Reason     string `json:"reason,omitempty"`
}

type requestVector struct {
	Suite       uint8         `json:"suite"`
	Private     string        `json:"private"`
	Public      string        `json:"public"`
	Ledger      string        `json:"ledger"`
	Incarnation string        `json:"iid"`
	Request     string        `json:"request"`
	Payload     string        `json:"payload,omitempty"`
	Exported    string        `json:"exported,omitempty"` // x
	Replies     []replyVector `json:"replies,omitempty"`
	Opens       bool          `json:"opens"`
	Reason      string        `json:"reason,omitempty"`
}

type replyVector struct {
	Reply  string `json:"reply"`
	Body   string `json:"body,omitempty"`
	Opens  bool   `json:"opens"`
	Reason string `json:"reason,omitempty"`
}

type noticeVector struct {
	Suite   uint8  `json:"suite"`
	Private string `json:"private"`
	Ledger  string `json:"ledger"`
	Account string `json:"account"`
	Sealed  string `json:"sealed"`
	Notice  string `json:"notice,omitempty"`
	Opens   bool   `json:"opens"`
	Reason  string `json:"reason,omitempty"`
}

func hx(b []byte) string { return hex.EncodeToString(b) }

func hxs(list [][]byte) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = hx(b)
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhash(t testing.TB, s string) [32]byte { t.Helper(); return [32]byte(unhex(t, s)) }

// fields shows a structure as JSON would: bytes in hex, integers as numbers, structs by field names.
func fields(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			out[v.Type().Field(i).Name] = fields(v.Field(i))
		}
		return out
	case reflect.String:
		return v.String()
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return hx(b)
		}
		out := []any{}
		for i := range v.Len() {
			out = append(out, fields(v.Index(i)))
		}
		return out
	default:
		return float64(v.Uint())
	}
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectors makes the vectors anew and compares: all but what HPKE sealed must be the same bytes.
func TestVectors(t *testing.T) {
	t.Parallel()
	made := makeVectors(t)
	if *update {
		made.Sealed = makeSealed(t)
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(made); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(vectorsFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept := readVectors(t)
	checkSealed(t, kept.Sealed)
	made.Sealed = kept.Sealed
	if d := cmp.Diff(asJSON(t, kept), asJSON(t, made)); d != "" {
		t.Errorf("testdata/vectors.json is not what this code makes (run with -update if it is meant):\n%s", d)
	}
}

// asJSON is v as plain maps and lists.
func asJSON(t testing.TB, v any) (out any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
