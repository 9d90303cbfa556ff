package ethereum

import (
	"errors"
	"fmt"
	"slices"
)

// qbftExtra is the extra data of a QBFT header (EEA QBFT specification; Hyperledger Besu and GoQuorum):
// RLP [vanity of 32 bytes, [validators], vote, round, [seals]].
type qbftExtra struct {
	vanity, validators, vote, round item
	seals                           []item
}

const maxSeals = 1024

var errQBFT = errors.New("ethereum: extra data of the header are none of QBFT")

func parseQBFT(b []byte) (*qbftExtra, error) {
	i, err := parseRLP(b)
	if err != nil || !i.isList || len(i.list) != 5 {
		return nil, errQBFT
	}
	x := &qbftExtra{vanity: i.list[0], validators: i.list[1], vote: i.list[2], round: i.list[3], seals: i.list[4].list}
	if _, err := x.round.uint(); err != nil || x.vanity.isList || len(x.vanity.bytes) != 32 ||
		!x.validators.isList || !x.vote.isList || !i.list[4].isList || len(x.seals) > maxSeals {
		return nil, errQBFT
	}
	for _, s := range x.seals {
		if s.isList || len(s.bytes) != 65 {
			return nil, errQBFT
		}
	}
	return x, nil
}

// bytes is the extra data with or without seals and round. The block's hash covers neither; what a validator
// seals covers the round.
func (x *qbftExtra) bytes(round, seals bool) []byte {
	list := []item{x.vanity, x.validators, x.vote, {}, {isList: true}}
	if round {
		list[3] = x.round
	}
	if seals {
		list[4].list = x.seals
	}
	return item{isList: true, list: list}.append(nil)
}

// quorum is how many of n validators must seal: two thirds, rounded up.
func quorum(n int) int { return (2*n + 2) / 3 }

// verifySeals checks that a quorum of the configured validators sealed a header. Seals of others, and
// second ones, do not count; the validators that the header itself names are not asked.
func (h *header) verifySeals(validators []Address) error {
	x, err := parseQBFT(h.extra)
	if err != nil {
		return err
	}
	digest := h.hashWith(x.bytes(true, false))
	var sealed []Address
	for _, s := range x.seals {
		a, err := recoverAddress(digest, s.bytes)
		if err == nil && slices.Contains(validators, a) && !slices.Contains(sealed, a) {
			sealed = append(sealed, a)
		}
	}
	if want := quorum(len(validators)); len(validators) == 0 || len(sealed) < want {
		return fmt.Errorf("ethereum: block %d is sealed by %d of the %d validators of the genesis, %d wanted", h.number, len(sealed), len(validators), want)
	}
	return nil
}
