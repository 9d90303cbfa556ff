package control

import (
	"math"

	"hitoku.dev/internal/ledger/wire"
)

// What one slot may ask of the others (section 4): JOINs, and rotations that are not due. Both stay among the
// control records, which everybody reads, for ever.
const (
	refill = 600 // seconds of the log's time for one
	burst  = 32
)

// Allows says whether a slot may ask for one more thing at a time.
func (s *State) Allows(slot uint16, now uint64) bool {
	return max(s.spent[slot], now)-now <= (burst-1)*refill
}

// spend takes one of a slot's allowance, and says whether there was any.
func (s *State) spend(slot uint16, now uint64) bool {
	if !s.Allows(slot, now) {
		return false
	}
	s.spent[slot] = min(max(s.spent[slot], now), math.MaxUint64-refill) + refill
	return true
}

// voluntary says whether a COMMIT only renews keys, before it is time.
func (s *State) voluntary(core wire.Core) bool {
	now := s.Epoch()
	due := s.genesis.Rotation > 0 && core.Time >= now.Time && core.Time-now.Time >= s.genesis.Rotation
	return len(core.Adds)+len(core.Removes) == 0 && now.Number > 0 && !due && !s.Stuck()
}
