package manager

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/issue/issuetest"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

func TestNoncesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol(1)
	ask := func(purpose attest.Purpose) error {
		_, err := w.m.NewNonce(t.Context(), m.peer, wire.NonceRequest{Purpose: string(purpose)})
		return err
	}
	for _, p := range []attest.Purpose{"", "app", "atls", "ledger-member", "APP-TLS"} {
		if err := ask(p); outcome(nil, err) != CodeInvalidValue {
			t.Errorf("purpose %q: %v", p, err)
		}
	}
	for i := 0; ; i++ {
		err := ask(attest.PurposeAppTLS)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind != Limited || i < nonceBurst-10 {
				t.Fatalf("after %d: %v", i, err)
			}
			break
		}
		if i > nonceBurst {
			t.Fatal("no end")
		}
	}
	w.clock.Advance(time.Second)
	w.must(ask(attest.PurposeAppTLS))
}

func TestNoncesThatEndedAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _, _ := w.web()
	m := w.enrol(1)
	token := w.joinToken()
	answered := func() []byte {
		msg := m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example")
		if got := outcome(m.issue(msg)); got != "issued" {
			t.Fatal(got)
		}
		return msg.binding.Nonce
	}
	unanswered := func() []byte {
		w.must(m.prepare(token))
		return m.prepared.Nonce
	}
	old := [][]byte{answered(), unanswered()}
	w.clock.Advance(2 * time.Hour)
	fresh := [][]byte{answered(), unanswered()}
	for i, n := range append(old, fresh...) {
		err := w.m.store.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.TakeNonce(t.Context(), w.account, nonceID(n))
			return err
		})
		if there := err == nil; there != (i >= len(old)) {
			t.Errorf("nonce %d: there %v: %v", i, there, err)
		}
	}
}

func TestSeveralNonces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _, _ := w.web()
	m := w.enrol(1)
	ask := func(n int) (*wire.NonceReply, error) {
		return w.m.NewNonce(t.Context(), m.peer, wire.NonceRequest{Purpose: string(attest.PurposeAppTLS), Count: n})
	}
	for _, n := range []int{-1, maxNonces + 1} {
		if _, err := ask(n); outcome(nil, err) != CodeInvalidValue {
			t.Errorf("%d nonces: %v", n, err)
		}
	}
	r, err := ask(3)
	w.must(err)
	if len(r.More) != 2 {
		t.Fatalf("%d nonces beside the first, wanted 2", len(r.More))
	}
	for _, n := range append(r.More, r.Nonce) {
		if got := outcome(m.issue(m.message(id, attest.PurposeAppTLS, n, "web.example"))); got != "issued" {
			t.Error(got)
		}
	}
	// A manager that was started again knows which it handed out, and which were answered.
	r2, err := ask(1)
	w.must(err)
	w.open()
	for _, c := range []struct {
		nonce []byte
		want  string
	}{{r.Nonce, "nonce_fresh"}, {r2.Nonce, "issued"}, {r2.Nonce, "nonce_fresh"}} {
		if got := outcome(m.issue(m.message(id, attest.PurposeAppTLS, c.nonce, "web.example"))); got != c.want {
			t.Errorf("after a start: %s, wanted %s", got, c.want)
		}
	}
	for i := range attest.NonceSize {
		n := m.nonce(attest.PurposeAppTLS)
		n[i] ^= 1
		if got := outcome(m.issue(m.message(id, attest.PurposeAppTLS, n, "web.example"))); got != "nonce_fresh" {
			t.Errorf("byte %d flipped: %s", i, got)
		}
	}
}

// TestNonceRowsAreNotTrusted: an answered nonce stays so, whoever changes its row.
func TestNonceRowsAreNotTrusted(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"enrol", "renew", "app"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			s := prepareStage(t, target)
			ctx := t.Context()
			var kept store.Nonce
			take := func(tx *store.Tx) error {
				n, err := tx.TakeNonce(ctx, s.account, nonceID(s.msg.binding.Nonce))
				if err == nil {
					kept = *n
					kept.Stamp = store.Stamp{}
				}
				return err
			}
			put := func(tx *store.Tx) error { again := kept; return tx.PutNonce(ctx, &again) }
			if target == "enrol" { // it has a row until it is answered
				s.must(s.m.store.Update(ctx, func(tx *store.Tx) error { return errors.Join(take(tx), put(tx)) }))
			}
			if got := s.send(s.msg); got != "issued" {
				t.Fatal(got)
			}
			if target == "enrol" {
				s.must(s.m.store.Update(ctx, put))
			} else { // it has one from then on
				s.must(s.m.store.Update(ctx, take))
			}
			again := *s.msg
			again.key = testKey(t)
			again.binding.Subject = issuetest.SubjectHash(t, again.key)
			s.reseal(&again)
			if got := s.send(&again); !strings.Contains(got, "nonce_fresh") {
				t.Errorf("%s although the nonce was answered before", got)
			}
		})
	}
}

// TestNoncesEndWithARollback: after an older database was accepted, nobody knows which were answered.
func TestNoncesEndWithARollback(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"renew", "app"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			s := prepareStage(t, target)
			count, _ := s.checks.Latest()
			s.must(s.checks.Save(count+1, bytes.Repeat([]byte{1}, 32)))
			s.open()
			s.must(s.m.store.AcceptRollback(t.Context(), &store.Event{Severity: "CRITICAL", Code: "DATABASE_RESTORED", ActionType: "ADMIN", ActorType: "SYSTEM"}))
			s.open()
			if got := s.send(s.msg); got != "nonce_fresh" {
				t.Errorf("%s over a nonce from before the rollback", got)
			}
		})
	}
}
