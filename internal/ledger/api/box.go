package api

import (
	"encoding/hex"
	"errors"
	"net/http"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// submitBox takes a command in Anonify's form.
func (s *Server) submitBox(in *StateRequest) (id wire.Hash, ready bool, err error) {
	var q keys.BoxRequest
	bad := func(name string, want int) error {
		return Fail(http.StatusBadRequest, CodeBadRequest, "%s: wanted %d bytes in hexadecimal digits", name, want)
	}
	if q.Ephemeral, err = hex.DecodeString(in.EphemeralPublicKey); err != nil || len(q.Ephemeral) != 32 {
		return id, false, bad("ephemeral_public_key", 32)
	}
	if q.Nonce, err = hex.DecodeString(in.Nonce); err != nil || len(q.Nonce) != 24 {
		return id, false, bad("nonce", 24)
	}
	if q.Ciphertext, err = hex.DecodeString(in.Ciphertext); err != nil || len(q.Ciphertext) < 16 || len(q.Ciphertext) > wire.MaxBucket {
		return id, false, Fail(http.StatusBadRequest, CodeBadRequest, "ciphertext: wanted 16 to %d bytes in hexadecimal digits", wire.MaxBucket)
	}
	var claimed *[20]byte
	if in.UserID != "" {
		raw, err := hex.DecodeString(in.UserID)
		if err != nil || len(raw) != 20 {
			return id, false, bad("user_id", 20)
		}
		claimed = (*[20]byte)(raw)
	}
	id, ready, err = s.r.SubmitBox(q, claimed)
	if errors.Is(err, replica.ErrNoBox) {
		err = Fail(http.StatusBadRequest, CodeBadRequest, "%v; seal a Request (docs/ledger-protocol.md, section 7)", err)
	}
	return id, ready, err
}
