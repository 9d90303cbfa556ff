package tpm_test

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"hitoku.dev/attest/tpm"
)

// Verify evidence whose attestation key a cloud's root has certified.
func ExampleVerify() {
	raw, err := os.ReadFile("attestation.pb")
	if err != nil {
		fmt.Println("no evidence here")
		return
	}
	var root *x509.Certificate // of the cloud, checked out of band
	r, err := tpm.Verify(raw, tpm.Options{At: time.Now(), Roots: []*x509.Certificate{root}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, rule := range r.Rules {
		fmt.Println(rule.Name, rule.OK, rule.Seen, rule.Advice)
	}
	fmt.Println(r.Claims.Facts["secure_boot"], r.Claims.Measurements["pcr7"])
	// Output: no evidence here
}

// Prove that an attestation key is in the TPM of an endorsement key, and trust its quotes.
func ExampleNewChallenge() {
	var ekCert, ekPublic, akPublic []byte // sent by the machine
	o := tpm.Options{At: time.Now()}      // with Roots of TPM makers
	chain, err := o.EKCertificate(ekCert)
	if err != nil {
		fmt.Println("not a TPM of a known maker")
		return
	}
	challenge, err := tpm.NewChallenge(rand.Reader, chain, ekPublic, akPublic)
	if err != nil {
		fmt.Println(err)
		return
	}
	var answer []byte // what TPM2_ActivateCredential gave for CredentialBlob and EncryptedSecret
	activation, err := challenge.Check(answer)
	if err != nil {
		fmt.Println(err)
		return
	}
	o.Activated = append(o.Activated, activation)
	// Output: not a TPM of a known maker
}
