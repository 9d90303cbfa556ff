// Package gramine computes what SGX hardware will measure of an enclave of the Gramine
// library OS, versions 1.7 to 1.9, from two files alone: the final manifest
// (NAME.manifest.sgx) and Gramine's in-enclave loader (libpal.so).
//
// Nothing else enters MRENCLAVE: debug, CPU features, ISV numbers and the key are in it only
// as text of the manifest. They decide the SIGSTRUCT, whose attributes this package derives.
//
// A manifest comes from outside: it is read strictly, with limits, and keys that Gramine
// would ignore are refused by name. Values that Gramine's own signer takes and its loader
// refuses are refused here. The package does not judge whether a manifest is safe to run;
// Manifest.Weaknesses lists what weakens the protection, for the caller to refuse.
package gramine
