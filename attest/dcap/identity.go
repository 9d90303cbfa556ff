package dcap

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Ids of the quoting enclaves' identities.
const (
	idQE   = "QE"
	idTDQE = "TD_QE"
)

// EnclaveIdentity is the body of the identity of a quoting enclave, version 2
// (Intel PCS API, "Get SGX Quoting Enclave Identity" and its sibling for TDX).
type EnclaveIdentity struct {
	ID               string // "QE" for SGX, "TD_QE" for TDX
	Version          int
	IssueDate        time.Time
	NextUpdate       time.Time
	EvaluationNumber int
	MiscSelect       uint32
	MiscSelectMask   uint32
	Attributes       [16]byte // flags and XFRM, in the order of the report's bytes
	AttributesMask   [16]byte
	MRSigner         [32]byte
	ISVProdID        uint16
	Levels           []IdentityLevel // in the maker's order
}

type identityJSON struct {
	ID                      string          `json:"id"`
	Version                 int             `json:"version"`
	IssueDate               time.Time       `json:"issueDate"`
	NextUpdate              time.Time       `json:"nextUpdate"`
	TCBEvaluationDataNumber *int            `json:"tcbEvaluationDataNumber"`
	MiscSelect              string          `json:"miscselect"`
	MiscSelectMask          string          `json:"miscselectMask"`
	Attributes              string          `json:"attributes"`
	AttributesMask          string          `json:"attributesMask"`
	MRSigner                string          `json:"mrsigner"`
	ISVProdID               *uint16         `json:"isvprodid"`
	TCBLevels               []svnLevelsJSON `json:"tcbLevels"`
}

// ParseEnclaveIdentity reads the body of an enclave identity: the value of the
// member "enclaveIdentity". Which enclave it is for, stands in ID.
func ParseEnclaveIdentity(body []byte) (*EnclaveIdentity, error) {
	e, err := parseEnclaveIdentity(body)
	if err != nil {
		return nil, fmt.Errorf("enclave identity: %w", err)
	}
	return e, nil
}

func parseEnclaveIdentity(body []byte) (*EnclaveIdentity, error) {
	if len(body) > maxSignedJSON {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(body), maxSignedJSON)
	}
	var j identityJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return nil, err
	}
	switch {
	case j.Version != 2:
		return nil, fmt.Errorf("version %d, wanted 2", j.Version)
	case j.TCBEvaluationDataNumber == nil || *j.TCBEvaluationDataNumber < 0:
		return nil, errors.New("tcbEvaluationDataNumber is missing or negative")
	case j.ISVProdID == nil:
		return nil, errors.New("isvprodid is missing")
	}
	e := &EnclaveIdentity{
		ID: j.ID, Version: j.Version, IssueDate: j.IssueDate, NextUpdate: j.NextUpdate,
		EvaluationNumber: *j.TCBEvaluationDataNumber, ISVProdID: *j.ISVProdID,
	}
	var misc, mask [4]byte
	if err := errors.Join(
		checkDates(e.IssueDate, e.NextUpdate),
		unhex("miscselect", j.MiscSelect, misc[:]),
		unhex("miscselectMask", j.MiscSelectMask, mask[:]),
		unhex("attributes", j.Attributes, e.Attributes[:]),
		unhex("attributesMask", j.AttributesMask, e.AttributesMask[:]),
		unhex("mrsigner", j.MRSigner, e.MRSigner[:]),
	); err != nil {
		return nil, err
	}
	e.MiscSelect, e.MiscSelectMask = binary.LittleEndian.Uint32(misc[:]), binary.LittleEndian.Uint32(mask[:])
	var err error
	e.Levels, err = readSVNLevels(j.ID, j.TCBLevels)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Match returns the first level whose ISVSVN is not above svn, or nil.
func (e *EnclaveIdentity) Match(svn uint16) *IdentityLevel { return matchSVN(e.Levels, svn) }

// check compares a report with the identity, under its masks.
func (e *EnclaveIdentity) check(r *ReportBody) error {
	var attributes [16]byte
	binary.LittleEndian.PutUint64(attributes[:], r.Flags)
	binary.LittleEndian.PutUint64(attributes[8:], r.XFRM)
	for i := range attributes {
		attributes[i] &= e.AttributesMask[i]
	}
	var errs []error
	if r.MRSigner != e.MRSigner {
		errs = append(errs, fmt.Errorf("MRSIGNER %x", r.MRSigner))
	}
	if r.ISVProdID != e.ISVProdID {
		errs = append(errs, fmt.Errorf("ISVPRODID %d, wanted %d", r.ISVProdID, e.ISVProdID))
	}
	if r.MiscSelect&e.MiscSelectMask != e.MiscSelect {
		errs = append(errs, fmt.Errorf("MISCSELECT %#x, wanted %#x under mask %#x", r.MiscSelect, e.MiscSelect, e.MiscSelectMask))
	}
	if !bytes.Equal(attributes[:], e.Attributes[:]) {
		errs = append(errs, fmt.Errorf("ATTRIBUTES %x under the mask, wanted %x", attributes, e.Attributes))
	}
	if r.Debug() {
		errs = append(errs, errors.New("a debug enclave"))
	}
	return errors.Join(errs...)
}
