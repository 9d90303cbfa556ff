package keys_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

func body(n int) wire.ReplyBody {
	return wire.ReplyBody{Position: 7, Chain: repeat(4), Time: 8, Results: []wire.Result{{
		Status: wire.StatusCommitted, Outcome: wire.Outcome{Result: bytes.Repeat([]byte{'1'}, n)}, Position: 7, Count: 1, Proof: []wire.Hash{},
	}}}
}

func seal(t testing.TB, o keys.RequestOptions) (wire.Request, *keys.ReplyOpener) {
	t.Helper()
	q, opener, err := keys.SealRequest(o)
	if err != nil {
		t.Fatal(err)
	}
	return q, opener
}

func TestRequestAndReply(t *testing.T) {
	t.Parallel()
	for _, suite := range suites() {
		k := newKey(t, suite)
		o := options(k)
		q, opener := seal(t, o)
		if back, err := wire.ParseRequest(q.Encode()); err != nil || !cmp.Equal(back, q) {
			t.Fatalf("suite %d: the request does not parse: %v", suite, err)
		}
		p, sealer, err := keys.OpenRequest(k, repeat(1), repeat(2), q)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(o.Payload, p); d != "" {
			t.Error(d)
		}
		reply, err := sealer.Seal(body(40), p.ReplyBucket, rand.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := wire.ParseReply(reply.Encode()); err != nil || !cmp.Equal(back, reply) || len(reply.CT) != 2048+16 {
			t.Fatalf("suite %d: the reply does not parse: %v", suite, err)
		}
		got, err := opener.Open(reply)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(body(40), got); d != "" {
			t.Error(d)
		}
		kept := keys.NewReplyOpener(q, opener.Secret())
		if _, err := kept.Open(reply); err != nil {
			t.Errorf("the kept opener: %v", err)
		}
		b := reply.Encode()
		for i := range b {
			changed := bytes.Clone(b)
			changed[i] ^= 1
			x, err := wire.ParseReply(changed)
			if err == nil {
				_, err = opener.Open(x)
			}
			if err == nil {
				t.Fatalf("suite %d: byte %d of the reply changed: opens", suite, i)
			}
		}
		_, stranger := seal(t, o)
		if _, err := stranger.Open(reply); !errors.Is(err, keys.ErrOpen) {
			t.Errorf("suite %d: another request's opener: %v", suite, err)
		}
		opener.Erase()
		if _, err := opener.Open(reply); !errors.Is(err, keys.ErrOpen) {
			t.Errorf("suite %d: an erased opener opens: %v", suite, err)
		}
		sealer.Erase()
		if late, err := sealer.Seal(body(40), 2048, rand.Reader, nil); err == nil {
			if _, err := kept.Open(late); !errors.Is(err, keys.ErrOpen) {
				t.Errorf("suite %d: an erased sealer's reply opens: %v", suite, err)
			}
		}
	}
}

// TestRequestChanged changes every byte of a request, and what it is opened with.
func TestRequestChanged(t *testing.T) {
	t.Parallel()
	k, other := newKey(t, wire.SuiteX25519), newKey(t, wire.SuiteX25519)
	q, _ := seal(t, options(k))
	b := q.Encode()
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		x, err := wire.ParseRequest(changed)
		if err == nil {
			_, _, err = keys.OpenRequest(k, repeat(1), repeat(2), x)
		}
		if err == nil {
			t.Fatalf("byte %d changed: opens", i)
		}
	}
	moved := q
	moved.KeyID = wire.RequestKeyID(other.Public())
	for name, err := range map[string]error{
		"another ledger":          opened(keys.OpenRequest(k, repeat(9), repeat(2), q)),
		"another incarnation":     opened(keys.OpenRequest(k, repeat(1), repeat(9), q)),
		"another key":             opened(keys.OpenRequest(other, repeat(1), repeat(2), q)),
		"another key with its id": opened(keys.OpenRequest(other, repeat(1), repeat(2), moved)),
		"the right key, other id": opened(keys.OpenRequest(k, repeat(1), repeat(2), moved)),
	} {
		if !errors.Is(err, keys.ErrOpen) {
			t.Errorf("%s: %v, wanted ErrOpen", name, err)
		}
	}
}

func opened(_ wire.Payload, s *keys.ReplySealer, err error) error {
	if s != nil {
		return nil
	}
	return err
}

// TestRequestOfAClient is what a client that does not hold to the rules can seal.
func TestRequestOfAClient(t *testing.T) {
	t.Parallel()
	k := newKey(t, wire.SuiteX25519)
	for name, edit := range map[string]func(*keys.RequestOptions){
		"no items":              func(o *keys.RequestOptions) { o.Payload.Items = nil },
		"two queries":           func(o *keys.RequestOptions) { o.Kind = wire.RequestQuery },
		"reply bucket of 1000":  func(o *keys.RequestOptions) { o.Payload.ReplyBucket = 1000 },
		"reply bucket of 2 MiB": func(o *keys.RequestOptions) { o.Payload.ReplyBucket = 2 << 20 },
		"mode 2":                func(o *keys.RequestOptions) { o.Payload.Mode = 2 },
		"bucket of 1500":        func(o *keys.RequestOptions) { o.Bucket = 1500 },
	} {
		o := options(k)
		edit(&o)
		q, _ := seal(t, o)
		if err := opened(keys.OpenRequest(k, repeat(1), repeat(2), q)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v, wanted ErrMalformed", name, err)
		}
	}
	for name, edit := range map[string]func(*keys.RequestOptions){
		"too many bytes":         func(o *keys.RequestOptions) { o.Payload.Items = [][]byte{make([]byte, wire.MaxBucket)} },
		"bucket too small":       func(o *keys.RequestOptions) { o.Bucket, o.Payload.Items = 1024, [][]byte{make([]byte, 2000)} },
		"bucket above the limit": func(o *keys.RequestOptions) { o.Bucket = 2 * wire.MaxBucket },
	} {
		o := options(k)
		edit(&o)
		if _, _, err := keys.SealRequest(o); !errors.Is(err, keys.ErrTooLarge) {
			t.Errorf("%s: %v, wanted ErrTooLarge", name, err)
		}
	}
	o := options(k)
	o.Info.RequestKey = nil
	if _, _, err := keys.SealRequest(o); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("no request key: %v", err)
	}
}

// TestReplyKeys seals replies to one request again and again, as nodes do to which a host replays it
// after the state has changed, or that are clones with the same randomness.
func TestReplyKeys(t *testing.T) {
	t.Parallel()
	k, book := newKey(t, wire.SuiteX25519), newBook()
	q, opener := seal(t, options(k))
	nonces := map[wire.Hash]bool{}
	for i := range 40 {
		_, sealer, err := keys.OpenRequest(k, repeat(1), repeat(2), q)
		if err != nil {
			t.Fatal(err)
		}
		random := bytes.NewReader(make([]byte, 32)) // a generator that was cloned
		if i%2 == 0 {
			random = nil
		}
		var reply wire.Reply
		if random != nil {
			reply, err = sealer.Seal(body(i/4), 1024, random, book.record)
		} else {
			reply, err = sealer.Seal(body(i/4), 1024, rand.Reader, book.record)
		}
		if err != nil {
			t.Fatal(err)
		}
		if random == nil && nonces[reply.Nonce] {
			t.Error("two replies have one key")
		}
		nonces[reply.Nonce] = true
		if got, err := opener.Open(reply); err != nil || len(got.Results[0].Outcome.Result) != i/4 {
			t.Errorf("reply %d: %v", i, err)
		}
	}
	book.check(t)
	if book.sealed != 40 || book.repeats != 10 {
		t.Errorf("%d encryptions, %d repeated; wanted 40 and 10", book.sealed, book.repeats)
	}
}

// TestReplyLengths sees that all replies to one bucket have one length.
func TestReplyLengths(t *testing.T) {
	t.Parallel()
	k := newKey(t, wire.SuiteX25519)
	q, _ := seal(t, options(k))
	_, sealer, err := keys.OpenRequest(k, repeat(1), repeat(2), q)
	if err != nil {
		t.Fatal(err)
	}
	refusal := wire.ReplyBody{Results: []wire.Result{{Status: wire.StatusRejected, Outcome: wire.Outcome{Code: 3}}}}
	for _, b := range []wire.ReplyBody{body(0), body(800), refusal, {}} {
		reply, err := sealer.Seal(b, 1024, rand.Reader, nil)
		if err != nil || len(reply.Encode()) != 32+4+1024+16 {
			t.Errorf("%d bytes: %v", len(reply.Encode()), err)
		}
	}
	if _, err := sealer.Seal(body(2000), 1024, rand.Reader, nil); !errors.Is(err, keys.ErrTooLarge) {
		t.Errorf("2000 bytes into 1024: %v", err)
	}
	if _, err := sealer.Seal(body(0), 2<<20, rand.Reader, nil); !errors.Is(err, keys.ErrTooLarge) {
		t.Errorf("bucket of 2 MiB: %v", err)
	}
	if _, err := sealer.Seal(body(0), 1024, iotest.ErrReader(errors.New("no entropy")), nil); err == nil {
		t.Error("sealed without randomness")
	}
}

func TestNotice(t *testing.T) {
	t.Parallel()
	for _, suite := range suites() {
		k := newKey(t, suite)
		n := wire.Notice{Position: 5, Index: 1, Application: "erc20", Payload: bytes.Repeat([]byte("x"), 2000)}
		sealed, err := keys.SealNotice(suite, k.Public(), repeat(1), repeat(2), n)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := wire.ParseSealedNotice(sealed.Encode()); err != nil || len(back.CT) != 2048+16 {
			t.Errorf("suite %d: %v", suite, err)
		}
		got, err := keys.OpenNotice(k, repeat(1), repeat(2), sealed)
		if err != nil || !cmp.Equal(got, n) {
			t.Fatalf("suite %d: %v", suite, err)
		}
		for name, c := range map[string]struct {
			k               *keys.HPKEKey
			ledger, account [32]byte
		}{
			"another key": {newKey(t, suite), repeat(1), repeat(2)}, "another ledger": {k, repeat(9), repeat(2)}, "another account": {k, repeat(1), repeat(9)},
		} {
			if _, err := keys.OpenNotice(c.k, c.ledger, c.account, sealed); !errors.Is(err, keys.ErrOpen) {
				t.Errorf("suite %d, %s: %v, wanted ErrOpen", suite, name, err)
			}
		}
		if _, err := keys.SealNotice(suite, k.Public(), repeat(1), repeat(2), wire.Notice{Payload: make([]byte, wire.MaxBucket)}); !errors.Is(err, keys.ErrTooLarge) {
			t.Errorf("suite %d: a notification of 128 KiB: %v", suite, err)
		}
	}
}
