package ear_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/ear"
)

// A verifier signs what it found; a relying party needs its public key alone.
func Example() {
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	verdict := &attest.Verdict{Format: "sgx-quote-v3", Accepted: true, TCB: attest.TCB{Overall: "SWHardeningNeeded"}}
	result := ear.FromVerdict(verdict, &attest.Claims{TEE: attest.SGX}, ear.Options{
		At: at, Life: time.Hour, Verifier: ear.VerifierID{Developer: "https://example.com", Build: "1.0"}, Named: true,
	})
	token, err := result.Sign(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	read, err := ear.Verify([]byte(token), key.Public(), at.Add(time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(read.Submods["sgx"].Status)
	// Output: warning
}
