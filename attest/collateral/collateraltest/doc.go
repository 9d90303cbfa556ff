// Package collateraltest is a made-up Intel with its provisioning certification
// service, a caching service (PCCS) in front of it, and AMD's key distribution
// service, for tests: a [World] issues real chains, TCB infos, identities,
// revocation lists, PCK certificates and quotes; a [Server] hands them out as the
// services do, ages them, revokes them, limits its callers and fails in every way
// that a test asks for.
//
//	w := collateraltest.New(t, now)       // in examples: collateraltest.Example(now)
//	p := w.Platform("00906ed50000", dcap.CAPlatform)
//	quote := p.Quote(attest.SGX)         // carries its PCK chain
//	bare := p.QuoteByPPID()              // names its PCK certificate by encrypted PPID
//	s := w.Serve()                       // a server on loopback, closed with the test
//	client, err := collateral.NewClient(s.Options())
//	s.Fail(2, http.StatusServiceUnavailable, "Retry-After", "1")
//	w.Revoke(p.Certificate())
//	w.SetNow(later)                      // what is asked from now on is issued then
//
// What it issues at one time is the same at each call. Keys are fresh in each
// World. It promises nothing to production code, which must not import it.
package collateraltest
