package member

import (
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/wire"
)

// CheckBinding returns nil when a JOIN's binding speaks about this very record: its
// purpose is `app`, its subject is H(REPORT(…)) over ledger, slot, keys, policy version
// and the anchor of the header, its nonce is the anchor's chain value, and the report
// data of the evidence are those of the binding. It verifies no signature.
func CheckBinding(h wire.Header, j wire.Join) error {
	b, err := attest.ParseBinding(j.Binding)
	if err != nil {
		return fmt.Errorf("JOIN of slot %d: %w", j.Slot, err)
	}
	if err := checkStatement(b, Subject(h, j), h.AnchorChain); err != nil {
		return fmt.Errorf("JOIN of slot %d: binding of another record: %w", j.Slot, err)
	}
	if err := checkReportData(j.Evidence, b); err != nil {
		return fmt.Errorf("JOIN of slot %d: %w", j.Slot, err)
	}
	return nil
}

// Subject is what the evidence in a JOIN is made over.
func Subject(h wire.Header, j wire.Join) wire.Hash {
	return wire.ReportSubject(h.Ledger, j.Slot, j.Key, j.HPKE, j.PolicyVersion, h.Anchor, h.AnchorChain)
}
