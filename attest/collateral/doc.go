// Package collateral gets what the makers of platforms signed about them, keeps
// it, and chooses from it: Intel's TCB infos, enclave identities, revocation
// lists and PCK certificates, AMD's VCEK and VLEK chains and revocation lists.
//
// The parts are cut apart. A [Document] is one signed thing, recognised by its
// content. A [Bundle] is a heap of documents from files, from which
// [Bundle.DCAP] chooses what one quote needs at one time; [Encode] and [Decode]
// are its one-file form for machines without network. A [Client] asks Intel's
// provisioning certification service (PCS), a caching service (PCCS) or AMD's
// key distribution service (KDS). A [Cache] is a folder. A [Source] puts them
// together: it verifies each document once under the root that its caller
// chose, shares it in memory, and asks the network again before the document's
// next update.
//
// What is trusted: the public keys of the roots that the caller names, the
// clock that the caller gives. Services, proxies, files and the cache's folder
// may be an enemy's: a document counts only after its signature was checked
// under a root, and is found only under that root's key. An enemy can withhold
// documents or show older ones that are still valid; so policies name a minimum
// evaluation number.
//
// The package never fails open. Where a service does not answer, what is stale
// is handed out as it is, with an error beside it, and the verifiers of
// attest/dcap and attest/snp refuse it at their time. It judges no evidence.
package collateral
