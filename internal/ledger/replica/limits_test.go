package replica_test

import (
	"errors"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// request is a sealed request with one command of a user.
func request(t *testing.T, u *user, n *node, name, args string) []byte {
	t.Helper()
	info, _, err := n.r.KeyInfo()
	if err != nil {
		t.Fatal(err)
	}
	q, _, err := keys.SealRequest(keys.RequestOptions{
		Suite: wire.SuiteX25519, Info: info, Kind: wire.RequestCommands, NotAfter: uint64(u.w.now.Unix()) + 60,
		Payload: wire.Payload{FloorPosition: u.floor, FloorChain: u.chain, ReplyBucket: 4096, Items: [][]byte{u.command(name, args)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return q.Encode()
}

// TestBytesAreBounded: what clients can make a node hold is bounded in bytes too, with an error that says to
// come again, and there is room again when the commands are done.
func TestBytesAreBounded(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]replica.Limits{
		"commands that wait": {QueueBytes: 1000},
		"replies":            {TicketBytes: 3 * 4096},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, alice := three(t, worldOptions{limits: limits})
			n := w.nodes[0]
			transfer := func() error {
				_, _, err := n.r.Submit(request(t, alice, n, "transfer", `{"recipient":"`+alice.account()+`","amount":1}`))
				return err
			}
			taken := 0
			var err error
			for ; err == nil && taken < 20; taken++ {
				err = transfer()
			}
			if !errors.Is(err, replica.ErrBusy) || taken < 3 {
				t.Fatalf("request %d: %v, wanted ErrBusy after some", taken, err)
			}
			alice.nonce--
			w.settle("there is room", func() bool {
				if err := transfer(); err != nil {
					alice.nonce--
					return false
				}
				return true
			})
			w.check()
		})
	}
}

// TestOutcomesAreBounded: outcomes of old positions give way when they take too many bytes.
func TestOutcomesAreBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		bytes int
		kept  bool
	}{{0, true}, {1, false}} {
		w, alice := three(t, worldOptions{limits: replica.Limits{OutcomeBytes: tc.bytes}})
		x := alice.do(w.nodes[0], "transfer", `{"recipient":"`+alice.account()+`","amount":1000}`) // a failure has a message
		if x.Outcome.Code == 0 || x.Outcome.Message == "" {
			t.Fatalf("%+v, wanted a failure with a message", x)
		}
		for range 3 {
			alice.do(w.nodes[0], "transfer", `{"recipient":"`+alice.account()+`","amount":1000}`)
		}
		if _, ok := w.nodes[0].r.Certificate(x.Position); ok != tc.kept {
			t.Errorf("%d bytes: the position's outcomes are kept: %v, wanted %v", tc.bytes, ok, tc.kept)
		}
	}
}

// TestBacklogBytes: a node that waits for its state keeps only so many bytes of the log, and gets its state
// nevertheless.
func TestBacklogBytes(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{executors: 4, limits: replica.Limits{BacklogBytes: 3000}})
	for range 6 {
		alice.do(w.nodes[0], "transfer", `{"recipient":"`+alice.account()+`","amount":1}`)
	}
	w.nodes[3].start()
	w.settle("the new node runs", w.allRunning)
	if got := alice.balance(w.nodes[3]); got != "100" {
		t.Fatalf("balance %s", got)
	}
	w.check()
}
