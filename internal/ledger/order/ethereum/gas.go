package ethereum

import (
	"bytes"
	"context"
	"crypto/sha256"
	"time"
)

// gasRetry is after how long an endpoint is asked again what records cost, when none could tell.
const gasRetry = time.Minute

// gasPrices are what the chain said that submit costs, for the shortest and the longest record. What a
// record costs grows at least as fast the longer it already is, on every fork (calldata by the byte or at the floor
// of EIP-7623, whichever is higher; log and hash by the byte; memory faster than that), so what lies
// between costs no more than the straight line. Asking for one long record alone would hide what storage costs
// below the floor.
type gasPrices struct {
	short, full uint64    // for records of one byte and of MaxRecord; zero when not known
	asked       time.Time // zero: never
	lost        bool      // a record was lost, perhaps for lack of gas
}

// limit is the gas to name for a record: what the chain said and a margin, or enough on every fork that is
// known here. What is not used is not paid, but a block has no room for a transaction whose limit does not fit.
func (g *gasPrices) limit(record, longest int) uint64 {
	enough := submitGas(record)
	if g.full == 0 {
		return enough
	}
	exact := g.short
	if longest > 1 {
		exact += (g.full - g.short) * uint64(record) / uint64(longest)
	}
	// 17,100 more is asked for the contract's first record, also when a reorganisation makes one that again.
	exact += exact/32 + 20_000
	if g.lost {
		return max(enough, exact+exact/4)
	}
	return exact
}

// submitGas is enough gas for submit with a record of so many bytes, on every fork up to those of 2026: calldata at the
// floor of EIP-7623 and its successor, which is the higher one for long records, or by the byte and the contract's own
// work, where new storage costs most.
func submitGas(record int) uint64 {
	n := uint64(record + 4 + 4*32 + 31) // the longest input that submitCall makes of it
	return 21000 + max(64*n, 400_000+40*n)
}

// learnGas asks what records cost, at the first record and where nobody could tell a while ago: the contract may not be
// there yet, or not take records of this account. The first endpoint that gives both prices is believed. The records
// asked for hold no zeros, which cost less, and are of a sender that nobody is, so that its number is new storage.
func (s *sender) learnGas(ctx context.Context) {
	now := s.l.config.Now()
	if s.gas.full != 0 || !s.gas.asked.IsZero() && now.Sub(s.gas.asked) < gasRetry && !now.Before(s.gas.asked) {
		return
	}
	s.gas.asked = now
	from := s.key.Address()
	nobody := sha256.Sum256(from[:])
	for _, e := range s.l.endpoints {
		var costs [2]uint64
		var err error
		for i, n := range []int{1, s.l.config.MaxRecord} {
			data := submitCall(bytes.Repeat([]byte{0xff}, n), nobody, 0)
			call := map[string]string{"from": from.String(), "to": s.l.config.Contract.String(), "data": hexBytes(data)}
			if costs[i], err = e.number(ctx, "eth_estimateGas", call); err != nil {
				break
			}
		}
		if err == nil && 21000 <= costs[0] && costs[0] <= costs[1] && costs[1] < 1<<32 {
			s.gas.short, s.gas.full = costs[0], costs[1]
			return
		}
	}
}
