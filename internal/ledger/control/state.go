package control

import (
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
)

// AppraiseFunc judges a JOIN's evidence under a policy at time t (seconds). It is
// a pure function: the same arguments give the same answer at every node.
type AppraiseFunc func(join wire.Join, joinTime uint64, policy wire.Policy, t uint64) error

// Mark is a position's chain value and time.
type Mark struct {
	Chain wire.Hash
	Time  uint64
}

// Signed is one record number that an incarnation has used.
type Signed struct {
	N    uint64
	Hash wire.Hash
}

// HPKEKey is a member's key and the position of the record that carried it.
type HPKEKey struct {
	Position uint64
	Key      []byte
}

// Incarnation is one run of a node, as the log shows it.
type Incarnation struct {
	ID           wire.Hash
	Slot         uint16
	Kind         uint8
	Key          [32]byte
	JoinPosition uint64 // of its newest JOIN
	JoinTime     uint64
	FileEpoch    uint64
	HPKE         HPKEKey // the newest final one
	AckEpoch     uint64  // newest epoch acknowledged
	LastN        uint64
	LastHash     wire.Hash // zero before the first effective record
	Recent       []Signed  // the last recentRecords signed records, oldest first
	Expelled     uint64    // position of the proof of a clone, 0 for none
	Forked       uint64    // position of a record that it signed on another history as a member, 0 for none
	Agreed       uint64    // anchor of its newest effective record: up to there its history is this one
	AddedAt      uint64    // position of the COMMIT that added it, 0 for none
	AddedBy      uint64    // position of the JOIN that it named
	Alarm        uint64    // position of its ALARM in the epoch in force, 0 for none
	RemovedAt    uint64    // position of the COMMIT that removed it, or of the JOIN that took its place, 0 for none
	RemovedFor   uint8     // the COMMIT's reason, 0 where none removed it
	ApprovedOut  bool      // administrators have asked for its removal
	Effective    bool      // it has an effective record
}

// Member is an incarnation's place in an epoch.
type Member struct {
	Slot        uint16
	Kind        uint8
	Incarnation wire.Hash
}

// Epoch is the set of members between two COMMITs. Epoch 0 has none.
type Epoch struct {
	Number   uint64
	T        wire.Hash
	Position uint64 // of its COMMIT
	Time     uint64 // t of its core
	Members  []Member
	Removal  bool // its COMMIT removed an incarnation
	Sender   wire.Hash
	// Void says that so many executors could not open its secret that nothing in it can have been committed.
	// It is known once the next epoch has begun.
	Void bool
}

// Executors counts the members that execute.
func (e *Epoch) Executors() int {
	n := 0
	for _, m := range e.Members {
		if m.Kind == wire.KindExecutor {
			n++
		}
	}
	return n
}

// Quorum is more than half of the executors.
func (e *Epoch) Quorum() int { return e.Executors()/2 + 1 }

// Member returns the member with an incarnation id.
func (e *Epoch) Member(id wire.Hash) (Member, bool) {
	for _, m := range e.Members {
		if m.Incarnation == id {
			return m, true
		}
	}
	return Member{}, false
}

// InSlot returns the member in a slot.
func (e *Epoch) InSlot(slot uint16) (Member, bool) {
	for _, m := range e.Members {
		if m.Slot == slot {
			return m, true
		}
	}
	return Member{}, false
}

// PolicyEntry is a policy that the ledger has taken.
type PolicyEntry struct {
	Policy wire.Policy
	Hash   wire.Hash
}

// recentRecords is how many record numbers of an incarnation are remembered to
// find a clone (section 3).
const recentRecords = 256

// State is what the log has said so far. It may not be used by several
// goroutines at once.
type State struct {
	ledger   wire.Hash
	file     wire.GenesisFile
	genesis  wire.Genesis
	appraise AppraiseFunc

	position     uint64
	first        uint64 // position of marks[0]
	marks        []Mark // from first to position; the one at 0 is L and time 0
	policies     []PolicyEntry
	incarnations map[wire.Hash]*Incarnation
	pending      map[uint16]wire.Hash
	epochs       []Epoch // from epoch 0
	records      []wire.ControlRecord
	joins        map[uint64]wire.Join // by position, of those in records
	spent        map[uint16]uint64    // by slot: the time up to which its allowance is used
}

// New returns the state before the first position. It checks the genesis and its
// signatures.
func New(file wire.GenesisFile, appraise AppraiseFunc) (*State, error) {
	g, p, id, err := file.Open()
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return &State{
		ledger: id, file: file, genesis: g, appraise: appraise,
		marks:        []Mark{{Chain: id}},
		policies:     []PolicyEntry{{Policy: p, Hash: p.Hash()}},
		incarnations: map[wire.Hash]*Incarnation{},
		pending:      map[uint16]wire.Hash{},
		epochs:       []Epoch{{T: id}},
		joins:        map[uint64]wire.Join{},
		spent:        map[uint16]uint64{},
	}, nil
}

// Ledger is the ledger id L.
func (s *State) Ledger() wire.Hash { return s.ledger }

// Genesis is the ledger's genesis.
func (s *State) Genesis() wire.Genesis { return s.genesis }

// Position is the last position that was followed.
func (s *State) Position() uint64 { return s.position }

// Chain is the chain value at Position.
func (s *State) Chain() wire.Hash { return s.marks[len(s.marks)-1].Chain }

// Time is the log's time at Position, in seconds.
func (s *State) Time() uint64 { return s.marks[len(s.marks)-1].Time }

// At returns the chain value and time at a position, as far as it is remembered:
// the last anchor_age positions.
func (s *State) At(position uint64) (Mark, bool) {
	if position < s.first || position > s.position {
		return Mark{}, false
	}
	return s.marks[position-s.first], true
}

// Epoch is the epoch in force.
func (s *State) Epoch() *Epoch { return &s.epochs[len(s.epochs)-1] }

// EpochAt returns the epoch in force at a position already followed.
func (s *State) EpochAt(position uint64) *Epoch {
	for i := len(s.epochs) - 1; i > 0; i-- {
		if s.epochs[i].Position <= position {
			return &s.epochs[i]
		}
	}
	return &s.epochs[0]
}

// EpochNumber returns an epoch by its number, nil when it is not known.
func (s *State) EpochNumber(n uint64) *Epoch {
	if n >= uint64(len(s.epochs)) {
		return nil
	}
	return &s.epochs[n]
}

// Policy is the policy in force at a position at or after Position.
func (s *State) Policy(position uint64) wire.Policy {
	for i := len(s.policies) - 1; i > 0; i-- {
		if s.policies[i].Policy.ActiveFrom <= position {
			return s.policies[i].Policy
		}
	}
	return s.policies[0].Policy
}

// NewestPolicy is the last policy taken, in force or not.
func (s *State) NewestPolicy() PolicyEntry { return s.policies[len(s.policies)-1] }

// Incarnation returns what is known of an incarnation, nil for nothing.
func (s *State) Incarnation(id wire.Hash) *Incarnation { return s.incarnations[id] }

// Join returns the newest JOIN of an incarnation.
func (s *State) Join(in *Incarnation) wire.Join { return s.joins[in.JoinPosition] }

// Pending returns the incarnations that wait to be added, in slot order.
func (s *State) Pending() []*Incarnation {
	out := make([]*Incarnation, 0, len(s.pending))
	for _, id := range s.pending {
		out = append(out, s.incarnations[id])
	}
	slices.SortFunc(out, func(a, b *Incarnation) int { return int(a.Slot) - int(b.Slot) })
	return out
}

// Stuck says whether the epoch in force is of no use: the executors that raised no ALARM are no quorum. Then
// the next COMMIT needs the administrators, and makes the epoch void.
func (s *State) Stuck() bool {
	e := s.Epoch()
	able := 0
	for _, m := range e.Members {
		if m.Kind == wire.KindExecutor && s.incarnations[m.Incarnation].Alarm == 0 {
			able++
		}
	}
	return e.Number > 0 && able < e.Quorum()
}

// Forked returns the incarnations that have signed another history and that nobody has replaced or removed for it.
func (s *State) Forked() []*Incarnation {
	var out []*Incarnation
	for _, in := range s.incarnations {
		if in.Forked != 0 && !in.Settled() {
			out = append(out, in)
		}
	}
	return out
}

// Settled says whether an incarnation that follows another history has gone as it must: its operator has put another
// in its place, or administrators have removed it.
func (in *Incarnation) Settled() bool {
	return in.RemovedFor == wire.RemoveReplaced || in.RemovedFor == wire.RemoveByAdmins
}

// Control returns the genesis with the records from which anybody can follow the
// membership (section 9). The caller must not change it.
func (s *State) Control() wire.Control {
	return wire.Control{Genesis: s.file.Encode(), Records: slices.Clip(s.records)}
}

// remember notes a followed position.
func (s *State) remember(e order.Entry) {
	s.position = e.Position
	s.marks = append(s.marks, Mark{Chain: order.Chain(s.Chain(), e.Position, e.Time, e.Record), Time: e.Time})
	keep := s.genesis.AnchorAge + 2
	if n := uint64(len(s.marks)); n > 2*keep {
		s.marks = slices.Clone(s.marks[n-keep:])
		s.first = s.position + 1 - keep
	}
}
