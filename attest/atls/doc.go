// Package atls is TLS whose certificate carries evidence: the extension in which
// a leaf carries it, and the check that a client makes of such a leaf.
//
// The extension is the conceptual message wrapper of RFC 9999 (id-pe-cmw): a JSON
// collection of the evidence, the binding that the evidence is made over, and in
// the simulation the collateral. It has one valid encoding.
//
// A client of [ClientConfig] trusts the account root that it names, and the root
// of the TEE's maker (Intel's, or a simulated one that it names): not the node,
// not the network, not the manager's word for a measurement. It accepts a server
// only if the chain, the name, the time, the binding of the evidence to the
// server's own key, and the measurement all hold. What the caller does not name
// is refused, unless it says that it wants a report instead.
//
// It does not promise that the evidence is newer than the certificate: evidence
// in a certificate is as old as the certificate. It looks up no revocation of the
// leaf; leaves live for a day.
package atls
