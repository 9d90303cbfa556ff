// Package simtee is the simulated TEE: a software stand-in for an SGX CPU and
// its quoting enclave, so that everything around a TEE can be run, tested and
// developed on any Linux machine. It makes the bytes that hardware makes
// (ECDSA quote v3 with PCK chain, keys as EGETKEY derives them) under the
// simulated root of an account; see package authority.
//
// [Platform] is the machine: its identity, secrets and quoting enclave. [Server]
// lets programs on the machine use it over a Unix socket, as AESM does for
// hardware. Package client is the program's side. The node agent runs both
// parts; containers get the socket's folder mounted.
//
// How the server knows whom it answers. SO_PEERCRED and a pidfd pin the process
// that connected. Every message must carry credentials, attached by the
// kernel, of that very process. Before each challenge that it sends, after each
// request that answers one, and before each reply, the server hashes the open file
// of /proc/PID/exe and looks for debuggers on every thread; so a request can
// only come from a program that was genuine when it was sent. The program
// extends its measurement once, by the manifest in a sealed memory file: the server
// hashes these bytes itself, finds the guest's digest in them, and checks the
// SIGSTRUCT over the result.
//
// What it promises: a container without CAP_SYS_ADMIN and CAP_SYS_PTRACE, in the
// user namespace that the server expects, obtains evidence and sealing keys only
// for the guest and manifest that it really runs.
//
// What it does not promise:
//   - Root on the host, or whoever may read the platform's state file, can forge
//     everything and read every program's memory. There is no hardware.
//   - A container with CAP_SYS_ADMIN can forge the credentials of messages; one
//     with CAP_SYS_PTRACE, or sharing a PID namespace and user with a guest from
//     its first instruction on, can change the guest's data before it makes
//     itself undumpable. The server refuses changed program text, but it cannot
//     see changed data. A guest must check that it is alone in its container.
//   - Nobody is kept from exhausting the server's connections.
//   - Nothing is said about files, mounts and environment of the program: that
//     is the measured guest's own work.
//
// Everything under the simulated root says "Simulated" and is accepted only
// where somebody trusts that root by name.
package simtee
