package dcap

// Collateral is what the maker of a platform signed about it, in the form in
// which Intel's provisioning certification service (PCS) answers. In JSON each
// member is base64.
type Collateral struct {
	TCBInfo         []byte `json:"tcb_info"`            // {"tcbInfo":…,"signature":"…"}
	TCBInfoChain    []byte `json:"tcb_info_chain"`      // PEM: TCB signing certificate, root
	QEIdentity      []byte `json:"qe_identity"`         // {"enclaveIdentity":…,"signature":"…"}
	QEIdentityChain []byte `json:"qe_identity_chain"`   // PEM: TCB signing certificate, root
	PCKCRL          []byte `json:"pck_crl"`             // of the CA that issued the PCK certificate; DER, PEM or hexadecimal
	PCKCRLChain     []byte `json:"pck_crl_chain"`       // PEM: PCK CA, root
	RootCRL         []byte `json:"root_crl"`            // DER, PEM or hexadecimal
	PCKChain        []byte `json:"pck_chain,omitempty"` // PEM: PCK certificate, PCK CA, root; only for quotes without a chain
}
