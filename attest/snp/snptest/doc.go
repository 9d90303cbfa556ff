// Package snptest is a made-up AMD for tests: a [World] has root keys, intermediate
// keys and chips of every product line, issues real certificates and revocation
// lists under them, and signs attestation reports of versions 2 to 5 as the
// firmware does. No real report of a Turin and no real revocation list were found,
// so the tests of every package that reads SEV-SNP evidence rest on this one.
//
//	w := snptest.New(t, now)
//	r := w.Report(snp.Turin, 5)          // a template; change what the test is about
//	raw := w.Sign(r)                     // bare report, 1184 bytes
//	ext := w.SignExtended(r)             // the same with its certificate table
//	snp.Verify(raw, snp.Options{At: now, Roots: w.Roots(), Collateral: w.Collateral(r)})
//
//	line := w.Line(snp.Milan)
//	line.ARK.Cert, line.ASK.Cert, line.ASVK.Cert
//	line.VCEK(chipID, tcb)               // the same certificate at each call, as the KDS answers
//	line.VLEK(csp, tcb)
//	line.ChainPEM(snp.VCEK)              // as the KDS's cert_chain answers
//	line.CRL(now, serials...)            // as the KDS's crl answers
//
// Keys are fresh in each World; RSA keys have 2048 bits instead of AMD's 4096,
// which tests could not wait for. Certificates are valid from one year before to
// five years after the time given to New. A World may be used by several
// goroutines; the first use of a product makes its keys (some 0.3 s).
//
// It promises nothing to production code, which must not import it.
package snptest
