package anonifytest

import (
	"crypto/ed25519"
	"encoding/hex"
	"net/http"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// The four tests that Anonify has twice, once for each of its modes. Each has a ledger of one node.

// checkUserID is test_enclave_key_evaluate_access_policy_by_user_id_field.
func checkUserID(w world) {
	t, owner := w.t, w.owner()
	other := w.account()
	if a, ok := owner.(*claimedAccount); ok {
		a.userID = hex.EncodeToString(a.key[:])
		wantOK(t, a.send(0, 2, "transfer", transfer(other, 10)))
		wantBalance(t, a, 0, 90)
		a.userID = hex.EncodeToString(make([]byte, 20))
		if o := a.send(0, 3, "transfer", transfer(other, 10)); o.status != "rejected" || o.code != ledger.CodeBadSignature || o.message != "" {
			t.Errorf("another user_id than the account inside: %+v, wanted it rejected, without words", o)
		}
		wantBalance(t, a, 0, 90)
		wantCounter(t, a, 2)
		return
	}
	// The account is that of the key inside the seal, which must have signed.
	a, mallory := owner.(*signedAccount), w.account().(*signedAccount)
	wantOK(t, a.send(0, 2, "transfer", transfer(other, 10)))
	wantBalance(t, a, 0, 90)
	forged := wire.Command{
		Ledger: w.Ledger, Application: w.app, Scheme: wire.SchemeEd25519, Key: a.u.Key.Public().(ed25519.PublicKey), Nonce: 3, ExpiresAt: 1 << 40,
		Name: "transfer", Arguments: []byte(transfer(mallory, 10)),
	}
	item := wire.Signed{Body: forged.Encode(), Signature: ed25519.Sign(mallory.u.Key, forged.Message())}
	if o := mallory.submit(0, item.Encode())(); o.status != "rejected" || o.code != ledger.CodeBadSignature {
		t.Errorf("a command in another's name: %+v, wanted it rejected", o)
	}
	q := wire.Query{Kind: wire.KindQuery, Scheme: wire.SchemeEd25519, Key: forged.Key, Name: "balance_of", Arguments: []byte("{}")}
	if o := w.question(mallory.u, 0, q, mallory.u.Key); o.status != "refused" || o.code != ledger.CodeBadSignature || o.result != "" {
		t.Errorf("a question in another's name: %+v, wanted it refused", o)
	}
	wantBalance(t, a, 0, 90)
	wantCounter(t, a, 2)
	// user_id beside a Request would tell the host who asks; it is taken with Anonify's form only.
	wantError(t, w.Nodes[0].Post("/api/v1/state", api.StateRequest{Request: []byte{1}, UserID: hex.EncodeToString(make([]byte, 20))}, nil), http.StatusBadRequest)
}

// checkMultipleMessages is test_enclave_key_multiple_messages. All are handed over before the
// first outcome is there.
func checkMultipleMessages(w world) {
	owner, other := w.owner(), w.account()
	var waits []func() outcome
	for i := range uint32(5) {
		waits = append(waits, owner.post(0, 2+i, "transfer", transfer(other, 10)))
	}
	for _, wait := range waits {
		wantOK(w.t, wait())
	}
	wantBalance(w.t, owner, 0, 50)
	wantBalance(w.t, other, 0, 50)
}

// checkSkipInvalid is test_enclave_key_skip_invalid_event. Here the outcome is told, to its sender alone.
func checkSkipInvalid(w world) {
	owner, other := w.owner(), w.account()
	o := owner.send(0, 2, "transfer", transfer(other, 110))
	wantFailed(w.t, o, ledger.CodeRefused)
	if o.message != "insufficient_balance" {
		w.t.Errorf("message %q, wanted insufficient_balance", o.message)
	}
	wantBalance(w.t, owner, 0, 100)
	wantFailed(w.t, owner.send(0, 2, "transfer", transfer(other, 10)), ledger.CodeNonceUsed)
	wantOK(w.t, owner.send(0, 3, "transfer", transfer(other, 10)))
	wantBalance(w.t, owner, 0, 90)
}

// checkDuplicated is test_enclave_key_duplicated_out_of_order_request_from_same_user.
func checkDuplicated(w world) {
	t, owner, other := w.t, w.account(), w.account()
	wantCounter(t, owner, 0)
	wantOK(t, owner.send(0, 1, "construct", `{"total_supply":100}`))
	wantCounter(t, owner, 1)
	wantOK(t, owner.send(0, 2, "transfer", transfer(other, 10)))
	wantCounter(t, owner, 2)
	wantBalance(t, owner, 0, 90)
	wantFailed(t, owner.send(0, 2, "transfer", transfer(other, 11)), ledger.CodeNonceUsed)
	wantFailed(t, owner.send(0, 4, "transfer", transfer(other, 10)), ledger.CodeNonceGap)
	wantFailed(t, owner.send(0, 0, "transfer", transfer(other, 10)), ledger.CodeNonceUsed)
	wantFailed(t, owner.send(0, 1<<32-1, "transfer", transfer(other, 10)), ledger.CodeNonceGap)
	wantCounter(t, owner, 2)
	wantBalance(t, owner, 0, 90)
	wantOK(t, owner.send(0, 3, "transfer", transfer(other, 10)))
	wantBalance(t, owner, 0, 80)
	wantCounter(t, owner, 3)
	if a, ok := owner.(*signedAccount); ok { // the same bytes again, sealed anew, are the same command
		wantOK(t, a.send(0, 3, "transfer", transfer(other, 10)))
		wantBalance(t, a, 0, 80)
		wantCounter(t, a, 3)
	}
}
