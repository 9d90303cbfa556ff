// Package ledger is how an application of the ledger is written, and the machine that executes it.
//
// An application is a value of type [App]: cells and maps that it keeps ([Cell], [Map], [Map2]), commands
// that change them and queries that read them. It holds no cryptography, network or storage code; the
// node around it does that. docs/ledger-applications.md shows how to write one in ten minutes.
//
// # What holds
//
//   - A command either happens as a whole or, when it is refused, overflows, goes beyond its limits or
//     panics, leaves nothing but its used nonce.
//   - The same command on the same state gives the same outcome and the same state on every node. Time,
//     height and randomness come from the ledger; an application that takes them from elsewhere, starts
//     goroutines or ranges over a Go map breaks this.
//   - Commands and queries are separate name spaces, and a query cannot write: it is given a [View], and
//     writing wants a [Context].
//   - Applications stand beside each other: one can neither read nor write another's cells.
//   - A command reads, writes and notifies within limits (the Max constants), so one command cannot use
//     up the memory of a node.
//
// # What it trusts
//
// The caller of [Machine.Execute] has verified the signature and derived the account from the key. The
// application's code is part of the measured program: a loop without end, a recursion without end and an
// allocation without bound in it stop the node.
//
// # Bytes in the state
//
// All cells of an application lie under lv8(application), where lv8(x) is one byte of length ‖ x:
//
//	lv8(application) ‖ 0 ‖ account            the account's nonces: u64 highest used ‖ u64 bits (bit k: highest − k is used)
//	lv8(application) ‖ 1 ‖ lv8(name) ‖ keys   a cell (no keys), a map's (one) or a two-level map's (two)
//
// Values: integers big-endian in their width, bool one byte, [N]byte as it is, string and []byte u32
// length ‖ bytes, slices u32 count ‖ items, structs their fields in order, a pointer 0 or 1 ‖ value.
// Keys keep their order: integers big-endian (signed ones with the sign bit flipped), bool and [N]byte as
// in values, string and []byte with each 0 byte followed by 255 and 0, 1 at the end, structs their fields.
package ledger
