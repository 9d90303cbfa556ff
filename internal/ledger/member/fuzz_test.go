package member_test

import (
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/member/membertest"
	"hitoku.dev/internal/ledger/wire"
)

// FuzzAppraise: nothing that the enemy sends makes the judge panic, change its mind, or
// accept a program or a binding that is not the approved one.
func FuzzAppraise(f *testing.F) {
	w := membertest.New(f, 1, start)
	h, good, p := join(f, w, w.Identity)
	id := w.Identity
	id.Measurement[0]++
	_, bad, _ := join(f, w, id)
	for _, j := range []wire.Join{good, bad} {
		f.Add(j.Evidence, j.Binding, j.Collateral)
		f.Add(j.Evidence, j.Binding, []byte(nil))
	}
	f.Add([]byte(nil), []byte(nil), []byte("{}"))
	f.Fuzz(func(t *testing.T, evidence, binding, collateral []byte) {
		j := good
		j.Evidence, j.Binding, j.Collateral = evidence, binding, collateral
		err := member.Appraise(j, second, p, second)
		again := member.Appraise(j, second, p, second)
		if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Fatalf("first %v\nthen %v", err, again)
		}
		bound := member.CheckBinding(h, j)
		if err != nil {
			return
		}
		b, parseErr := attest.ParseBinding(binding)
		if parseErr != nil || b.Purpose != attest.PurposeApp || string(binding) != string(good.Binding) || bound != nil {
			t.Fatalf("accepted with binding %x (%v)", binding, bound)
		}
	})
}

// FuzzCollateral: what is read has one encoding.
func FuzzCollateral(f *testing.F) {
	w := membertest.New(f, 1, start)
	f.Add(w.Collateral())
	f.Add([]byte("{}"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := member.ParseCollateral(raw)
		if err != nil || len(raw) == 0 {
			return
		}
		if again, err := member.EncodeCollateral(c); err != nil || string(again) != string(raw) {
			t.Fatalf("%v: %q became %q", err, raw, again)
		}
	})
}
