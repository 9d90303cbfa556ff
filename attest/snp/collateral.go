package snp

// Collateral is what AMD signed about a platform, and evidence may lack.
type Collateral struct {
	Certs [][]byte // DER or PEM, in any order: VCEK or VLEK, ASK or ASVK, ARK; those of other platforms are ignored
	CRLs  [][]byte // DER or PEM: revocation lists signed by an ARK; those of other products are ignored
}
