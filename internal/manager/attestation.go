package manager

import (
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// maxTCBEvaluation bounds what a typing error can do: the number never falls again.
// Intel's stands below 30 after eight years.
const maxTCBEvaluation = 1000

// acceptedStatuses are the TCB statuses that an account accepts.
func acceptedStatuses(a *store.Account) []string {
	return append([]string{dcap.UpToDate}, a.Options.TCBStatuses...)
}

// acceptable are the statuses that an account may accept beside UpToDate. Revoked and
// TCBNotSupported are never accepted.
func acceptable() []string {
	return []string{
		dcap.ConfigurationAndSWHardeningNeeded, dcap.ConfigurationNeeded, dcap.OutOfDate, dcap.OutOfDateConfigurationNeeded,
		dcap.RelaunchAdvised, dcap.RelaunchAdvisedConfigurationNeeded, dcap.SWHardeningNeeded,
	}
}

// changeAttestation applies u. It says what it did, and whether evidence may now
// pass that did not before.
func changeAttestation(acct *store.Account, u wire.AttestationUpdate) (did []string, looser bool, err error) {
	o := &acct.Options
	if u.TCBStatuses != nil {
		more, err := otherStatuses(*u.TCBStatuses)
		if err != nil {
			return nil, false, err
		}
		for _, s := range more {
			looser = looser || !slices.Contains(o.TCBStatuses, s)
		}
		o.TCBStatuses = more
		did = append(did, "accepted TCB statuses "+strings.Join(acceptedStatuses(acct), ", "))
	}
	if u.MinTCBEvaluation != nil {
		switch n := *u.MinTCBEvaluation; {
		case n < o.MinTCBEvaluation:
			return nil, false, invalid(CodeInvalidValue, "attestation.min_tcb_evaluation: wanted at least %d, as it stands now, seen %d; it only rises", o.MinTCBEvaluation, n)
		case n > maxTCBEvaluation:
			return nil, false, invalid(CodeInvalidValue, "attestation.min_tcb_evaluation: wanted at most %d, seen %d", maxTCBEvaluation, n)
		default:
			o.MinTCBEvaluation = n
			did = append(did, fmt.Sprintf("lowest TCB evaluation number %d", n))
		}
	}
	if u.AcceptBareBinding != nil {
		looser = looser || *u.AcceptBareBinding && !o.AcceptBareBinding
		o.AcceptBareBinding = *u.AcceptBareBinding
		did = append(did, fmt.Sprintf("evidence without a nonce accepted %t", *u.AcceptBareBinding))
	}
	return did, looser, nil
}

// otherStatuses returns what is accepted beside UpToDate, sorted.
func otherStatuses(names []string) ([]string, error) {
	var more []string
	for _, s := range names {
		switch {
		case s == dcap.UpToDate:
		case !slices.Contains(acceptable(), s):
			return nil, invalid(CodeInvalidValue, "attestation.tcb_statuses: %q is none of %s, %s", clip(s), dcap.UpToDate, strings.Join(acceptable(), ", "))
		default:
			more = append(more, s)
		}
	}
	slices.Sort(more)
	return slices.Compact(more), nil
}
