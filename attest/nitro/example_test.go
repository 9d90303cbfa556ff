package nitro_test

import (
	"crypto/x509"
	"fmt"

	"hitoku.dev/attest/nitro"
)

// A document of an enclave, judged at a chosen time. Without Roots, AWS's is trusted.
func ExampleVerify() {
	document, root, at := nitro.NewEvidence()

	result, err := nitro.Verify(document, nitro.Options{At: at, Roots: []*x509.Certificate{root}})
	if err != nil {
		fmt.Println(err) // not a document at all
		return
	}
	for _, rule := range result.Rules {
		if !rule.OK {
			fmt.Printf("%s: wanted %s, seen %s; %s\n", rule.Name, rule.Wanted, rule.Seen, rule.Advice)
		}
	}
	c := result.Claims
	fmt.Println(c.Format, "of instance", c.PlatformID, "debug:", c.Debug)
	fmt.Println("PCR0", c.Measurements["pcr0"][:16])
	fmt.Printf("nonce %q, user data %q\n", c.Nonce, c.ReportData)
	// Output:
	// aws-nitro-document of instance i-0123456789abcdef0 debug: false
	// PCR0 0101010101010101
	// nonce "nonce", user data "data"
}

// A document's key lets a client encrypt to the enclave, once the result is good.
func ExampleParse() {
	raw, _, _ := nitro.NewEvidence()

	document, err := nitro.Parse(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s made it %s with %d registers; its key: %q\n", document.ModuleID, document.Timestamp.Format("15:04:05.000"), len(document.PCRs), document.PublicKey)
	// Output:
	// i-0123456789abcdef0-enc0123456789abcdef made it 12:00:00.250 with 16 registers; its key: "a key"
}
