package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
)

// Limits in bytes. A record, with all of a JOIN in it, has at most 128 KiB.
const (
	MaxEvidence   = 64 << 10
	MaxCollateral = 112 << 10
)

// EncodeCollateral writes collateral in its one valid form: the members of
// [dcap.Collateral] in their order, each in standard base64, without white space; a
// member that is missing is null, and pck_chain is left out.
func EncodeCollateral(c *dcap.Collateral) ([]byte, error) {
	raw, err := json.Marshal(c)
	if err == nil && len(raw) > MaxCollateral {
		err = fmt.Errorf("%d bytes, at most %d fit into a JOIN", len(raw), MaxCollateral)
	}
	if err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	return raw, nil
}

// ParseCollateral reads what [EncodeCollateral] writes, and no other form: whoever
// reads the same bytes must find the same documents. No bytes at all are no collateral.
func ParseCollateral(raw []byte) (*dcap.Collateral, error) {
	c := new(dcap.Collateral)
	if len(raw) == 0 {
		return c, nil
	}
	if len(raw) > MaxCollateral {
		return nil, fmt.Errorf("collateral: %d bytes, at most %d allowed", len(raw), MaxCollateral)
	}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	again, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	if !bytes.Equal(raw, again) {
		return nil, errors.New("collateral: not in its canonical encoding")
	}
	return c, nil
}

// CollateralFile takes the collateral from a file or folder in any form that `hitoku
// collateral` reads, anew for each proof, so that it can be renewed there. The time
// only chooses among several documents that fit.
func CollateralFile(path string, now func() time.Time) CollateralFunc {
	return func(_ context.Context, evidence []byte) ([]byte, error) {
		b, err := collateral.Load(path)
		if err != nil {
			return nil, err
		}
		raw, err := EncodeCollateral(b.DCAP(evidence, now()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return raw, nil
	}
}
