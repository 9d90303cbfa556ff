package ledger

import (
	"testing"

	"hitoku.dev/internal/ledger/state"
)

func TestNonces(t *testing.T) {
	t.Parallel()
	const top = 1<<64 - 1
	for _, c := range []struct {
		window uint8
		tries  []uint64
		codes  []uint16
	}{
		{0, []uint64{0, 2, 1, 1, 3, 2, 1}, []uint16{CodeNonceUsed, CodeNonceGap, 0, CodeNonceUsed, CodeNonceGap, 0, CodeNonceUsed}},
		{4, []uint64{5, 4, 2, 1, 1, 0, 8, 5, 4, 5, 13, 12}, []uint16{CodeNonceGap, 0, 0, 0, CodeNonceUsed, CodeNonceUsed, 0, 0, CodeNonceUsed, CodeNonceUsed, CodeNonceGap, 0}},
		{64, []uint64{64, 1, 128, 64, 65, 65, 129, 65, 66, 194, top}, []uint16{0, 0, 0, CodeNonceUsed, 0, CodeNonceUsed, 0, CodeNonceUsed, 0, CodeNonceGap, CodeNonceGap}},
	} {
		app := testApp()
		app.Window = c.window
		l := newBench(t, app)
		for i, nonce := range c.tries {
			if out := l.do(call(nonce, "set", `{"value":1}`)); out.Code != c.codes[i] {
				t.Errorf("window %d, try %d, nonce %d: %s, want %s", c.window, i, nonce, CodeWord(out.Code), CodeWord(c.codes[i]))
			}
		}
	}
	// At the very end of the numbers nothing wraps.
	bound := &boundApp{window: 64, prefix: []byte("\x01x")}
	tx := new(state.Tree).Begin()
	if err := tx.Set(bound.nonceKey(me), []byte("\xff\xff\xff\xff\xff\xff\xff\xfe\x00\x00\x00\x00\x00\x00\x00\x01")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		nonce uint64
		code  uint16
	}{{0, CodeNonceUsed}, {63, CodeNonceUsed}, {top, 0}, {top, CodeNonceUsed}, {top - 1, CodeNonceUsed}, {top - 2, 0}} {
		if out := bound.useNonce(tx, me, step.nonce); out.Code != step.code {
			t.Errorf("nonce %d: %s, want %s", step.nonce, CodeWord(out.Code), CodeWord(step.code))
		}
	}
}
