package dcap_test

import (
	"fmt"

	"hitoku.dev/attest/dcap"
)

// A quote of an SGX enclave, judged with collateral at a chosen time. Without
// Root, Intel's is trusted.
func ExampleVerify_sgx() {
	quote, root, collateral, at := dcap.NewEvidence(false)

	result, err := dcap.Verify(quote, dcap.Options{Root: root, Collateral: collateral, At: at})
	if err != nil {
		fmt.Println(err) // not a quote at all
		return
	}
	for _, rule := range result.Rules {
		if !rule.OK {
			fmt.Printf("%s: wanted %s, seen %s; %s\n", rule.Name, rule.Wanted, rule.Seen, rule.Advice)
		}
	}
	c := result.Claims
	fmt.Println(c.Format, c.TCB.Overall, "debug:", c.Debug)
	fmt.Println("MRENCLAVE", c.Measurements["mrenclave"][:16])
	// Output:
	// sgx-quote-v3 UpToDate debug: false
	// MRENCLAVE 0102030000000000
}

// A quote of a TD. The claims name its registers and the attributes that it runs with.
func ExampleVerify_tdx() {
	quote, root, collateral, at := dcap.NewEvidence(true)

	result, err := dcap.Verify(quote, dcap.Options{Root: root, Collateral: collateral, At: at})
	if err != nil || !result.OK() {
		fmt.Println("refused")
		return
	}
	c := result.Claims
	fmt.Println(c.Format, "platform:", c.TCB.Platform, "module:", c.TCB.Module, "overall:", c.TCB.Overall)
	fmt.Println("MRTD", c.Measurements["mrtd"][:16], "RTMR0", c.Measurements["rtmr0"][:16])
	fmt.Println("SEPT_VE_DISABLE:", c.Facts["sept_ve_disable"], "migratable:", c.Facts["migratable"])
	fmt.Println("not checked:", result.NotChecked)
	// Output:
	// tdx-quote-v5 platform: UpToDate module: UpToDate overall: UpToDate
	// MRTD 0102030000000000 RTMR0 0a00000000000000
	// SEPT_VE_DISABLE: true migratable: false
	// not checked: [event_log: no log was replayed into RTMR0 to RTMR3]
}

// Collateral that was verified once serves many quotes.
func ExampleVerifier() {
	quote, root, collateral, at := dcap.NewEvidence(true)

	verifier := dcap.NewVerifier(root, collateral, false)
	for range 3 {
		result, err := verifier.Verify(quote, at)
		fmt.Println(err == nil && result.OK())
	}
	// Output:
	// true
	// true
	// true
}

// What a quote says about its platform chooses the collateral to fetch.
func ExampleQuote_PCK() {
	raw, _, _, _ := dcap.NewEvidence(true)

	quote, err := dcap.ParseQuote(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	pck, err := quote.PCK()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pck.TEE, pck.FMSPC, pck.CA)
	// Output:
	// tdx 00906ed50001 platform
}
