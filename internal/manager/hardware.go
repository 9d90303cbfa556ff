package manager

import (
	"context"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

// CollateralSource finds the collateral for a quote of a real platform, as a
// verifier under the root that the source was made with. It never returns a nil
// verifier; the error says what is missing or stale, which the verifier refuses.
// *collateral.Source is one.
type CollateralSource interface {
	Quote(ctx context.Context, quote []byte) (*dcap.Verifier, *dcap.Collateral, error)
}

// hardwareVerifier judges evidence of real platforms. Without a source of collateral its
// rules fail by name, so that nothing is issued on evidence whose freshness nobody checked.
func (m *Manager) hardwareVerifier() *verifier {
	root := dcap.IntelRoot()
	return &verifier{Verifier: dcap.NewVerifier(root, nil, false), root: root, made: m.now(), source: m.opts.Collateral}
}

// judge verifies a quote and returns the collateral that it was verified with. Bytes that
// are no quote, and collateral that is not to be had, become rules too. It may ask a
// service on the network, so it must not be called inside a transaction.
func (v *verifier) judge(ctx context.Context, quote []byte, at time.Time) (*attest.Result, *dcap.Collateral) {
	by, collateral := v.Verifier, v.collateral
	rule := attest.Rule{Name: "collateral", Wanted: "current collateral for this platform, from the cache or the maker's service", Seen: "found", OK: true}
	if v.source != nil {
		var err error
		if by, collateral, err = v.source.Quote(ctx, quote); err != nil {
			rule.OK, rule.Seen = false, strings.ReplaceAll(err.Error(), "\n", "; ")
			rule.Advice = "let the manager reach the service (--pccs names another one), or import a bundle into its collateral cache"
		}
	}
	result, err := by.Verify(quote, at)
	if err != nil {
		return &attest.Result{Rules: []attest.Rule{{Name: "quote_format", Wanted: "a quote of SGX or TDX", Seen: err.Error(), Advice: "send the TEE's own evidence"}}}, nil
	}
	if v.source != nil {
		result.Rules = append(result.Rules, rule)
	}
	return result, collateral
}
