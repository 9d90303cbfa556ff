package policy_test

import (
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
)

// A verifier such as dcap.Verify makes the result; the policy judges it.
func ExampleJudge() {
	result := &attest.Result{
		Claims: attest.Claims{Format: "sgx-quote-v3", TEE: attest.SGX, Measurement: []byte{0xab}, TCB: attest.TCB{Overall: "UpToDate"}},
		Rules:  []attest.Rule{{Name: "quote_signature", Wanted: "signed", Seen: "signed", OK: true}},
	}
	verdict := policy.Judge(result, policy.Policy{Measurements: [][]byte{{0xcd}}})
	fmt.Println(verdict.Accepted)
	for _, r := range verdict.Failed() {
		fmt.Printf("%s: wanted %s, seen %s\n", r.Name, r.Wanted, r.Seen)
	}
	// Output:
	// false
	// measurement: wanted cd, seen ab
}

// Suggest says what a person would have to approve.
func ExampleSuggest() {
	result := &attest.Result{
		Claims: attest.Claims{Format: "tdx-quote-v4", TEE: attest.TDX, Measurement: []byte{0xab}, TCB: attest.TCB{Overall: "OutOfDate", Advisories: []string{"INTEL-SA-00960"}}},
		Rules:  []attest.Rule{{Name: "quote_signature", Wanted: "signed", Seen: "signed", OK: true}},
	}
	wanted := policy.Policy{Closed: true, TEEs: []attest.TEE{attest.TDX}, Measurements: [][]byte{{0xab}}, TCBStatuses: []string{"UpToDate"}}
	for _, c := range policy.Suggest(result, wanted).Changes {
		fmt.Printf("%s: %s\n", c.Member, c.To)
	}
	// Output:
	// tcb.statuses: UpToDate, OutOfDate
	// tcb.advisories: INTEL-SA-00960
}
