package collateral_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
)

// A source asks a caching service (here a made-up one) for what a quote needs, and
// hands out a verifier that all quotes of such platforms share.
func ExampleSource_Quote() {
	maker, end := collateraltest.Example(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	defer end()
	quote := maker.Platform("00906ed50000", dcap.CAPlatform).Quote(attest.SGX)

	client, err := collateral.NewClient(collateral.ClientOptions{HTTP: collateral.NewHTTPClient(), PCCS: maker.Serve().URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	source := collateral.NewSource(collateral.Options{Intel: maker.Root(), Client: client, Now: maker.Now})
	verifier, _, err := source.Quote(context.Background(), quote)
	if err != nil {
		fmt.Println("refused below:", err)
	}
	result, err := verifier.Verify(quote, maker.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.OK(), result.Claims.TCB.Overall)
	// Output: true UpToDate
}

// A bundle shows what each of its documents is worth at a time.
func ExampleBundle_Inspect() {
	maker, end := collateraltest.Example(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	defer end()
	var bundle collateral.Bundle
	bundle.Add(maker.TCBInfo(attest.SGX, "00906ed50000", 17))
	bundle.Add(maker.CRL("")) // of the root
	bundle.Add(maker.Signer().Raw)

	roots := []*x509.Certificate{maker.Root()}
	for _, days := range []int{0, 40} {
		for _, e := range bundle.Inspect(roots, maker.Now().AddDate(0, 0, days)) {
			if e.Kind != collateral.Authority {
				fmt.Println(e.Kind, e.Subject, e.State)
			}
		}
	}
	// Output:
	// sgx-tcb-info 00906ed50000 fresh
	// root-crl  fresh
	// sgx-tcb-info 00906ed50000 stale
	// root-crl  stale
}
