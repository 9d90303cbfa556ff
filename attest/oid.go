package attest

import "encoding/asn1"

// Object identifiers that travel in certificate requests and certificates.
var (
	// OIDQuote is the PKCS#10 attribute that carries a raw DCAP SGX quote in an OCTET STRING.
	OIDQuote = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 49690, 2, 2, 5}
	// OIDBinding is the PKCS#10 attribute that carries [Binding] in DER, beside the evidence.
	// The arc 2.25 holds identifiers made from a UUID (ITU-T X.667).
	OIDBinding = asn1.ObjectIdentifier{2, 25, 1690127389, 1, 1}
	// OIDCMW is id-pe-cmw (RFC 9999): a conceptual message wrapper in a certificate extension.
	OIDCMW = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 35}
	// OIDTCGCMW is the TCG's earlier identifier of the same extension, read but never written.
	OIDTCGCMW = asn1.ObjectIdentifier{2, 23, 133, 5, 4, 9}
	// OIDSimulatedPolicy marks certificates whose keys live in the simulated TEE.
	OIDSimulatedPolicy = asn1.ObjectIdentifier{2, 25, 1690127389, 2, 1}
	// OIDAttestedAppEKU is the extended key usage of certificates issued to attested applications.
	OIDAttestedAppEKU = asn1.ObjectIdentifier{2, 25, 1690127389, 3, 1}
	// OIDLocalAttestationEKU is the extended key usage of the certificates in which a node's
	// quoting enclave answers a local report; no party accepts them as anything else.
	OIDLocalAttestationEKU = asn1.ObjectIdentifier{2, 25, 1690127389, 3, 3}
	// OIDNodeEKU is the extended key usage of compute node certificates.
	OIDNodeEKU = asn1.ObjectIdentifier{2, 25, 1690127389, 3, 2}
)
