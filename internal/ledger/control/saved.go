package control

import (
	"encoding/json"
	"errors"
	"fmt"

	"hitoku.dev/internal/ledger/wire"
)

// saved is State as it is written. It is public; whoever stores it protects it from change.
type saved struct {
	Ledger       wire.Hash
	Position     uint64
	First        uint64
	Marks        []Mark
	Policies     [][]byte
	Incarnations []*Incarnation
	Pending      map[uint16]wire.Hash
	Epochs       []Epoch
	Records      []wire.ControlRecord
	Spent        map[uint16]uint64
}

// Marshal writes the state down.
func (s *State) Marshal() ([]byte, error) {
	v := saved{Ledger: s.ledger, Position: s.position, First: s.first, Marks: s.marks, Pending: s.pending, Epochs: s.epochs, Records: s.records, Spent: s.spent}
	for _, p := range s.policies {
		v.Policies = append(v.Policies, p.Policy.Encode())
	}
	for _, in := range s.incarnations {
		v.Incarnations = append(v.Incarnations, in)
	}
	return json.Marshal(v)
}

// Load reads what Marshal wrote. It believes the bytes: the caller has checked their MAC.
func Load(file wire.GenesisFile, appraise AppraiseFunc, b []byte) (*State, error) {
	s, err := New(file, appraise)
	if err != nil {
		return nil, err
	}
	var v saved
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("saved control state: %w", err)
	}
	if v.Ledger != s.ledger || len(v.Marks) == 0 || len(v.Policies) == 0 || len(v.Epochs) == 0 {
		return nil, errors.New("saved control state is of another ledger, or incomplete")
	}
	s.position, s.first, s.marks, s.epochs, s.records = v.Position, v.First, v.Marks, v.Epochs, v.Records
	if v.Pending != nil {
		s.pending = v.Pending
	}
	if v.Spent != nil {
		s.spent = v.Spent
	}
	s.policies = nil
	for _, b := range v.Policies {
		p, err := wire.ParsePolicy(b)
		if err != nil {
			return nil, fmt.Errorf("saved control state: %w", err)
		}
		s.policies = append(s.policies, PolicyEntry{p, p.Hash()})
	}
	for _, in := range v.Incarnations {
		s.incarnations[in.ID] = in
	}
	for _, c := range s.records {
		rec, err := wire.ParseRecord(c.Record)
		if err != nil {
			return nil, fmt.Errorf("saved control state: %w", err)
		}
		if rec.Header.Type != wire.TypeJoin {
			continue
		}
		if s.joins[c.Position], err = wire.ParseJoin(rec.Body); err != nil {
			return nil, fmt.Errorf("saved control state: %w", err)
		}
	}
	return s, nil
}
