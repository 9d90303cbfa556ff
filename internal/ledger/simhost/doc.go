// Package simhost starts the program of a ledger node under the simulated TEE, on one
// machine, with root or without. It is the host's side: an authority that stands for
// the maker of the TEE, a signing key, and for each simulated machine a platform, the
// simulated TEE on a socket, and the files that the program reads at its start
// (package member has the program's side).
//
// What is measured is the program file: the measurement is the SHA-256 of a workload
// manifest that names the file's SHA-256 and nothing of this machine, so [Measurement]
// tells beforehand, from the file alone, what a policy must list. The file must be
// linked statically: a dynamic linker and libraries would run unmeasured.
//
// What the host chooses is not measured, and must be harmless by what the program does:
//
//   - arguments: folder, addresses, slot, the operator's key file, the endpoints of the
//     log, the genesis file. The genesis determines the ledger id, which is inside the
//     evidence, and clients pin it: another genesis makes a node of another ledger. Slot
//     and operator must fit the ledger's policy, by a signature. What comes from folder
//     and log is verified against hash chain, signatures and keys that the host has not.
//   - environment, inherited files, standard error: the program starts itself again
//     without the first, and what its runtime would print about its memory when it fails
//     goes nowhere (member.CleanStart).
//   - manifest, SIGSTRUCT, collateral: measured, compared, or verified by the judges.
//   - clock, randomness of the kernel, network, files: the kernel's. The clock bounds
//     lifetimes only; the log states the time that counts.
//
// What it does not promise: anything against the user who runs it, or root. He owns
// platform and authority and can forge every proof. Accept what leads to this root
// where nothing is at stake.
package simhost
